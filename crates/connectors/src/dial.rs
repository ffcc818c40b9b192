//! Making connections to peers.

mod failure;
mod through;

#[cfg(feature = "fuzzing")]
pub use through::missing_of_answer;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_error::{Code, Error, Result};
use millrace_tls::HandshakeError;
use millrace_transport::unix::UnixStream;
use millrace_transport::{Address, Stream, TlsInfo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use self::failure::{Failure, failed, place, unresolved};
use self::through::through;
use crate::bind::bind;
use crate::resolve::Resolver;
use crate::{Dialer, Peer, PeerAddress, Protocol};

/// A connection that is ready for its first request.
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) remote: Address,
    pub(crate) tls: Option<Arc<TlsInfo>>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Requests, in the version that the peer's options say.
    Http,
    /// Bytes of which nothing is known.
    Tunnel,
}

/// Connects to a peer, or to the proxy on the way to it: resolves its name and tries its addresses
/// in turn. No request was sent when it fails, so every error may be retried.
pub(crate) async fn dial(resolver: &Resolver, peer: &Peer, purpose: Use) -> Result<Dialled> {
    let clock = Clock::start(peer);
    let addresses = match peer.dialled() {
        PeerAddress::Unix(path) => {
            let work = async { ready(unix(path).await?, peer, purpose).await };
            let (stream, tls) = clock.one(work).await.map_err(|error| failed(peer, None, error))?;
            return Ok(Dialled { stream, remote: Address::Unix(path.clone()), tls });
        }
        PeerAddress::Ip(address) => vec![*address],
        PeerAddress::Host { name, port } => {
            let found = clock.all(resolver.resolve(name)).await;
            let found = found.map_err(|error| unresolved(peer, error))?;
            found.iter().map(|ip| SocketAddr::new(*ip, *port)).collect()
        }
    };

    let mut failure: Option<Error> = None;
    for address in addresses {
        if !is_reachable_from(peer.options.bind_to, address) {
            continue;
        }
        if failure.is_some() && clock.is_over() {
            break;
        }
        let work = async { ready(tcp(address, peer).await?, peer, purpose).await };
        let cause = match clock.one(work).await {
            Ok((stream, tls)) => {
                return Ok(Dialled { stream, remote: Address::canonical(address), tls });
            }
            Err(failure) => failure,
        };
        let is_final = cause.is_final();
        let error = failed(peer, Some(address), cause);
        if is_final {
            return Err(error);
        }
        // An address that this host cannot even try, such as IPv6 where there is none, does not
        // hide what a real one answered.
        if failure.is_none() || error.code() != Code::ConnectFailed {
            failure = Some(error);
        }
    }
    Err(failure.unwrap_or_else(|| {
        let message = format!("{}: no address of the family of bindTo", place(peer));
        Error::new(Code::ConnectFailed, message).retry(true)
    }))
}

/// The same where somebody else makes the connections. A name counts as that of this host.
pub(crate) async fn dial_by(dialer: &dyn Dialer, peer: &Peer) -> Result<Dialled> {
    let remote = match peer.dialled() {
        PeerAddress::Unix(path) => Address::Unix(path.clone()),
        PeerAddress::Ip(address) => Address::canonical(*address),
        PeerAddress::Host { port, .. } => {
            Address::Ip(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port))
        }
    };
    match Clock::start(peer).one(async { Ok(dialer.dial(peer).await?) }).await {
        Ok(stream) => Ok(Dialled { stream, remote, tls: None }),
        Err(Failure::Connect(error)) if error.kind() == ErrorKind::NotFound => {
            Err(unresolved(peer, error))
        }
        Err(Failure::Connect(error)) if error.kind() == ErrorKind::InvalidData => {
            Err(failed(peer, None, Failure::Tls(HandshakeError::Io(error))))
        }
        Err(failure) => Err(failed(peer, None, failure)),
    }
}

/// The time that is left.
struct Clock {
    one: Option<Duration>,
    end: Option<Instant>,
}

impl Clock {
    fn start(peer: &Peer) -> Self {
        let total = peer.options.total_connect_timeout;
        Clock {
            one: peer.options.connect_timeout,
            end: total.and_then(|total| Instant::now().checked_add(total)),
        }
    }

    fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    async fn all<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        within(self.left(), work).await
    }

    async fn one<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        within(self.one.into_iter().chain(self.left()).min(), work).await
    }
}

async fn within<T, E: From<io::Error>>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = || Err(io::Error::from(ErrorKind::TimedOut).into());
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| late()),
        None => work.await,
    }
}

/// What a new connection needs before its first byte: the tunnel of the proxy on the way, if there
/// is one, whose it is, if the peer is told, and the handshake, if it is spoken to over TLS.
async fn ready(
    mut stream: Stream,
    peer: &Peer,
    purpose: Use,
) -> Result<(Stream, Option<Arc<TlsInfo>>), Failure> {
    if let Some(proxy) = &peer.options.connect_proxy {
        // Boxed, like the handshake: most peers need neither, and they are large.
        Box::pin(through(&mut stream, peer, proxy)).await?;
    }
    if let Some(header) = peer.header() {
        stream.write_all(&header).await?;
    }
    let Some(tls) = &peer.options.tls else { return Ok((stream, None)) };
    let protocol = peer.options.protocol;
    let alpn = match purpose {
        Use::Http => protocol.alpn(),
        Use::Tunnel => &[],
    };
    let host = peer.tls_host();
    let handshake = Box::pin(tls.connect(stream, &host, alpn));
    let (stream, info) = handshake.await.map_err(Failure::Tls)?;
    if purpose == Use::Http && protocol == Protocol::H2 && !info.is_h2() {
        return Err(Failure::NoH2);
    }
    Ok((stream, Some(Arc::new(info))))
}

async fn tcp(address: SocketAddr, peer: &Peer) -> io::Result<Stream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(ip) = peer.options.bind_to {
        bind(&socket, ip)?;
    }
    let stream = socket.connect(address).await?;
    // Where nobody listens, the system may give our end the very port that we connect to.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    let stream = Stream::Tcp(stream);
    stream.set_nodelay(true)?;
    if let Some(keepalive) = &peer.options.tcp_keepalive {
        stream.set_keepalive(keepalive)?;
    }
    Ok(stream)
}

/// Unlike TCP, a Unix socket whose backlog is full fails at once: come again until time is up.
async fn unix(path: &Path) -> io::Result<Stream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Stream::Unix(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(pause).await,
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn is_reachable_from(bind_to: Option<IpAddr>, address: SocketAddr) -> bool {
    bind_to.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4())
}

#[cfg(test)]
mod tests;
