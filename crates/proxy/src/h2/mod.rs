//! HTTP/2 towards the client, on the `h2` crate: one connection, its streams side by side.
//!
//! `connection` accepts streams and keeps the connection's own time-outs and bounds; each stream
//! is a [`crate::Downstream`] of its own, served by the same pipeline as every other request.
//!
//! What `h2` refuses before it makes a request of it reaches no phase and no log: heads that are
//! malformed (RST_STREAM or GOAWAY), and those far beyond the limits (431). A client that ends its
//! side of the socket counts as leaving, whatever `half_close` says.

mod bucket;
mod connection;
mod frames;
mod io;
mod options;
mod pings;
mod reading;
mod request;
mod response;
mod shared;
mod stream;
mod writing;

pub(crate) use connection::serve_connection;
pub use options::Http2Options;
