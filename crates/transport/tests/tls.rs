//! A stream over TLS: what it tells while idle, and how it ends.

#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use millrace_transport::{Quiet, Stream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The two ends of a connection, the client's and the server's. The server sends session tickets
/// that nobody has read yet.
async fn tls(client: Stream, server: Stream) -> (Stream, Stream) {
    let ca = millrace_test_certs::Authority::new("ca");
    let issued = ca.issue(&["a.test"]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca.ca_pem).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&issued.cert_pem).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&issued.key_pem).unwrap();
    let there = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let here = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (connector, acceptor) =
        (TlsConnector::from(Arc::new(here)), TlsAcceptor::from(Arc::new(there)));
    let name = ServerName::try_from("a.test").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
    let client = tokio_rustls::TlsStream::from(client.unwrap());
    let server = tokio_rustls::TlsStream::from(server.unwrap());
    (client.into(), server.into())
}

async fn tcp() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    let (client, server) = (client.unwrap(), accepted.unwrap().0);
    // Or what follows the tickets waits until they are acknowledged.
    server.set_nodelay(true).unwrap();
    tls(client.into(), server.into()).await
}

async fn unix() -> (Stream, Stream) {
    let (one, two) = UnixStream::pair().unwrap();
    tls(one.into(), two.into()).await
}

/// Lets the driver hand out what has come in.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn tells_all_three((mut near, mut far): (Stream, Stream)) {
    settle().await;
    // There are tickets to read, which are no data.
    assert_eq!((near.try_quiet(), near.is_quiet()), (Quiet::Alive, Quiet::Alive));
    assert_eq!((far.is_quiet(), far.try_quiet()), (Quiet::Alive, Quiet::Alive));
    assert!(!near.is_read_closed());

    far.write_all(b"xy").await.unwrap();
    far.flush().await.unwrap();
    settle().await;
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Data, Quiet::Data));
    assert_eq!(near.read_u8().await.unwrap(), b'x');
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Data, Quiet::Data));

    drop(far);
    settle().await;
    assert_eq!(near.is_quiet(), Quiet::Data, "the unread byte hides the end");
    assert!(near.is_read_closed(), "and does not hide it from the driver");
    assert_eq!(near.read_u8().await.unwrap(), b'y');
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Closed, Quiet::Closed));
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0, "a drop says goodbye");
}

#[tokio::test]
async fn over_tcp_it_tells_alive_data_and_closed() {
    tells_all_three(tcp().await).await;
}

#[tokio::test]
async fn over_a_unix_socket_it_tells_alive_data_and_closed() {
    tells_all_three(unix().await).await;
}

#[tokio::test]
async fn tickets_wake_nobody_who_waits_for_data() {
    let (mut near, mut far) = tcp().await;
    settle().await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(near.poll_read_ready(&mut cx).is_pending());
    let reading = tokio::spawn(async move {
        poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
        near.read_u8().await.unwrap()
    });
    far.write_all(b"x").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(reading.await.unwrap(), b'x');
}

#[tokio::test]
async fn a_goodbye_is_the_end_and_a_bare_one_is_an_error() {
    let (mut near, mut far) = tcp().await;
    far.shutdown().await.unwrap();
    settle().await;
    assert_eq!(near.try_quiet(), Quiet::Closed);
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    // The other direction goes on.
    near.write_all(b"x").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');

    let (near, far) = UnixStream::pair().unwrap();
    let (mut near, mut far) = tls(near.into(), far.into()).await;
    // Nothing can reset a Unix socket: it only ends without a word.
    far.reset_on_drop().unwrap();
    drop(far);
    settle().await;
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Closed, Quiet::Closed));
    let error = near.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_reset_is_seen_as_closed() {
    let (mut near, mut far) = tcp().await;
    far.reset_on_drop().unwrap();
    drop(far);
    settle().await;
    assert!(near.is_read_closed());
    assert_eq!(near.is_quiet(), Quiet::Closed);
}

#[tokio::test]
async fn it_stays_with_its_runtime() {
    let (near, far) = tcp().await;
    assert!(near.needs_flush());
    assert_eq!(near.local_address().unwrap(), far.remote_address().unwrap());
    near.set_nodelay(true).unwrap();
    near.set_keepalive(&Default::default()).unwrap();
    assert_eq!(near.into_std().unwrap_err().kind(), ErrorKind::Unsupported);
}
