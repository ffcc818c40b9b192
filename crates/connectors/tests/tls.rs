//! Connecting over TLS.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use common::*;
use millrace_connectors::{Connector, Peer, PeerAddress, PeerOptions, Protocol};
use millrace_error::{Code, Error};
use millrace_test_certs::Issued;
use millrace_tls::{CertificateOptions, ClientTlsOptions, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use world::*;

/// An origin over TLS that returns each byte, and closes at `q`.
async fn secure_echo(tls: ServerTls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok((mut stream, _)) = tls.accept(stream.into()).await else { return };
                while let Ok(byte) = stream.read_u8().await {
                    if byte == b'q' || stream.write_u8(byte).await.is_err() {
                        break;
                    }
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    address
}

async fn error(connector: &Connector, peer: Peer) -> Error {
    let error = connector.connect(0, &peer).await.unwrap_err();
    assert!(error.can_retry(), "{error}");
    error
}

#[tokio::test]
async fn a_connection_over_tls_is_made_used_and_used_again() {
    let world = World::new();
    let address = secure_echo(world.server(|_| {})).await;
    let connector = connector(8, 1);
    let peer = peer_with(address, secured(world.trusting()));
    let mut connection = connector.connect(0, &peer).await.unwrap();
    let info = connection.tls.clone().unwrap();
    assert_eq!((info.version, info.alpn.as_deref()), ("TLSv1.3", Some(&b"http/1.1"[..])));
    assert_eq!((info.server_name.as_deref(), info.certificates.len()), (None, 1));
    exchange(&mut connection).await;
    let first = port(&connection);
    connector.release(0, connection, LONG);
    for careful in [true, false] {
        let mut connection = connector.take_idle(0, &peer, careful).unwrap();
        assert_eq!((port(&connection), connection.tls.clone()), (first, Some(info.clone())));
        exchange(&mut connection).await;
        connector.release(0, connection, LONG);
    }
    let mut connection = connector.take_idle(0, &peer, true).unwrap();
    connection.stream.write_u8(b'q').await.unwrap();
    connection.stream.flush().await.unwrap();
    // Not waited for: the origin's goodbye is found when the connection is wanted next.
    connector.release(0, connection, LONG);
    while connector.take_idle(0, &peer, true).map(|idle| connector.release(0, idle, LONG)).is_some()
    {
        tokio::time::sleep(millis(1)).await;
    }
    assert_eq!(connector.stats().closed_by_origin, 1);
}

#[tokio::test]
async fn a_failed_check_is_named_and_may_be_retried() {
    let world = World::new();
    let address = secure_echo(world.server(|_| {})).await;
    let connector = connector(8, 1);
    let stranger =
        ClientTlsOptions { ca_pem: Some(world.other.ca_pem.clone()), ..Default::default() };
    let wrong = ClientTlsOptions { sni: Some("c.test".into()), ..world.trusting() };
    for (options, part) in [(stranger, "no trusted ca"), (wrong, "for another name")] {
        let error = error(&connector, peer_with(address, secured(options))).await;
        assert_eq!(error.code(), Code::TlsFailed);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(connector.stats().open, 0);
}

#[tokio::test]
async fn an_origin_without_http2_fails_where_that_is_asked_for() {
    let world = World::new();
    let connector = connector(8, 1);
    let only = |protocol| PeerOptions { protocol, ..secured(world.trusting()) };
    let old = secure_echo(world.server(|options| options.h2 = false)).await;
    let silent = secure_echo(world.server(|options| options.alpn = Some(Vec::new()))).await;
    let new = secure_echo(world.server(|_| {})).await;
    for address in [old, silent] {
        let error = error(&connector, peer_with(address, only(Protocol::H2))).await;
        assert_eq!(error.code(), Code::TlsFailed, "{error}");
        let auto = connector.connect(0, &peer_with(address, only(Protocol::Auto))).await.unwrap();
        assert!(!auto.tls.unwrap().is_h2());
    }
    for (protocol, is_h2) in [(Protocol::H1, false), (Protocol::H2, true), (Protocol::Auto, true)] {
        let connection = connector.connect(0, &peer_with(new, only(protocol))).await.unwrap();
        assert_eq!(connection.tls.unwrap().is_h2(), is_h2);
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_or_nonsense_is_an_error_in_time() {
    let world = World::new();
    let connector = connector(8, 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    for limits in [(Some(millis(100)), None), (None, Some(millis(100)))] {
        let options = PeerOptions {
            connect_timeout: limits.0,
            total_connect_timeout: limits.1,
            ..secured(world.trusting())
        };
        let error = error(&connector, peer_with(silent, options)).await;
        assert_eq!(error.code(), Code::ConnectTimeout);
    }
    // Replies to the client's hello with what is no record, or ends.
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(answer).await.unwrap();
        });
        let error = error(&connector, peer_with(address, secured(world.trusting()))).await;
        assert_eq!(error.code(), Code::TlsFailed, "{error}");
    }
}

#[tokio::test]
async fn the_certificate_has_to_be_for_the_name_of_the_peer_or_for_localhost_behind_a_socket_file()
{
    let world = World::new();
    let Issued { cert_pem, key_pem } = world.ca.issue(&["localhost"]);
    let tls = world.server(|options| {
        let (cert_pem, key_pem) = (cert_pem.clone(), key_pem.clone());
        options.certificates = vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }];
    });
    let connector = connector(8, 1);
    let address = secure_echo(tls.clone()).await;
    let named = PeerAddress::host("localhost", address.port());
    let connection = connector.connect(0, &Peer::new(1, named, secured(world.trusting()))).await;
    assert_eq!(connection.unwrap().tls.unwrap().server_name.as_deref(), Some("localhost"));
    let error = error(&connector, peer_with(address, secured(world.trusting()))).await;
    assert!(error.to_string().contains("for another name"), "{error}");

    let path = std::env::temp_dir().join(format!("millrace-tls-{}.sock", std::process::id()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tls.accept(stream.into()).await.map(|_| ())
    });
    let peer = Peer::new(1, PeerAddress::Unix(path.clone()), secured(world.trusting()));
    let connection = connector.connect(0, &peer).await;
    std::fs::remove_file(&path).unwrap();
    serving.await.unwrap().unwrap();
    assert!(connection.unwrap().tls.is_some());
}

#[test]
fn a_connection_over_tls_is_never_borrowed_by_another_runtime() {
    let world = World::new();
    let (first, second) = (runtime(), runtime());
    let connector = Arc::new(connector(1, 2));
    let address = first.block_on(secure_echo(world.server(|_| {})));
    let peer = peer_with(address, secured(world.trusting()));
    first.block_on(async {
        let connection = connector.connect(0, &peer).await.unwrap();
        connector.release(0, connection, LONG);
    });
    // The pool is full, so that in the clear the idle one would be moved.
    let serving = std::thread::spawn(move || first.block_on(std::future::pending::<()>()));
    second.block_on(async {
        let mut connection = connector.connect(1, &peer).await.unwrap();
        exchange(&mut connection).await;
        assert_eq!(connection.reuses, 0);
    });
    assert_eq!(connector.stats().created, 2);
    drop(serving);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
