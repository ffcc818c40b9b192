//! Who a request comes from, and what the origin is told of it: X-Forwarded-For, -Proto and -Host,
//! Forwarded (RFC 7239) and Via (RFC 9110 §7.6.3).
//!
//! What a client claims in such fields never goes on. What a trusted proxy says does, as far as the
//! proxies in front of it are trusted too.

mod chain;
mod element;
mod fields;
mod node;
mod told;

pub use millrace_transport::{InvalidNetwork, Networks};

pub(crate) use chain::Chain;
pub(crate) use fields::{add_via, forward};

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use millrace_connectors::{Connector, Peer};
use millrace_server::{ConnInfo, Shutdown};
use millrace_transport::Address;

use told::Told;

/// What origins are told of who a request comes from.
#[derive(Clone, Debug)]
pub struct ForwardingOptions {
    /// Proxies whose word on their own clients is taken. Default: none.
    pub trusted: Networks,
    /// Which field they say it in: the other may be their clients', and is not looked at.
    pub trusted_field: TrustedField,
    /// Whether X-Forwarded-For, -Proto and -Host are sent. Default: yes.
    pub x_forwarded: bool,
    /// Whether Forwarded is sent. Default: no.
    pub forwarded: bool,
    /// The name to stand in Via, on requests and on responses from upstream. Default: no Via is added.
    pub via: Option<Box<str>>,
}

/// The field in which trusted proxies name their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedField {
    /// X-Forwarded-For, with X-Forwarded-Proto and -Host.
    #[default]
    XForwarded,
    /// Forwarded.
    Forwarded,
}

impl Default for ForwardingOptions {
    fn default() -> Self {
        ForwardingOptions {
            trusted: Networks::default(),
            trusted_field: TrustedField::default(),
            x_forwarded: true,
            forwarded: false,
            via: None,
        }
    }
}

/// A connection of a client, with what each of its requests needs to know of it.
#[derive(Debug)]
pub struct ClientConnection {
    info: ConnInfo,
    /// The socket's address as text; none of a Unix socket.
    address: Option<Box<str>>,
    is_trusted: bool,
    /// There is no client: requests of our own.
    is_own: bool,
    /// The end of the server that serves it.
    shutdown: Option<Shutdown>,
    /// What the phases keep of it, until it and its last request are over.
    pub kept: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The connections to origins that are told that they are this one's.
    told: OnceLock<Told>,
}

impl ClientConnection {
    /// Looks at where a connection comes from.
    pub(crate) fn new(info: &ConnInfo, options: &ForwardingOptions) -> Self {
        ClientConnection {
            address: info.remote.ip().map(|ip| ip.to_canonical().to_string().into()),
            is_trusted: options.trusted.contains(&info.remote),
            is_own: false,
            shutdown: None,
            info: info.clone(),
            kept: OnceLock::new(),
            told: OnceLock::new(),
        }
    }

    /// It is served until then.
    pub(crate) fn until(self, shutdown: &Shutdown) -> Self {
        ClientConnection { shutdown: Some(shutdown.clone()), ..self }
    }

    /// Whether the server has ended it, and all that is under way on it.
    pub fn is_cut(&self) -> bool {
        self.shutdown.as_ref().is_some_and(Shutdown::is_cut)
    }

    /// That of requests of our own.
    pub(crate) fn own(info: &ConnInfo) -> Self {
        ClientConnection {
            is_own: true,
            ..ClientConnection::new(info, &ForwardingOptions::default())
        }
    }

    /// The peer as it is for the requests of this connection, if it is told whose its connections are. Those
    /// end with this one.
    pub(crate) fn peer_told(
        &self,
        peer: &Peer,
        client: &Address,
        connector: &Arc<Connector>,
    ) -> Option<Peer> {
        if self.is_own {
            return None;
        }
        let peer = peer.for_client(self.info.id, client, &self.info.local)?;
        let told = self.told.get_or_init(|| Told::new(connector.clone()));
        told.remember(&peer.key);
        Some(peer)
    }

    /// The scheme by which its requests come.
    fn scheme(&self) -> &'static str {
        if self.info.tls.is_some() { "https" } else { "http" }
    }
}

impl Deref for ClientConnection {
    type Target = ConnInfo;

    fn deref(&self) -> &ConnInfo {
        &self.info
    }
}
