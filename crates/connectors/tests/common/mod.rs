//! Origins over real sockets, and waiting for what happens by itself.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millrace_connectors::{Connection, Connector, ConnectorOptions, Peer, PeerOptions, PoolStats};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn connector(pool_size: usize, shards: usize) -> Connector {
    Connector::new(ConnectorOptions { pool_size, shards, ..ConnectorOptions::default() })
}

pub(crate) fn peer(address: SocketAddr) -> Peer {
    peer_with(address, PeerOptions::default())
}

pub(crate) fn peer_with(address: SocketAddr, options: PeerOptions) -> Peer {
    Peer::new(1, address.into(), options)
}

/// Where nobody listens. The port stays taken, as one that was let go of could become another test's.
pub(crate) fn nowhere() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

/// An origin that returns each byte, and closes at `q`.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    if byte == b'q' || stream.write_u8(byte).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Sends a byte and waits for it to come back.
pub(crate) async fn exchange(connection: &mut Connection) {
    connection.stream.write_u8(b'a').await.unwrap();
    assert_eq!(connection.stream.read_u8().await.unwrap(), b'a');
}

/// The local port tells one connection from another.
pub(crate) fn port(connection: &Connection) -> u16 {
    connection.stream.local_address().unwrap().port().unwrap()
}

/// Waits until the figures are as expected, and fails if they never are.
pub(crate) async fn until(connector: &Connector, expected: impl Fn(&PoolStats) -> bool) {
    let start = Instant::now();
    while !expected(&connector.stats()) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", connector.stats());
        tokio::time::sleep(millis(5)).await;
    }
}
