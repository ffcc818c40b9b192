//! HTTP/2 towards origins: connections that the clients of one runtime share.
//!
//! A connection is a task (`drive`) on the runtime that holds its socket. What is handed out is an
//! [`H2Slot`]: the place of one stream on it. `pool` finds a place, or has a connection made, once
//! for all who want one.

mod connection;
mod drive;
mod failure;
mod handshake;
mod meter;
mod old;
mod pool;

pub use connection::H2Slot;
pub(crate) use old::OldPeers;
pub(crate) use pool::{H2Pool, Reached};

/// What one stream may send before it was read. A slow client holds at most as much.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What h2 keeps of one stream's request before the socket takes it.
const SEND_BUFFER: usize = 64 * 1024;
