//! Connections that somebody else makes in the place of the network.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_connectors::{
    Connector, ConnectorOptions, Dialer, Dialling, Link, Peer, PeerAddress, PeerOptions, Protocol,
};
use millrace_error::Code;
use millrace_transport::{MemoryStream, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Fails as it is told, or gives streams whose other ends it keeps.
#[derive(Default)]
struct Scripted {
    failure: Option<ErrorKind>,
    hangs: bool,
    dialled: AtomicUsize,
    ends: parking_lot::Mutex<Vec<MemoryStream>>,
}

impl Dialer for Scripted {
    fn dial<'a>(&'a self, _peer: &'a Peer) -> Dialling<'a> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if let Some(kind) = self.failure {
                return Err(Error::new(kind, "as it was told"));
            }
            let (near, far) = MemoryStream::pair(1024);
            self.ends.lock().push(far);
            Ok(Stream::from(near))
        })
    }
}

fn connector(dialer: Arc<Scripted>) -> Connector {
    Connector::new(ConnectorOptions::default()).dialled_by(dialer)
}

fn peer(address: PeerAddress) -> Peer {
    Peer::new(1, address, PeerOptions::default())
}

fn named() -> Peer {
    // A name that no resolver has (RFC 6761).
    peer(PeerAddress::host("origin.invalid", 8080))
}

#[tokio::test]
async fn names_are_not_resolved_and_bytes_go_both_ways() {
    let dialer = Arc::new(Scripted::default());
    let connector = connector(dialer.clone());
    let mut connection = connector.connect(0, &named()).await.unwrap();
    assert_eq!(connection.remote.to_string(), "127.0.0.1:8080");
    let mut far = dialer.ends.lock().pop().unwrap();
    connection.stream.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    let (mut there, mut back) = ([0; 5], [0; 4]);
    far.read_exact(&mut there).await.unwrap();
    connection.stream.read_exact(&mut back).await.unwrap();
    assert_eq!((&there, &back), (b"there", b"back"));
}

#[tokio::test]
async fn connections_are_pooled_until_the_other_end_goes() {
    let dialer = Arc::new(Scripted::default());
    let connector = connector(dialer.clone());
    let peer = named();
    let keep = Duration::from_secs(5);
    for _ in 0..2 {
        let link = match connector.take(0, &peer, true) {
            Some(link) => link,
            None => connector.reach(0, &peer).await.unwrap(),
        };
        let Link::H1(connection) = link else { panic!("{link:?}") };
        connector.release(0, connection, keep);
    }
    assert_eq!(dialer.dialled.load(Ordering::Relaxed), 1);
    dialer.ends.lock().clear();
    assert!(connector.take(0, &peer, false).is_none());
}

#[tokio::test]
async fn its_failures_are_those_of_the_network() {
    for (kind, code) in [
        (ErrorKind::NotFound, Code::DnsFailed),
        (ErrorKind::InvalidData, Code::TlsFailed),
        (ErrorKind::ConnectionRefused, Code::ConnectRefused),
        (ErrorKind::TimedOut, Code::ConnectTimeout),
        (ErrorKind::Other, Code::ConnectFailed),
    ] {
        for protocol in [Protocol::H1, Protocol::H2, Protocol::Auto] {
            let dialer = Scripted { failure: Some(kind), ..Scripted::default() };
            let options = PeerOptions { protocol, ..PeerOptions::default() };
            let peer = Peer::new(1, PeerAddress::host("origin.invalid", 80), options);
            let error = connector(Arc::new(dialer)).reach(0, &peer).await.unwrap_err();
            assert_eq!((error.code(), error.can_retry()), (code, true), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn the_times_of_the_peer_hold() {
    let dialer = Scripted { hangs: true, ..Scripted::default() };
    let connect_timeout = Some(Duration::from_millis(20));
    let options = PeerOptions { connect_timeout, ..PeerOptions::default() };
    let peer = Peer::new(1, PeerAddress::Ip("10.0.0.1:80".parse().unwrap()), options);
    let error = connector(Arc::new(dialer)).connect(0, &peer).await.unwrap_err();
    assert_eq!(error.code(), Code::ConnectTimeout);
}
