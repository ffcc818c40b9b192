//! Connecting, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{connector, echo, exchange, millis, nowhere, peer, peer_with};
use millrace_connectors::{Peer, PeerAddress, PeerOptions};
use millrace_error::{Code, Source};
use millrace_transport::Keepalive;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// A listener that accepts nothing and whose backlog is full, with what fills it.
fn full_listener(address: &SockAddr) -> (Socket, Vec<Socket>) {
    let listener = Socket::new(address.domain(), Type::STREAM, None).unwrap();
    listener.bind(address).unwrap();
    listener.listen(0).unwrap();
    let bound = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    loop {
        let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let refused = socket.connect(&bound).is_err_and(|error| {
            let pending = error.raw_os_error() == Some(libc::EINPROGRESS);
            std::thread::sleep(millis(20));
            !pending || socket.peer_addr().is_err()
        });
        filling.push(socket);
        if refused {
            return (listener, filling);
        }
    }
}

fn quick(connect: u64, total: u64) -> PeerOptions {
    PeerOptions {
        connect_timeout: Some(millis(connect)),
        total_connect_timeout: Some(millis(total)),
        ..PeerOptions::default()
    }
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("millrace-{}-{name}", std::process::id()))
}

#[tokio::test]
async fn a_new_connection_carries_bytes_and_knows_its_ends() {
    let (address, connector) = (echo().await, connector(8, 1));
    let mut connection = connector.connect(0, &peer(address)).await.unwrap();
    exchange(&mut connection).await;
    assert_eq!(connection.remote.to_string(), address.to_string());
    assert!(!connection.is_reused());
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.created, stats.reused), (1, 0, 1, 0));
    drop(connection);
    assert_eq!(connector.stats().open, 0);
}

#[tokio::test]
async fn a_name_is_resolved() {
    let (address, connector) = (echo().await, connector(8, 1));
    let named = PeerAddress::host("LocalHost", address.port());
    let peer = Peer::new(1, named, PeerOptions::default());
    exchange(&mut connector.connect(0, &peer).await.unwrap()).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let named = PeerAddress::host("no name", 80);
    let peer = Peer::new(1, named, PeerOptions::default());
    let error = connector(8, 1).connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::DnsFailed, true));
    assert!(error.cause().is_some());
}

#[tokio::test]
async fn a_refusal_says_so() {
    let free = nowhere();
    let error = connector(8, 1).connect(0, &peer(free)).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectRefused, true));
    assert_eq!(error.source(), Source::Upstream);
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn an_origin_that_accepts_nothing_times_out() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (listener, _filling) = full_listener(&any.into());
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    for options in [quick(150, 20_000), quick(20_000, 150)] {
        let (connector, start) = (connector(8, 1), Instant::now());
        let error = connector.connect(0, &peer_with(address, options)).await.unwrap_err();
        assert_eq!((error.code(), error.can_retry()), (Code::ConnectTimeout, true), "{error}");
        let took = start.elapsed();
        assert!((millis(140)..Duration::from_secs(15)).contains(&took), "{took:?}");
        assert_eq!(connector.stats(), Default::default());
    }
}

#[tokio::test]
async fn the_local_address_is_the_one_asked_for() {
    let (address, connector) = (echo().await, connector(8, 1));
    let bound = PeerOptions { bind_to: "127.0.0.2".parse().ok(), ..PeerOptions::default() };
    let peer = peer_with(address, bound);
    let mut connection = connector.connect(0, &peer).await.unwrap();
    exchange(&mut connection).await;
    assert_eq!(connection.stream.local_address().unwrap().host(), "127.0.0.2");
    connector.release(0, connection, common::LONG);
    // What comes from another address is not used in its place.
    assert!(connector.take_idle(0, &common::peer(address), false).is_none());
    assert!(connector.take_idle(0, &peer, false).is_some());
}

#[tokio::test]
async fn a_local_address_that_is_not_ours_is_our_fault() {
    let bound = PeerOptions { bind_to: "192.0.2.1".parse().ok(), ..PeerOptions::default() };
    let peer = peer_with(echo().await, bound);
    let error = connector(8, 1).connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.source()), (Code::ConnectFailed, Source::Internal));
}

#[tokio::test]
async fn probes_and_no_delay_reach_the_socket() {
    let (address, connector) = (echo().await, connector(8, 1));
    let kept = PeerOptions { tcp_keepalive: Some(Keepalive::default()), ..PeerOptions::default() };
    let connection = connector.connect(0, &peer_with(address, kept)).await.unwrap();
    let millrace_transport::Stream::Tcp(tcp) = &connection.stream else { panic!("no TCP") };
    assert!(tcp.nodelay().unwrap() && SockRef::from(tcp).keepalive().unwrap());
}

#[tokio::test]
async fn ipv6_is_spoken_where_there_is_any() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let bound = PeerOptions { bind_to: "::1".parse().ok(), ..PeerOptions::default() };
    let peer = peer_with(listener.local_addr().unwrap(), bound);
    let connection = connector(8, 1).connect(0, &peer).await.unwrap();
    assert_eq!(connection.remote.host(), "::1");
}

#[tokio::test]
async fn a_connection_never_meets_itself() {
    // A port that `connect` would choose for our end: sooner or later it chooses this one.
    let (address, connector) = (echo().await, connector(8, 1));
    let mut connection = connector.connect(0, &peer(address)).await.unwrap();
    let port = common::port(&connection);
    connection.stream.reset_on_drop().unwrap();
    drop(connection);
    let peer = peer(SocketAddr::new(address.ip(), port));
    for _ in 0..32_768 {
        let error = connector.connect(0, &peer).await.unwrap_err();
        assert_eq!(error.code(), Code::ConnectRefused);
    }
}

#[tokio::test]
async fn unix_sockets_connect_pool_and_fail_like_any() {
    let path = temporary("echo.sock");
    let peer = Peer::new(1, PeerAddress::Unix(path.clone()), PeerOptions::default());
    let connector = connector(8, 1);
    let error = connector.connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectFailed, true));

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let connection = connector.connect(0, &peer).await.unwrap();
    let (origin, _) = listener.accept().await.unwrap();
    assert_eq!(connection.remote.to_string(), format!("unix:{}", path.display()));
    connector.release(0, connection, common::LONG);
    let connection = connector.take_idle(0, &peer, true).unwrap();
    connector.release(0, connection, common::LONG);
    drop(origin);
    assert!(connector.take_idle(0, &peer, true).is_none());
    assert_eq!(connector.stats().closed_by_origin, 1);

    drop(listener);
    let error = connector.connect(0, &peer).await.unwrap_err();
    assert_eq!(error.code(), Code::ConnectRefused);
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_unix_socket_with_a_full_backlog_is_waited_for() {
    let path = temporary("full.sock");
    let (listener, _filling) = full_listener(&SockAddr::unix(&path).unwrap());
    assert_eq!(listener.domain().unwrap(), Domain::UNIX);
    let to = |options| Peer::new(1, PeerAddress::Unix(path.clone()), options);
    let connector = connector(8, 1);
    let error = connector.connect(0, &to(quick(100, 5_000))).await.unwrap_err();
    assert_eq!(error.code(), Code::ConnectTimeout, "{error}");

    let peer = to(quick(5_000, 5_000));
    let accepting = tokio::task::spawn_blocking(move || {
        std::thread::sleep(millis(50));
        listener.accept().unwrap();
        listener
    });
    connector.connect(0, &peer).await.unwrap();
    drop(accepting.await.unwrap());
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_connect_that_is_dropped_leaves_nothing() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (listener, _filling) = full_listener(&any.into());
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let connector = connector(8, 1);
    let peer = peer(address);
    let dropped = tokio::time::timeout(millis(50), connector.connect(0, &peer)).await;
    assert!(dropped.is_err());
    assert_eq!(connector.stats(), Default::default());
}
