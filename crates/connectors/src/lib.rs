//! Peers, connecting to them, and the pool of their connections.
//!
//! A [`Peer`] says where a request goes and how. A [`Connector`] hands out a [`Link`] to it, from
//! what is there ([`Connector::take`]) or what it makes ([`Connector::reach`]): a [`Connection`] for
//! HTTP/1.1, whose bytes are the caller's, or the place of a stream on a shared HTTP/2 connection
//! ([`H2Slot`]). The caller gives a connection back with [`Connector::release`], or drops it, which
//! closes it; a slot is dropped. What is no request goes over a connection of its own
//! ([`Connector::open`]).
//!
//! The pool is one for a service, with a shard for each runtime: a connection is a task's business
//! on the runtime that holds its socket, and using it from another costs wake-ups both ways.

mod bind;
mod connect_proxy;
mod connection;
mod connector;
mod dial;
mod dialer;
mod h2;
mod key;
mod link;
mod peer;
mod pool;
mod resolve;
mod shard;
mod stats;

/// Ways in for `crates/fuzz-targets`.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::dial::missing_of_answer;
}

pub use connect_proxy::{ConnectProxy, InvalidProxyField};
pub use connection::Connection;
pub use connector::{Connector, ConnectorOptions};
pub use dialer::{Dialer, Dialling};
pub use h2::H2Slot;
pub use key::{PeerAddress, PeerKey};
pub use link::Link;
pub use millrace_proxy_protocol::Version as ProxyProtocol;
pub use peer::{HostPolicy, Peer, PeerOptions, Protocol};
pub use stats::PoolStats;
