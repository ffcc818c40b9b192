//! HTTP/2 connections: how they are shared, watched and ended.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{LONG, connector, millis, peer_with, until};
use h2::client::ResponseFuture;
use millrace_connectors::{Connector, H2Slot, Link, Peer, PeerOptions, Protocol};
use millrace_error::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

fn h2_peer(address: SocketAddr, options: PeerOptions) -> Peer {
    peer_with(address, PeerOptions { protocol: Protocol::H2, ..options })
}

/// An origin that answers everything with 200, and counts its connections.
async fn origin() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = server.accept().await {
                    let _ = respond.send_response(http::Response::new(()), true);
                }
            });
        }
    });
    (address, connections)
}

/// An origin that sends settings and answers nothing.
async fn mute() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                let mut bytes = [0; 1024];
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

async fn slot(connector: &Connector, peer: &Peer) -> H2Slot {
    let link = connector.reach(0, peer).await.unwrap();
    let Link::H2(slot) = link else { panic!("{link:?}") };
    slot
}

fn send(slot: &mut H2Slot) -> ResponseFuture {
    let request = http::Request::get("http://a/").body(()).unwrap();
    slot.sender().send_request(request, true).unwrap().0
}

#[tokio::test]
async fn all_who_come_at_once_share_the_first_connection() {
    let ((address, connections), connector) = (origin().await, Arc::new(connector(8, 1)));
    let peer = Arc::new(h2_peer(address, PeerOptions::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (connector, peer) = (connector.clone(), peer.clone());
        tasks.spawn(async move {
            let mut slot = slot(&connector, &peer).await;
            assert_eq!(send(&mut slot).await.unwrap().status(), 200);
            slot
        });
    }
    let slots = tasks.join_all().await;
    assert_eq!(slots.iter().filter(|slot| !slot.is_reused()).count(), 1);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // The hundred and first has no place there.
    assert!(connector.take(0, &peer, true).is_none());
    let other = slot(&connector, &peer).await;
    assert!(!other.is_reused());
    assert_eq!((connector.stats().open, connector.stats().idle), (2, 0));
    drop((slots, other));
    assert_eq!((connector.stats().open, connector.stats().idle), (2, 2));
    assert!(connector.take(0, &peer, true).is_some());
}

#[tokio::test]
async fn where_the_first_goes_away_the_next_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Arc::new(connector(8, 1));
    let peer = Arc::new(h2_peer(listener.local_addr().unwrap(), PeerOptions::default()));
    let reach = || {
        let (connector, peer) = (connector.clone(), peer.clone());
        tokio::spawn(async move { slot(&connector, &peer).await })
    };
    let first = reach();
    let (_silent, _) = listener.accept().await.unwrap();
    let second = reach();
    tokio::task::yield_now().await;
    first.abort();
    let (stream, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let mut server = h2::server::handshake(stream).await.unwrap();
        let _ = server.accept().await;
    });
    assert!(!second.await.unwrap().is_reused());
    until(&connector, |stats| stats.open == 1).await;
}

#[tokio::test]
async fn a_failure_is_for_all_who_waited_and_for_nobody_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Arc::new(connector(8, 1));
    let peer = Arc::new(h2_peer(listener.local_addr().unwrap(), PeerOptions::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (connector, peer) = (connector.clone(), peer.clone());
        tasks.spawn(async move { connector.reach(0, &peer).await.unwrap_err() });
    }
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
    for error in tasks.join_all().await {
        assert_eq!((error.code(), error.can_retry()), (Code::UpstreamInvalid, true));
    }
    let (link, accepted) = tokio::join!(
        tokio::time::timeout(millis(300), connector.reach(0, &peer)),
        listener.accept()
    );
    assert!(link.is_err() && accepted.is_ok());
    until(&connector, |stats| stats.open == 0).await;
}

#[tokio::test]
async fn an_idle_connection_ends_when_its_time_is_up() {
    let ((address, connections), connector) = (origin().await, connector(8, 1));
    let options = PeerOptions { idle_timeout: millis(50), ..PeerOptions::default() };
    let peer = h2_peer(address, options);
    drop(slot(&connector, &peer).await);
    assert_eq!((connector.stats().open, connector.stats().idle), (1, 1));
    until(&connector, |stats| (stats.open, stats.idle, stats.expired) == (0, 0, 1)).await;
    // One with a stream stays, however long.
    let held = slot(&connector, &peer).await;
    tokio::time::sleep(millis(200)).await;
    assert_eq!(connector.stats().open, 1);
    drop(held);
    until(&connector, |stats| stats.open == 0).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn pings_keep_an_idle_connection_and_drop_a_dead_one() {
    let connector = connector(8, 1);
    let options = |interval| PeerOptions {
        idle_timeout: LONG,
        h2_ping_interval: interval,
        ..PeerOptions::default()
    };
    let alive = h2_peer(origin().await.0, options(Some(millis(100))));
    let dead = h2_peer(mute().await, options(Some(millis(100))));
    let unwatched = h2_peer(mute().await, options(None));
    drop(slot(&connector, &alive).await);
    drop(slot(&connector, &dead).await);
    drop(slot(&connector, &unwatched).await);
    assert_eq!((connector.stats().open, connector.stats().idle), (3, 3));
    until(&connector, |stats| (stats.open, stats.idle) == (2, 2)).await;
    tokio::time::sleep(millis(500)).await;
    assert_eq!(connector.stats().open, 2);
    assert!(connector.take(0, &alive, true).is_some());
    assert!(connector.take(0, &unwatched, true).is_some());
    assert!(connector.take(0, &dead, true).is_none());
}

/// What gRPC's servers allow: two pings that come soon after the one before.
#[tokio::test]
async fn pings_become_rare_on_a_quiet_connection_until_a_stream_is_opened() {
    let (interval, connector) = (millis(50), connector(8, 1));
    let options = PeerOptions {
        idle_timeout: LONG,
        h2_ping_interval: Some(interval),
        ..PeerOptions::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = h2_peer(listener.local_addr().unwrap(), options);
    let (held, mut origin) = tokio::join!(slot(&connector, &peer), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream
    });
    for least in [1, 4, 16] {
        let since = Instant::now();
        pinged(&mut origin).await;
        assert!(since.elapsed() >= interval * least, "{:?}", since.elapsed());
    }
    let since = Instant::now();
    let other = connector.take(0, &peer, true).unwrap();
    pinged(&mut origin).await;
    assert!(since.elapsed() < interval * 64, "{:?}", since.elapsed());
    drop((held, other));
}

/// Waits for a ping, and answers it.
async fn pinged(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 6 && head[4] == 0 {
            head[4] = 1;
            return stream.write_all(&[&head[..], &payload].concat()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_dead_connection_fails_its_streams_and_says_why() {
    let connector = connector(8, 1);
    let options = PeerOptions { h2_ping_interval: Some(millis(80)), ..PeerOptions::default() };
    let peer = h2_peer(mute().await, options);
    let mut slot = slot(&connector, &peer).await;
    let before = slot.written();
    assert!(send(&mut slot).await.unwrap_err().is_io());
    assert!(slot.written() > before);
    until(&connector, |_| slot.cause().is_some()).await;
    assert_eq!(slot.cause(), Some("the origin did not answer a ping"));
}

#[tokio::test]
async fn a_goaway_or_the_end_of_a_connection_takes_it_out_of_the_pool() {
    const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let connector = connector(8, 1);
    let options = PeerOptions { idle_timeout: LONG, ..PeerOptions::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = h2_peer(listener.local_addr().unwrap(), options);
    let accept = async || {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        stream
    };
    let (held, mut stream) = tokio::join!(slot(&connector, &peer), accept());
    stream.write_all(GOAWAY).await.unwrap();
    until(&connector, |_| connector.take(0, &peer, true).is_none()).await;
    assert_eq!(connector.stats().open, 1);
    drop(held);
    until(&connector, |stats| stats.open == 0).await;

    let (slot, stream) = tokio::join!(slot(&connector, &peer), accept());
    drop(slot);
    assert_eq!(connector.stats().idle, 1);
    drop(stream);
    until(&connector, |stats| (stats.open, stats.idle, stats.closed_by_origin) == (0, 0, 1)).await;
}

#[tokio::test]
async fn clearing_ends_idle_connections_and_lets_streams_end() {
    let ((address, _), connector) = (origin().await, connector(8, 1));
    let options = PeerOptions { idle_timeout: LONG, h2_max_streams: 1, ..PeerOptions::default() };
    let peer = h2_peer(address, options);
    let (mut held, idle) = (slot(&connector, &peer).await, slot(&connector, &peer).await);
    drop(idle);
    assert_eq!((connector.stats().open, connector.stats().idle), (2, 1));
    connector.clear();
    until(&connector, |stats| (stats.open, stats.idle) == (1, 0)).await;
    assert_eq!(send(&mut held).await.unwrap().status(), 200);
    drop(held);
    until(&connector, |stats| stats.open == 0).await;
}

#[tokio::test]
async fn the_pools_bound_counts_connections_without_streams() {
    let (first, second) = (origin().await.0, origin().await.0);
    let connector = connector(1, 1);
    let options = PeerOptions { idle_timeout: LONG, ..PeerOptions::default() };
    let (first, second) = (h2_peer(first, options.clone()), h2_peer(second, options.clone()));
    drop(slot(&connector, &first).await);
    drop(slot(&connector, &second).await);
    until(&connector, |stats| (stats.open, stats.idle) == (1, 1)).await;
    // None is kept that may not be.
    let unpooled = PeerOptions { idle_timeout: Duration::ZERO, ..options };
    let unpooled = h2_peer(origin().await.0, unpooled);
    drop(slot(&connector, &unpooled).await);
    until(&connector, |stats| (stats.open, stats.idle) == (1, 1)).await;
}

#[tokio::test]
async fn auto_in_the_clear_makes_connections_of_http_1() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Arc::new(connector(8, 1));
    let options = PeerOptions { protocol: Protocol::Auto, ..PeerOptions::default() };
    let peer = Arc::new(peer_with(listener.local_addr().unwrap(), options));
    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        let (connector, peer) = (connector.clone(), peer.clone());
        tasks.spawn(async move { connector.reach(0, &peer).await.unwrap() });
    }
    for link in tasks.join_all().await {
        let Link::H1(connection) = link else { panic!("{link:?}") };
        connector.release(0, connection, LONG);
    }
    assert_eq!((connector.stats().open, connector.stats().idle), (5, 5));
    assert!(matches!(connector.take(0, &peer, true), Some(Link::H1(_))));
}
