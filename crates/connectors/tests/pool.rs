//! The pool of one runtime, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{LONG, connector, echo, exchange, millis, peer, peer_with, port, until};
use millrace_connectors::{Connection, Connector, Peer, PeerOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// A connection to the peer, with the origin's end of it.
async fn both_ends(
    connector: &Connector,
    peer: &Peer,
    listener: &TcpListener,
) -> (Connection, TcpStream) {
    let (connection, accepted) = tokio::join!(connector.connect(0, peer), listener.accept());
    (connection.unwrap(), accepted.unwrap().0)
}

async fn origin() -> (TcpListener, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer(listener.local_addr().unwrap());
    (listener, peer)
}

/// Lets the runtime see what has come in.
async fn settle() {
    tokio::time::sleep(millis(30)).await;
}

#[tokio::test]
async fn what_is_released_is_taken_again_the_newest_first() {
    let (peer, connector) = (peer(echo().await), connector(8, 1));
    assert!(connector.take_idle(0, &peer, true).is_none());
    let mut ports = Vec::new();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = connector.connect(0, &peer).await.unwrap();
        exchange(&mut connection).await;
        ports.push(port(&connection));
        held.push(connection);
    }
    for connection in held {
        connector.release(0, connection, LONG);
    }
    assert_eq!((connector.stats().open, connector.stats().idle), (3, 3));
    for careful in [true, false] {
        let mut connection = connector.take_idle(0, &peer, careful).unwrap();
        assert_eq!(port(&connection), ports[2]);
        assert!(connection.is_reused());
        exchange(&mut connection).await;
        connector.release(0, connection, LONG);
    }
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.created, stats.reused), (3, 3, 3, 2));
    connector.clear();
    assert_eq!((connector.stats().open, connector.stats().idle), (0, 0));
}

#[tokio::test]
async fn a_closed_connection_is_noticed() {
    let ((listener, peer), connector) = (origin().await, connector(8, 1));
    for careful in [true, false] {
        let (connection, end) = both_ends(&connector, &peer, &listener).await;
        connector.release(0, connection, LONG);
        drop(end);
        if !careful {
            settle().await;
        }
        assert!(connector.take_idle(0, &peer, careful).is_none(), "careful: {careful}");
    }
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.closed_by_origin, stats.reused), (0, 0, 2, 0));
}

#[tokio::test]
async fn a_reset_connection_is_noticed() {
    let ((listener, peer), connector) = (origin().await, connector(8, 1));
    for careful in [true, false] {
        let (connection, end) = both_ends(&connector, &peer, &listener).await;
        connector.release(0, connection, LONG);
        socket2::SockRef::from(&end).set_linger(Some(Duration::ZERO)).unwrap();
        drop(end);
        settle().await;
        assert!(connector.take_idle(0, &peer, careful).is_none(), "careful: {careful}");
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_are_noticed() {
    let ((listener, peer), connector) = (origin().await, connector(8, 1));
    for careful in [true, false] {
        let (connection, mut end) = both_ends(&connector, &peer, &listener).await;
        connector.release(0, connection, LONG);
        end.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        settle().await;
        assert!(connector.take_idle(0, &peer, careful).is_none(), "careful: {careful}");
    }
    assert_eq!((connector.stats().open, connector.stats().closed_by_origin), (0, 2));
}

#[tokio::test]
async fn a_dead_connection_does_not_hide_a_live_one() {
    let ((listener, peer), connector) = (origin().await, connector(8, 1));
    let (first, _end) = both_ends(&connector, &peer, &listener).await;
    let (second, closing) = both_ends(&connector, &peer, &listener).await;
    let first_port = port(&first);
    connector.release(0, first, LONG);
    connector.release(0, second, LONG);
    drop(closing);
    let taken = connector.take_idle(0, &peer, true).unwrap();
    assert_eq!(port(&taken), first_port);
}

#[tokio::test]
async fn what_may_not_be_kept_is_closed() {
    let ((listener, kept), connector) = (origin().await, connector(8, 1));
    let (connection, _end) = both_ends(&connector, &kept, &listener).await;
    connector.release(0, connection, Duration::ZERO);
    let (mut connection, _end) = both_ends(&connector, &kept, &listener).await;
    connection.buf.extend_from_slice(b"left over");
    connector.release(0, connection, LONG);
    let (connection, end) = both_ends(&connector, &kept, &listener).await;
    drop(end);
    settle().await;
    connector.release(0, connection, LONG);
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.closed_by_origin), (0, 0, 1));

    let none = common::connector(0, 1);
    let (connection, _end) = both_ends(&none, &kept, &listener).await;
    none.release(0, connection, LONG);
    assert_eq!((none.stats().open, none.stats().idle), (0, 0));

    // A peer that wants no pooling takes nothing from it either.
    let (connection, _end) = both_ends(&connector, &kept, &listener).await;
    connector.release(0, connection, LONG);
    let unpooled = PeerOptions { idle_timeout: Duration::ZERO, ..PeerOptions::default() };
    let unpooled = peer_with(listener.local_addr().unwrap(), unpooled);
    assert!(connector.take_idle(0, &unpooled, false).is_none());
    assert!(connector.take_idle(0, &kept, false).is_some());
}

#[tokio::test]
async fn idle_time_ends_without_a_sweep() {
    let (peer, connector) = (peer(echo().await), connector(8, 1));
    let connection = connector.connect(0, &peer).await.unwrap();
    connector.release(0, connection, millis(20));
    settle().await;
    assert!(connector.take_idle(0, &peer, false).is_none());
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.expired), (0, 0, 1));
    // Times beyond what the clock can count are as good as forever.
    let connection = connector.connect(0, &peer).await.unwrap();
    connector.release(0, connection, Duration::MAX);
    assert!(connector.take_idle(0, &peer, true).is_some());
}

#[tokio::test]
async fn a_sweep_closes_what_has_expired_or_was_closed_and_frees_buffers() {
    let ((listener, peer), connector) = (origin().await, Arc::new(connector(8, 1)));
    let sweeping = Arc::clone(&connector);
    let sweeper = tokio::spawn(async move { sweeping.sweep(0).await });
    // Twice: it goes to sleep when the shard is empty, and wakes again.
    for round in 1..=2 {
        let (expiring, _end1) = both_ends(&connector, &peer, &listener).await;
        let (closed, end2) = both_ends(&connector, &peer, &listener).await;
        let (mut staying, _end3) = both_ends(&connector, &peer, &listener).await;
        staying.buf.reserve(16_384);
        connector.release(0, staying, LONG);
        connector.release(0, closed, LONG);
        connector.release(0, expiring, millis(10));
        drop(end2);
        until(&connector, |stats| stats.expired == round && stats.closed_by_origin == round).await;
        assert_eq!((connector.stats().open, connector.stats().idle), (1, 1));
        tokio::time::sleep(millis(1_100)).await;
        let staying = connector.take_idle(0, &peer, true).unwrap();
        assert_eq!(staying.buf.capacity(), 0);
        drop(staying);
        tokio::time::sleep(millis(600)).await;
    }
    sweeper.abort();
}

#[tokio::test]
async fn a_full_pool_drives_out_what_has_waited_longest() {
    let (address, connector) = (echo().await, connector(2, 1));
    let named = |id, bind: &str| {
        let options = PeerOptions { bind_to: bind.parse().ok(), ..PeerOptions::default() };
        Peer::new(id, address.into(), options)
    };
    let peers = [named(1, "127.0.0.2"), named(2, "127.0.0.3"), named(3, "127.0.0.4")];
    for peer in &peers {
        let connection = connector.connect(0, peer).await.unwrap();
        connector.release(0, connection, LONG);
        tokio::time::sleep(millis(2)).await;
    }
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.evicted), (2, 2, 1));
    assert!(connector.take_idle(0, &peers[0], true).is_none());
    assert!(connector.take_idle(0, &peers[1], true).is_some());
    assert!(connector.take_idle(0, &peers[2], true).is_some());
}
