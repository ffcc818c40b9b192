use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_proxy_protocol::Version;
use millrace_tls::ClientTlsOptions;
use millrace_transport::Keepalive;

use crate::peer::Client;
use crate::{ConnectProxy, PeerOptions, Protocol};

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Host {
        /// The name, in lower case.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl PeerAddress {
    /// The address for a host as users write it: a name, or an IP address, in brackets or not.
    pub fn host(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => PeerAddress::Ip(SocketAddr::new(ip, port)),
            Err(_) => PeerAddress::Host { name: host.to_ascii_lowercase(), port },
        }
    }

    /// The host and the port, an IPv6 address in brackets and without its scope, which means nothing
    /// on another machine; none of a Unix socket.
    pub(crate) fn host_and_port(&self) -> Option<String> {
        match self {
            PeerAddress::Ip(SocketAddr::V6(ip)) => Some(format!("[{}]:{}", ip.ip(), ip.port())),
            PeerAddress::Unix(_) => None,
            other => Some(other.to_string()),
        }
    }

    /// The same place written in the one way that keys compare by.
    pub(crate) fn normal(self) -> Self {
        match self {
            PeerAddress::Host { name, port } => PeerAddress::host(&name, port),
            other => other,
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        PeerAddress::Ip(address)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => fmt::Display::fmt(address, f),
            PeerAddress::Host { name, port } => write!(f, "{name}:{port}"),
            PeerAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// All that makes two connections differ: two peers with equal keys share their connections.
/// Compared by content; the hash is computed once. Cheap to clone.
#[derive(Clone)]
pub struct PeerKey {
    hash: u64,
    content: Arc<Content>,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Content {
    address: PeerAddress,
    bind_to: Option<IpAddr>,
    tcp_keepalive: Option<Keepalive>,
    protocol: Protocol,
    /// How many streams a connection of HTTP/2 carries, and how often it is pinged.
    h2: Option<(u32, Option<Duration>)>,
    tls: Option<Arc<ClientTlsOptions>>,
    connect_proxy: Option<ConnectProxy>,
    /// How the peer is told whose a connection is, and whose.
    proxy_protocol: Option<(Version, Option<Arc<Client>>)>,
}

impl PeerKey {
    pub(crate) fn new(
        address: &PeerAddress,
        options: &PeerOptions,
        client: Option<Arc<Client>>,
    ) -> Self {
        // Clients may choose names, so the hash must not be theirs to foresee.
        static STATE: OnceLock<RandomState> = OnceLock::new();
        let content = Content {
            address: address.clone(),
            bind_to: options.bind_to,
            tcp_keepalive: options.tcp_keepalive,
            protocol: options.protocol,
            h2: (options.protocol != Protocol::H1)
                .then_some((options.h2_max_streams, options.h2_ping_interval)),
            tls: options.tls.as_ref().map(|tls| tls.options().clone()),
            connect_proxy: options.connect_proxy.clone(),
            proxy_protocol: options.proxy_protocol.map(|version| (version, client)),
        };
        let hash = STATE.get_or_init(RandomState::new).hash_one(&content);
        PeerKey { hash, content: Arc::new(content) }
    }
}

impl PartialEq for PeerKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.content, &other.content)
            || (self.hash == other.hash && self.content == other.content)
    }
}

impl Eq for PeerKey {}

impl Hash for PeerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.content, f)
    }
}

/// Takes the hash that a [`PeerKey`] brings along.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, port: u16, options: &PeerOptions) -> PeerKey {
        PeerKey::new(&PeerAddress::host(host, port), options, None)
    }

    #[test]
    fn a_host_that_is_an_ip_address_is_taken_as_one() {
        for (host, shown) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
            ("Example.COM", "example.com:80"),
            ("[example", "[example:80"),
        ] {
            assert_eq!(PeerAddress::host(host, 80).to_string(), shown);
        }
        assert!(matches!(PeerAddress::host("::1", 1), PeerAddress::Ip(_)));
    }

    #[test]
    fn keys_are_equal_by_content() {
        let plain = PeerOptions::default();
        assert_eq!(key("a", 1, &plain), key("A", 1, &plain));
        assert_ne!(key("a", 1, &plain), key("a", 2, &plain));
        let bound = PeerOptions { bind_to: "127.0.0.2".parse().ok(), ..plain.clone() };
        assert_ne!(key("a", 1, &plain), key("a", 1, &bound));
        let kept = PeerOptions { tcp_keepalive: Some(Keepalive::default()), ..plain.clone() };
        assert_ne!(key("a", 1, &plain), key("a", 1, &kept));
        let through = |port, value: &str| {
            let fields = vec![("Proxy-Authorization".to_owned(), value.into())];
            let proxy = ConnectProxy::new(PeerAddress::host("p", port), fields);
            PeerOptions { connect_proxy: proxy.ok(), ..PeerOptions::default() }
        };
        let told =
            |version| PeerOptions { proxy_protocol: Some(version), ..PeerOptions::default() };
        let (v1, v2) = (told(Version::V1), told(Version::V2));
        let keys = [plain.clone(), through(1, "x"), through(2, "x"), through(1, "y"), v1, v2];
        let keys: Vec<PeerKey> = keys.iter().map(|options| key("a", 1, options)).collect();
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| one != other), "{one:?}");
        }
        assert_eq!(keys[1], key("a", 1, &through(1, "x")));
        let slower = PeerOptions { read_timeout: None, ..plain.clone() };
        assert_eq!(key("a", 1, &plain), key("a", 1, &slower));
        // Nothing that HTTP/1.1 has.
        let few = PeerOptions { h2_max_streams: 1, h2_ping_interval: None, ..plain.clone() };
        assert_eq!(key("a", 1, &plain), key("a", 1, &few));
    }
}
