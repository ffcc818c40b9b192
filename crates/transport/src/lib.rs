//! Streams and addresses: what listeners and connectors share. Knows no protocol.
//!
//! A [`Stream`] is one connection, whatever carries it and whether TLS covers it; an [`Address`] names one of its ends.
//! [`SocketOptions`] and [`Keepalive`] are asked of the system when a socket is made.

mod address;
mod io;
mod memory;
mod networks;
mod options;
mod quiet;
mod refusal;
mod stream;
mod tls;
mod tls_info;
pub mod unix;

pub use address::{Address, InvalidAddress};
pub use memory::MemoryStream;
pub use networks::{InvalidNetwork, Networks};
pub use options::{Keepalive, SocketOptions};
pub use quiet::Quiet;
pub use refusal::is_handshake_refusal;
pub use stream::{StdStream, Stream};
pub use tls::TlsStream;
pub use tls_info::TlsInfo;
