//! What ALPN comes to, without a TLS handshake.

use std::net::SocketAddr;

use millrace_transport::{Stream, TlsInfo};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::PeerOptions;
use crate::dial::Dialled;

struct Fixture {
    pool: Arc<Pool>,
    h2: Arc<H2Pool>,
    old: Arc<OldPeers>,
    address: SocketAddr,
}

async fn fixture() -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut server) = h2::server::handshake(stream).await {
                    while server.accept().await.is_some() {}
                }
            });
        }
    });
    let pool = Arc::new(Pool::new(8, 1));
    let old = Arc::<OldPeers>::default();
    let h2 = Arc::new(H2Pool::new(Arc::clone(&pool), Arc::clone(&old), 1, 65_536));
    Fixture { pool, h2, old, address }
}

impl Fixture {
    fn peer(&self, protocol: Protocol) -> Peer {
        Peer::new(1, self.address.into(), PeerOptions { protocol, ..PeerOptions::default() })
    }

    /// As if a TLS handshake had agreed on this.
    async fn reach(&self, peer: &Peer, alpn: Option<&[u8]>) -> Result<Reached> {
        let tls = TlsInfo { alpn: alpn.map(<[u8]>::to_vec), ..TlsInfo::default() };
        let dial = || async {
            let stream = Stream::Tcp(TcpStream::connect(self.address).await.unwrap());
            let remote = stream.remote_address().unwrap();
            let dialled = Dialled { stream, remote, tls: Some(Arc::new(tls)) };
            Ok(self.pool.adopt(0, peer.key.clone(), dialled))
        };
        self.h2.reach(0, peer, dial).await
    }
}

#[tokio::test]
async fn over_tls_auto_is_what_alpn_chose() {
    let fixture = fixture().await;
    let peer = fixture.peer(Protocol::Auto);
    for alpn in [None, Some(&b"http/1.1"[..])] {
        let reached = fixture.reach(&peer, alpn).await.unwrap();
        assert!(matches!(reached, Reached::Old(_)), "{alpn:?}");
        assert!(fixture.old.contains(&peer.key));
    }
    let Reached::Slot(slot) = fixture.reach(&peer, Some(b"h2")).await.unwrap() else {
        panic!("no HTTP/2")
    };
    assert!(slot.tls().is_some_and(|tls| tls.is_h2()));
}

#[tokio::test]
async fn http_2_that_was_asked_for_and_not_agreed_on_is_an_error() {
    let fixture = fixture().await;
    let peer = fixture.peer(Protocol::H2);
    let Err(error) = fixture.reach(&peer, Some(b"http/1.1")).await else { panic!("reached") };
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectFailed, true));
    assert!(!fixture.old.contains(&peer.key));
}

#[tokio::test]
async fn an_origin_that_requires_http_1_over_tls_is_remembered_and_its_connection_ends() {
    let fixture = fixture().await;
    for protocol in [Protocol::Auto, Protocol::H2] {
        let peer = fixture.peer(protocol);
        let Reached::Slot(slot) = fixture.reach(&peer, Some(b"h2")).await.unwrap() else {
            panic!("no HTTP/2")
        };
        assert!(slot.require_h1() && fixture.old.contains(&peer.key));
        assert!(fixture.h2.take(0, &peer).is_none());
    }
}
