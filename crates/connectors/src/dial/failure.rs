use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use millrace_error::{Code, Error, Source};
use millrace_http1::ParseError;
use millrace_tls::HandshakeError;

use crate::{Peer, PeerAddress};

/// Why an address did not do.
pub(super) enum Failure {
    /// Connecting failed.
    Connect(io::Error),
    /// The handshake failed.
    Tls(HandshakeError),
    /// The origin does not speak HTTP/2.
    NoH2,
    /// The proxy on the way answered with this status.
    Refused(u16),
    /// The proxy on the way answered with what is no response of HTTP/1.1.
    Answer(ParseError),
    /// The peer is not at a place that a proxy can be asked for.
    NoTarget,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Connect(error)
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Failure::Answer(error)
    }
}

impl Failure {
    /// Whether another address would fail in the same way: it would be the same origin with the
    /// same certificate, or the same proxy with the same rules.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Failure::Connect(_) | Failure::Tls(HandshakeError::Io(_)))
    }
}

/// A name that could not be resolved.
pub(super) fn unresolved(peer: &Peer, error: io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::TimedOut => Code::ConnectTimeout,
        _ => Code::DnsFailed,
    };
    let message = format!("{}: name not resolved", place(peer));
    Error::new(code, message).because(error).retry(true)
}

/// What is connected to: the peer, or the proxy on the way to it.
pub(super) fn place(peer: &Peer) -> String {
    match &peer.options.connect_proxy {
        Some(proxy) => format!("{} through the proxy {}", peer.address, proxy.address()),
        None => peer.address.to_string(),
    }
}

/// Errors of the system that are ours, not the origin's: no descriptors, no memory, no such local address or
/// no port left.
#[cfg(unix)]
const OURS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EADDRNOTAVAIL];
/// WSAEMFILE, ERROR_NOT_ENOUGH_MEMORY, WSAENOBUFS, WSAEADDRNOTAVAIL.
#[cfg(not(unix))]
const OURS: [i32; 4] = [10024, 8, 10055, 10049];

/// What is said of an address that did not do; of one of several, which.
pub(super) fn failed(peer: &Peer, address: Option<SocketAddr>, failure: Failure) -> Error {
    let message = match (peer.dialled(), address) {
        (PeerAddress::Host { .. }, Some(address)) => format!("{} at {address}", place(peer)),
        _ => place(peer),
    };
    let refused = |why: String| {
        let message = format!("{message}: {why}");
        Error::new(Code::ConnectFailed, message).retry(true)
    };
    let error = match failure {
        Failure::Connect(error) => error,
        Failure::Tls(error) => {
            return Error::new(Code::TlsFailed, message).because(error).retry(true);
        }
        Failure::NoH2 => {
            let message = format!("{message}: it does not speak HTTP/2");
            return Error::new(Code::TlsFailed, message).retry(true);
        }
        Failure::Refused(status) => return refused(format!("it answered {status}")),
        Failure::Answer(error) => return refused(format!("not an answer: {error}")),
        Failure::NoTarget => {
            return refused("it cannot be asked for".to_owned()).from_source(Source::Internal);
        }
    };
    let code = match error.kind() {
        ErrorKind::ConnectionRefused => Code::ConnectRefused,
        ErrorKind::TimedOut => Code::ConnectTimeout,
        _ => Code::ConnectFailed,
    };
    let ours = error.raw_os_error().is_some_and(|number| OURS.contains(&number));
    let source = if ours { Source::Internal } else { code.source() };
    Error::new(code, message).from_source(source).because(error).retry(true)
}
