//! Peers, connecting to them, and the pool of their connections. Knows no protocol.
//!
//! A [`Peer`] says where a request goes and how. A [`Connector`] hands out a [`Connection`] to
//! it: an idle one ([`Connector::take_idle`]) or a new one ([`Connector::connect`]). The caller
//! gives it back with [`Connector::release`], or drops it, which closes it.
//!
//! The pool is one for a service, with a shard for each runtime: a connection is a task's business
//! on the runtime that holds its socket, and using it from another costs wake-ups both ways.

mod bind;
mod connection;
mod connector;
mod dial;
mod key;
mod peer;
mod pool;
mod resolve;
mod shard;
mod stats;

pub use connection::Connection;
pub use connector::{Connector, ConnectorOptions};
pub use key::{PeerAddress, PeerKey};
pub use peer::{HostPolicy, Peer, PeerOptions, Protocol};
pub use stats::PoolStats;
