use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use millrace_proxy_protocol::{Addresses, Version};
use millrace_tls::ClientTls;
use millrace_transport::{Address, Keepalive};

use crate::{ConnectProxy, PeerAddress, PeerKey};

/// What the origin gets to see as `Host`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum HostPolicy {
    /// What the client sent.
    #[default]
    Preserve,
    /// The peer's own authority.
    Peer,
    /// This one.
    Fixed(String),
}

/// Which version of HTTP a peer is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2: agreed on by ALPN over TLS, by prior knowledge in the clear.
    H2,
    /// What ALPN comes to over TLS; HTTP/1.1 in the clear.
    Auto,
}

/// How a peer is connected to and spoken to. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// For connecting to one address of the peer, the answer of a proxy on the way and the handshake
    /// included.
    pub connect_timeout: Option<Duration>,
    /// For resolving the name and trying all its addresses.
    pub total_connect_timeout: Option<Duration>,
    /// For the origin to send something.
    pub read_timeout: Option<Duration>,
    /// For the origin to take something.
    pub write_timeout: Option<Duration>,
    /// How long a connection may wait in the pool; zero keeps none.
    pub idle_timeout: Duration,
    /// The local address to connect from. The peer's addresses of the other family are left out.
    pub bind_to: Option<IpAddr>,
    /// Keep-alive probes.
    pub tcp_keepalive: Option<Keepalive>,
    /// What the origin gets to see as `Host`.
    pub host: HostPolicy,
    /// Which version of HTTP it is spoken to in.
    pub protocol: Protocol,
    /// How many requests share one HTTP/2 connection at most, where the origin allows as many. More
    /// connections are opened beyond it.
    pub h2_max_streams: u32,
    /// How long an HTTP/2 connection may be silent before it is pinged, with streams or without. It
    /// is dropped if nothing comes back for as long again, or for 5 s if that is less. With each ping
    /// that is answered while nothing else comes the next waits four times as long, up to 10 minutes
    /// at most, until a stream is opened or something comes.
    pub h2_ping_interval: Option<Duration>,
    /// How handshakes are done with it; none in the clear.
    pub tls: Option<ClientTls>,
    /// The proxy that is connected to in its place, and asked for a tunnel to it. A peer at a Unix
    /// socket cannot have one.
    pub connect_proxy: Option<ConnectProxy>,
    /// Whether the peer is told in front of each connection whose it is (the PROXY protocol), and how; over
    /// TLS before the handshake. A connection serves one client then: see [`Peer::for_client`].
    pub proxy_protocol: Option<Version>,
}

impl Protocol {
    /// What is offered by ALPN.
    pub(crate) fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Protocol::H1 => &[b"http/1.1"],
            Protocol::H2 => &[b"h2"],
            Protocol::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

impl Default for PeerOptions {
    fn default() -> Self {
        PeerOptions {
            connect_timeout: Some(Duration::from_secs(3)),
            total_connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(60)),
            write_timeout: Some(Duration::from_secs(60)),
            // Less than the 5 s after which Node.js origins close.
            idle_timeout: Duration::from_secs(4),
            bind_to: None,
            tcp_keepalive: None,
            host: HostPolicy::Preserve,
            protocol: Protocol::H1,
            h2_max_streams: 100,
            h2_ping_interval: Some(Duration::from_secs(30)),
            tls: None,
            connect_proxy: None,
            proxy_protocol: None,
        }
    }
}

/// Where a request goes, and how. Made once and shared; not changed afterwards.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The number its maker knows it by.
    pub id: u32,
    /// Where it is.
    pub address: PeerAddress,
    /// How it is connected to and spoken to.
    pub options: PeerOptions,
    /// Which pooled connections it may use.
    pub key: PeerKey,
    authority: String,
    /// Whose connections it gets, where it is told.
    client: Option<Arc<Client>>,
}

/// The client whose connections a peer is told of.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    /// The number of its own connection: others may come from the same address.
    connection: u64,
    addresses: Addresses,
}

impl Peer {
    /// A peer. A host name that is an IP address is taken as one.
    pub fn new(id: u32, address: PeerAddress, options: PeerOptions) -> Self {
        let address = address.normal();
        let key = PeerKey::new(&address, &options, None);
        let authority = authority(&address, if options.tls.is_some() { 443 } else { 80 });
        Peer { id, address, options, key, authority, client: None }
    }

    /// The peer's own authority: its host, and its port where that is not the usual one, 80 or
    /// with TLS 443. A Unix socket has none and goes by `localhost`. Not checked: it holds what
    /// the address holds.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The same peer, on the same pooled connections, spoken to in HTTP/1.1.
    #[must_use]
    pub fn in_http_1(&self) -> Self {
        let mut peer = self.clone();
        peer.options.protocol = Protocol::H1;
        peer
    }

    /// The same peer for the requests that come over one connection of a client, by its number, where the peer
    /// is told whose its connections are: they serve no other's, and [`Connector::forget`](crate::Connector::forget)
    /// ends them. Otherwise none: there is nothing to tell apart.
    pub fn for_client(&self, connection: u64, client: &Address, server: &Address) -> Option<Self> {
        self.options.proxy_protocol?;
        let addresses = Addresses { client: client.clone(), server: server.clone() };
        let client = Some(Arc::new(Client { connection, addresses }));
        let key = PeerKey::new(&self.address, &self.options, client.clone());
        Some(Peer { key, client, ..self.clone() })
    }

    /// What is sent in front of a new connection. Where no client is known it is said to be our own.
    pub(crate) fn header(&self) -> Option<Vec<u8>> {
        let version = self.options.proxy_protocol?;
        Some(millrace_proxy_protocol::write(
            version,
            self.client.as_deref().map(|client| &client.addresses),
        ))
    }

    /// What is connected to: the peer's own address, or that of the proxy on the way.
    pub(crate) fn dialled(&self) -> &PeerAddress {
        self.options.connect_proxy.as_ref().map_or(&self.address, ConnectProxy::address)
    }

    /// The name or the IP address that its certificate has to be for, unless its options say
    /// otherwise.
    pub(crate) fn tls_host(&self) -> Cow<'_, str> {
        match &self.address {
            PeerAddress::Ip(address) => Cow::Owned(address.ip().to_string()),
            PeerAddress::Host { name, .. } => Cow::Borrowed(name),
            PeerAddress::Unix(_) => Cow::Borrowed("localhost"),
        }
    }

    /// What replaces the client's `Host`, if anything does.
    pub fn host_override(&self) -> Option<&str> {
        match &self.options.host {
            HostPolicy::Preserve => None,
            HostPolicy::Peer => Some(&self.authority),
            HostPolicy::Fixed(host) => Some(host),
        }
    }
}

fn authority(address: &PeerAddress, usual_port: u16) -> String {
    let (host, port) = match address {
        // Without its scope, which means nothing on the other side.
        PeerAddress::Ip(SocketAddr::V6(ip)) => (format!("[{}]", ip.ip()), ip.port()),
        PeerAddress::Ip(SocketAddr::V4(ip)) => (ip.ip().to_string(), ip.port()),
        PeerAddress::Host { name, port } => (name.clone(), *port),
        PeerAddress::Unix(_) => ("localhost".to_owned(), usual_port),
    };
    if port == usual_port { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_leaves_out_port_80_and_scopes() {
        for (address, expected) in [
            (PeerAddress::host("Example.com", 80), "example.com"),
            (PeerAddress::host("example.com", 8080), "example.com:8080"),
            (PeerAddress::host("::1", 8080), "[::1]:8080"),
            (PeerAddress::Ip("[fe80::1%3]:80".parse().unwrap()), "[fe80::1]"),
            (PeerAddress::Ip("10.0.0.1:81".parse().unwrap()), "10.0.0.1:81"),
            (PeerAddress::Unix("/run/a.sock".into()), "localhost"),
        ] {
            assert_eq!(Peer::new(1, address, PeerOptions::default()).authority(), expected);
        }
    }

    #[test]
    fn an_authority_over_tls_leaves_out_port_443_and_not_80() {
        for (address, expected) in [
            (PeerAddress::host("example.com", 443), "example.com"),
            (PeerAddress::host("example.com", 80), "example.com:80"),
            (PeerAddress::Unix("/run/a.sock".into()), "localhost"),
        ] {
            let tls = ClientTls::new(Default::default()).ok();
            let options = PeerOptions { tls, ..PeerOptions::default() };
            assert_eq!(Peer::new(1, address, options).authority(), expected);
        }
    }

    #[test]
    fn the_policy_says_what_replaces_host() {
        let host = |host| {
            let options = PeerOptions { host, ..PeerOptions::default() };
            let peer = Peer::new(1, PeerAddress::host("a", 81), options);
            peer.host_override().map(str::to_owned)
        };
        assert_eq!(host(HostPolicy::Preserve), None);
        assert_eq!(host(HostPolicy::Peer).as_deref(), Some("a:81"));
        assert_eq!(host(HostPolicy::Fixed("b".into())).as_deref(), Some("b"));
    }

    #[test]
    fn names_are_normal_however_the_address_was_made() {
        let raw = PeerAddress::Host { name: "127.0.0.1".into(), port: 1 };
        let ip = PeerAddress::Ip("127.0.0.1:1".parse().unwrap());
        let options = PeerOptions::default;
        assert_eq!(Peer::new(1, raw, options()).key, Peer::new(2, ip, options()).key);
    }
}
