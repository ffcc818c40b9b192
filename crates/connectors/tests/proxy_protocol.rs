//! Peers that are told whose each connection is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use millrace_connectors::{
    ConnectProxy, Connection, Peer, PeerAddress, PeerOptions, Protocol, ProxyProtocol,
};
use millrace_test_certs::Authority;
use millrace_tls::{ClientTls, ClientTlsOptions};
use millrace_transport::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SERVER: &str = "198.51.100.7:443";
const V1: &str = "PROXY TCP4 192.0.2.1 198.51.100.7 5 443\r\n";

fn peer(address: std::net::SocketAddr, options: PeerOptions) -> Peer {
    Peer::new(1, address.into(), PeerOptions { idle_timeout: Duration::from_secs(60), ..options })
}

fn told(version: ProxyProtocol) -> PeerOptions {
    PeerOptions { proxy_protocol: Some(version), ..PeerOptions::default() }
}

fn of(peer: &Peer, client: &str) -> Peer {
    let address = |text: &str| text.parse::<Address>().unwrap();
    peer.for_client(1, &address(client), &address(SERVER)).unwrap()
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn the_header_comes_first_and_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(8, 1);
    for (version, expected) in [
        (ProxyProtocol::V1, V1.as_bytes().to_vec()),
        (
            ProxyProtocol::V2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\0\x05\x01\xbb"
                .to_vec(),
        ),
    ] {
        let peer = of(&peer(listener.local_addr().unwrap(), told(version)), "192.0.2.1:5");
        let mut connection: Connection = connector.connect(0, &peer).await.unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        assert_eq!(read(&mut origin, expected.len()).await, expected);
        connection.stream.write_all(b"one").await.unwrap();
        assert_eq!(read(&mut origin, 3).await, b"one");
        connector.release(0, connection, Duration::from_secs(60));
        let mut again = connector.take_idle(0, &peer, true).unwrap();
        again.stream.write_all(b"two").await.unwrap();
        assert_eq!(read(&mut origin, 3).await, b"two");
    }
}

#[tokio::test]
async fn a_connection_is_no_other_clients() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(8, 1);
    let peer = peer(listener.local_addr().unwrap(), told(ProxyProtocol::V1));
    let connection = connector.connect(0, &of(&peer, "192.0.2.1:5")).await.unwrap();
    connector.release(0, connection, Duration::from_secs(60));
    for other in ["192.0.2.2:5", "192.0.2.1:6"] {
        assert!(connector.take_idle(0, &of(&peer, other), true).is_none(), "{other}");
    }
    assert!(connector.take_idle(0, &peer, true).is_none());
    assert!(connector.take_idle(0, &of(&peer, "192.0.2.1:5"), true).is_some());

    // Where nobody is told, nothing is told apart.
    let plain = Peer::new(1, listener.local_addr().unwrap().into(), PeerOptions::default());
    let address: Address = "192.0.2.1:5".parse().unwrap();
    assert!(plain.for_client(1, &address, &address).is_none());
}

#[tokio::test]
async fn without_a_client_it_is_our_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer(listener.local_addr().unwrap(), told(ProxyProtocol::V2));
    let _connection = connector(8, 1).connect(0, &peer).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    assert_eq!(read(&mut origin, 16).await, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}

#[tokio::test]
async fn it_comes_before_the_handshake_and_within_the_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ca_pem = Some(Authority::new("ca").ca_pem);
    let tls = ClientTls::new(ClientTlsOptions { ca_pem, ..Default::default() }).ok();
    let proxy = ConnectProxy::new(address.into(), Vec::new()).ok();
    let options = PeerOptions { tls, connect_proxy: proxy, ..told(ProxyProtocol::V1) };
    let peer = Peer::new(1, PeerAddress::host("a.test", 443), options);
    let dialling = tokio::spawn(async move {
        connector(8, 1).connect(0, &of(&peer, "192.0.2.1:5")).await.map(drop)
    });
    let (mut origin, _) = listener.accept().await.unwrap();
    let request = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
    assert_eq!(read(&mut origin, request.len()).await, request.as_bytes());
    origin.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut origin, V1.len()).await, V1.as_bytes());
    assert_eq!(read(&mut origin, 1).await, [0x16], "a handshake");
    drop(origin);
    assert!(dialling.await.unwrap().is_err());
}

#[tokio::test]
async fn clients_do_not_share_a_connection_of_http_2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = PeerOptions { protocol: Protocol::H2, ..told(ProxyProtocol::V1) };
    let peer = peer(listener.local_addr().unwrap(), options);
    let connector = connector(8, 1);
    for client in ["192.0.2.1:5", "192.0.2.2:5"] {
        let peer = of(&peer, client);
        assert!(connector.take(0, &peer, true).is_none());
        let header = V1.replace("192.0.2.1", &client[..9]);
        let origin = async {
            let mut origin = listener.accept().await.unwrap().0;
            assert_eq!(read(&mut origin, header.len()).await, header.as_bytes());
            assert_eq!(read(&mut origin, 14).await, b"PRI * HTTP/2.0");
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            origin.write_all(&settings).await.unwrap();
            origin
        };
        let (slot, _origin) = tokio::join!(connector.reach(0, &peer), origin);
        let _slot = slot.unwrap();
        assert!(connector.take(0, &peer, true).is_some());
        // From the same address, and another connection of the client's.
        let other = peer.for_client(2, &client.parse().unwrap(), &SERVER.parse().unwrap()).unwrap();
        connector.forget(&other.key);
        assert!(connector.take(0, &other, true).is_none());
        assert!(connector.take(0, &peer, true).is_some());
        connector.forget(&peer.key);
        assert!(connector.take(0, &peer, true).is_none());
    }
}
