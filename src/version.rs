//! What the binary says of itself, so that code of another version can tell.

use napi_derive::napi;

/// What it is, and its version: `millrace 1.2.3`. One string, so that it can be found in the file.
#[napi(catch_unwind)]
pub fn built_as() -> &'static str {
    concat!("millrace ", env!("CARGO_PKG_VERSION"))
}
