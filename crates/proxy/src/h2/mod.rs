//! HTTP/2 towards the client, on the `h2` crate: one connection, its streams side by side.
//!
//! `connection` accepts streams and keeps the connection's own time-outs and bounds; each stream
//! is a [`crate::Downstream`] of its own, served by the same pipeline as every other request.
//!
//! What `h2` does by itself is seen in the frames alone, which `scan` finds in the bytes and `frames`
//! keeps count of: so requests that it refuses are logged (`refused`), and what it holds for clients
//! is bounded (`unread`).

mod block;
mod bucket;
mod connection;
mod frames;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hpack;
mod io;
mod opened;
mod options;
mod pings;
mod reading;
mod refused;
mod request;
mod response;
mod scan;
mod shared;
mod stream;
mod unread;
mod watch;
mod writing;

pub(crate) use connection::serve_connection;
pub use options::Http2Options;
pub(crate) use unread::Unread;
