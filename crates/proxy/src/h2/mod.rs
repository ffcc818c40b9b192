//! HTTP/2 towards the client, on the `h2` crate: one connection, its streams side by side.
//!
//! `connection` accepts streams and keeps the connection's own time-outs and bounds; each stream
//! is a [`crate::Downstream`] of its own, served by the same pipeline as every other request.

mod bucket;
mod connection;
mod frames;
mod io;
mod options;
mod reading;
mod request;
mod response;
mod shared;
mod stream;
mod writing;

pub(crate) use connection::serve_connection;
pub use options::Http2Options;
