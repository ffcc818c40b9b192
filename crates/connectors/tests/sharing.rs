//! Which peers share connections, and which must not: each part of a peer that a connection depends
//! on is tried against all others.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/world.rs"]
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use millrace_connectors::{Connector, Link, Peer, PeerOptions, Protocol};
use millrace_tls::{ClientTlsOptions, ServerTls};
use millrace_transport::{Keepalive, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use world::*;

/// Origins of both versions: over TLS by ALPN, in the clear for HTTP/2 alone. Nothing is ever asked
/// of them.
async fn origin(tls: Option<ServerTls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Some(tls) = tls else { return speak_h2(stream).await };
                let Ok((stream, info)) = tls.accept(stream.into()).await else { return };
                match info.is_h2() {
                    true => speak_h2(stream).await,
                    false => hold(stream).await,
                }
            });
        }
    });
    address
}

async fn speak_h2<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    if let Ok(mut server) = h2::server::handshake(stream).await {
        while server.accept().await.is_some() {}
    }
}

async fn hold(mut stream: Stream) {
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Uses a connection to the peer, new or not, and leaves it to others. Whether it was new.
async fn visit(connector: &Connector, peer: &Peer) -> bool {
    let before = connector.stats().created;
    let link = match connector.take(0, peer, true) {
        Some(link) => link,
        None => connector.reach(0, peer).await.unwrap(),
    };
    let is_new = connector.stats().created > before;
    assert_eq!(link.is_reused(), !is_new);
    if let Link::H1(connection) = link {
        connector.release(0, connection, LONG);
    }
    is_new
}

/// Whether a connection is there for the peer.
fn finds(connector: &Connector, peer: &Peer) -> bool {
    match connector.take(0, peer, true) {
        Some(Link::H1(connection)) => connector.release(0, connection, LONG),
        Some(Link::H2(_)) => {}
        None => return false,
    }
    true
}

#[tokio::test]
async fn peers_that_differ_in_any_part_never_share_a_connection_and_equal_ones_do() {
    let world = World::new();
    let address = origin(Some(world.server(|_| {}))).await;
    let elsewhere = origin(Some(world.server(|_| {}))).await;
    let clear = origin(None).await;
    let both = [world.ca.ca_pem.clone(), world.other.ca_pem.clone()].concat();
    type Change<'a> = Box<dyn Fn(&mut ClientTlsOptions) + 'a>;
    let tls = |change: Change<'_>| {
        let mut options = world.trusting();
        change(&mut options);
        secured(options)
    };
    // Made anew by each call: what is equal in content is the same peer.
    let kinds = |protocol: Protocol| {
        let plain = || tls(Box::new(|_| {}));
        let mut kinds: Vec<(&str, SocketAddr, PeerOptions)> = vec![
            ("nothing", address, plain()),
            ("address", elsewhere, plain()),
            ("bind_to", address, PeerOptions { bind_to: "127.0.0.2".parse().ok(), ..plain() }),
            (
                "keep-alive",
                address,
                PeerOptions { tcp_keepalive: Some(Keepalive::default()), ..plain() },
            ),
        ];
        let changes: [(&str, Change<'_>); 9] = [
            ("sni", Box::new(|o| o.sni = Some("a.test".into()))),
            ("another sni", Box::new(|o| o.sni = Some("b.test".into()))),
            ("an empty sni", Box::new(|o| o.sni = Some(String::new()))),
            ("ca", Box::new(|o| o.ca_pem = Some(both.clone()))),
            (
                "client certificate",
                Box::new(|o| {
                    o.cert_pem = Some(world.own.cert_pem.clone());
                    o.key_pem = Some(world.own.key_pem.clone());
                }),
            ),
            ("verify_cert", Box::new(|o| o.verify_cert = false)),
            ("verify_hostname", Box::new(|o| o.verify_hostname = false)),
            ("alternative_name", Box::new(|o| o.alternative_name = Some("a.test".into()))),
            ("alpn", Box::new(|o| o.alpn = Some(vec![b"h2".to_vec(), b"x".to_vec()]))),
        ];
        for (name, change) in changes {
            kinds.push((name, address, tls(change)));
        }
        if protocol != Protocol::H1 {
            let streams = PeerOptions { h2_max_streams: 7, ..plain() };
            let pings = PeerOptions { h2_ping_interval: Some(Duration::from_secs(7)), ..plain() };
            kinds.extend([("streams", address, streams), ("pings", address, pings)]);
        }
        let kinds = kinds.into_iter();
        kinds.map(move |(name, address, options)| {
            (name, peer_with(address, PeerOptions { protocol, ..options }))
        })
    };
    let everything = || {
        let protocols = [Protocol::H1, Protocol::H2, Protocol::Auto];
        let mut all: Vec<_> = protocols
            .into_iter()
            .flat_map(|protocol| {
                kinds(protocol).map(move |(name, peer)| (format!("{protocol:?} {name}"), peer))
            })
            // Another ALPN is one for HTTP/2.
            .filter(|(name, _)| name != "H1 alpn")
            .collect();
        for protocol in [Protocol::H1, Protocol::H2] {
            let options = PeerOptions { protocol, idle_timeout: LONG, ..PeerOptions::default() };
            all.push((format!("{protocol:?} in the clear"), peer_with(clear, options)));
        }
        all
    };
    let connector = connector(64, 1);
    let others = everything();
    for (name, one) in everything() {
        assert!(visit(&connector, &one).await, "{name}");
        assert!(!visit(&connector, &one).await, "{name}");
        for (other_name, other) in &others {
            assert_eq!(finds(&connector, other), name == *other_name, "{name} and {other_name}");
        }
        connector.clear();
    }
}

#[tokio::test]
async fn what_does_not_concern_the_connection_does_not_divide_it() {
    let world = World::new();
    let address = origin(Some(world.server(|_| {}))).await;
    for protocol in [Protocol::H1, Protocol::H2, Protocol::Auto] {
        let options = || PeerOptions { protocol, ..secured(world.trusting()) };
        let connector = connector(64, 1);
        assert!(visit(&connector, &peer_with(address, options())).await);
        let limits = Some(millis(7));
        for (name, other) in [
            ("host", PeerOptions { host: millrace_connectors::HostPolicy::Peer, ..options() }),
            ("connect", PeerOptions { connect_timeout: limits, ..options() }),
            ("total", PeerOptions { total_connect_timeout: limits, ..options() }),
            ("read", PeerOptions { read_timeout: limits, ..options() }),
            ("write", PeerOptions { write_timeout: limits, ..options() }),
            ("idle", PeerOptions { idle_timeout: millis(7_000), ..options() }),
        ] {
            assert!(finds(&connector, &Peer::new(2, address.into(), other)), "{protocol:?} {name}");
        }
    }
}
