use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use millrace_error::{Code, Error, Source};
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
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Connect(error)
    }
}

impl Failure {
    /// Whether another address of the peer would fail in the same way: it would be the same
    /// origin with the same certificate.
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
    Error::new(code, format!("{}: name not resolved", peer.address)).because(error).retry(true)
}

/// What is said of an address that did not do; of one of several, which.
pub(super) fn failed(peer: &Peer, address: Option<SocketAddr>, failure: Failure) -> Error {
    let message = match (&peer.address, address) {
        (PeerAddress::Host { .. }, Some(address)) => format!("{} at {address}", peer.address),
        _ => peer.address.to_string(),
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
    };
    let code = match error.kind() {
        ErrorKind::ConnectionRefused => Code::ConnectRefused,
        ErrorKind::TimedOut => Code::ConnectTimeout,
        _ => Code::ConnectFailed,
    };
    let source = match error.raw_os_error() {
        // Ours, not the origin's: no descriptors, no memory, no such local address or no port left.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EADDRNOTAVAIL) => Source::Internal,
        _ => code.source(),
    };
    Error::new(code, message).from_source(source).because(error).retry(true)
}
