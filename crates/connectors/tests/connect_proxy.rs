//! Peers that are reached through a proxy (CONNECT).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use common::*;
use millrace_connectors::{ConnectProxy, Link, Peer, PeerAddress, PeerOptions, Protocol};
use millrace_error::{Code, Source};
use millrace_test_certs::{Authority, Issued};
use millrace_tls::{CertificateOptions, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A proxy that answers all with the same bytes, and leads to the same place if there is one.
#[derive(Clone)]
struct Script {
    answer: String,
    leads_to: Option<SocketAddr>,
    /// Bytes of the answer are sent one by one.
    drips: bool,
    /// The connection stays open after an answer that leads nowhere.
    stays: bool,
    heads: UnboundedSender<String>,
}

impl Script {
    fn new(answer: &str, leads_to: Option<SocketAddr>) -> (Script, UnboundedReceiver<String>) {
        let (heads, seen) = unbounded_channel();
        let answer = answer.to_owned();
        (Script { answer, leads_to, drips: false, stays: false, heads }, seen)
    }

    async fn play(self, mut client: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = client.read_u8().await else { return };
            head.push(byte);
        }
        self.heads.send(String::from_utf8(head).unwrap()).unwrap();
        if self.drips {
            for byte in self.answer.bytes() {
                client.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        } else {
            client.write_all(self.answer.as_bytes()).await.unwrap();
        }
        if let Some(address) = self.leads_to {
            let mut origin = TcpStream::connect(address).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut origin).await;
        } else if self.stays {
            let _ = client.read(&mut [0; 64]).await;
        }
    }

    async fn tcp(self) -> PeerAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(self.clone().play(stream));
            }
        });
        address.into()
    }

    fn unix(self, path: &PathBuf) -> PeerAddress {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().play(stream));
            }
        });
        PeerAddress::Unix(path.clone())
    }
}

fn through(address: PeerAddress, options: PeerOptions) -> PeerOptions {
    let fields = vec![("Proxy-Authorization".to_owned(), b"Basic eA==".to_vec())];
    PeerOptions { connect_proxy: ConnectProxy::new(address, fields).ok(), ..options }
}

/// A name that only the proxy knows.
fn far(options: PeerOptions) -> Peer {
    Peer::new(1, PeerAddress::host("Far.Invalid", 8080), options)
}

#[tokio::test]
async fn the_proxy_is_asked_by_name_and_bytes_then_go_through() {
    for drips in [false, true] {
        let connector = connector(8, 1);
        let (script, mut heads) = Script::new(ESTABLISHED, Some(echo().await));
        let proxy = Script { drips, ..script }.tcp().await;
        let peer = far(through(proxy.clone(), PeerOptions::default()));
        let mut connection = connector.connect(0, &peer).await.unwrap();
        exchange(&mut connection).await;
        assert_eq!(
            heads.recv().await.unwrap(),
            "CONNECT far.invalid:8080 HTTP/1.1\r\nHost: far.invalid:8080\r\n\
             Proxy-Authorization: Basic eA==\r\n\r\n"
        );
        assert_eq!(connection.remote.to_string(), proxy.to_string());
        assert!(connection.buf.is_empty());
    }
}

#[tokio::test]
async fn every_form_of_a_peer_is_asked_for_with_its_port() {
    for (address, asked) in [
        (PeerAddress::host("a.test", 80), "a.test:80"),
        (PeerAddress::host("192.0.2.1", 443), "192.0.2.1:443"),
        (PeerAddress::host("::1", 443), "[::1]:443"),
        (PeerAddress::Ip("[fe80::1%3]:80".parse().unwrap()), "[fe80::1]:80"),
    ] {
        let (script, mut heads) = Script::new(ESTABLISHED, Some(echo().await));
        let options = PeerOptions {
            connect_proxy: ConnectProxy::new(script.tcp().await, Vec::new()).ok(),
            ..PeerOptions::default()
        };
        connector(8, 1).connect(0, &Peer::new(1, address, options)).await.unwrap();
        let head = heads.recv().await.unwrap();
        assert_eq!(head, format!("CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n\r\n"));
    }
    // What cannot be asked for.
    for address in [
        PeerAddress::Unix("/run/a.sock".into()),
        PeerAddress::host("a b\r\nc: d", 80),
        PeerAddress::host("a", 0),
    ] {
        let (script, _heads) = Script::new(ESTABLISHED, None);
        let options = through(script.tcp().await, PeerOptions::default());
        let error = connector(8, 1).connect(0, &Peer::new(1, address, options)).await.unwrap_err();
        assert_eq!((error.code(), error.source()), (Code::ConnectFailed, Source::Internal));
    }
}

#[tokio::test]
async fn what_follows_the_answer_is_the_peer_s() {
    for early in ["220 ready\r\n", "\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n"] {
        for head in [
            "HTTP/1.1 200\r\n\r\n",
            ESTABLISHED,
            "HTTP/1.0 299 Fine\r\nVia: x\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (script, _heads) = Script::new(&format!("{head}{early}"), None);
            let peer = far(through(script.tcp().await, PeerOptions::default()));
            let mut connection = connector(8, 1).connect(0, &peer).await.unwrap();
            let mut rest = connection.buf.to_vec();
            connection.stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(String::from_utf8(rest).unwrap(), early, "{head}");
        }
    }
}

#[tokio::test]
async fn any_other_answer_is_an_error_that_says_so() {
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    for (answer, says) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nno\r\n", "407"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "302"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "101"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "status line"),
        ("HTTP/1.1 200 OK\nA: b\n\n", "CRLF"),
        (&long, "too large"),
        (&many, "does not come to its answer"),
        ("HTTP/1.1 200 OK\r\nA", "unexpected end"),
        ("", "unexpected end"),
    ] {
        let (script, _heads) = Script::new(answer, None);
        let stays = !says.contains("unexpected");
        let proxy = Script { stays, ..script }.tcp().await;
        let peer = far(through(proxy.clone(), PeerOptions::default()));
        let connector = connector(8, 1);
        let error = connector.connect(0, &peer).await.unwrap_err();
        assert_eq!((error.code(), error.can_retry()), (Code::ConnectFailed, true), "{error}");
        assert_eq!(error.source(), Source::Upstream);
        let text = error.to_string();
        let way = format!("far.invalid:8080 through the proxy {proxy}");
        assert!(text.contains(&way) && text.contains(says), "{text}");
        assert!(!text.contains("eA=="), "{text}");
        assert_eq!(connector.stats(), Default::default());
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_says_nothing_is_told_apart() {
    let free = nowhere();
    let peer = far(through(free.into(), PeerOptions::default()));
    let error = connector(8, 1).connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectRefused, true));
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    let peer = far(through(PeerAddress::host("no name", 1), PeerOptions::default()));
    let error = connector(8, 1).connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::DnsFailed, true));

    for (answer, limits) in
        [("", (Some(millis(100)), Some(LONG))), ("HTTP/1.1 200 OK\r\n", (None, Some(millis(100))))]
    {
        let (script, _heads) = Script::new(answer, None);
        let proxy = Script { stays: true, ..script }.tcp().await;
        let options = PeerOptions {
            connect_timeout: limits.0,
            total_connect_timeout: limits.1,
            ..PeerOptions::default()
        };
        let start = Instant::now();
        let peer = far(through(proxy, options));
        let error = connector(8, 1).connect(0, &peer).await.unwrap_err();
        assert_eq!((error.code(), error.can_retry()), (Code::ConnectTimeout, true), "{error}");
        assert!((millis(90)..LONG).contains(&start.elapsed()));
    }
}

#[tokio::test]
async fn connections_are_pooled_for_peers_that_go_the_same_way() {
    let connector = connector(8, 1);
    let origin = echo().await;
    let (one, mut heads) = Script::new(ESTABLISHED, Some(origin));
    let (two, _heads) = Script::new(ESTABLISHED, Some(origin));
    let (one, two) = (one.tcp().await, two.tcp().await);
    let kept = || PeerOptions { idle_timeout: LONG, ..PeerOptions::default() };
    let to = |options| Peer::new(1, origin.into(), options);
    let peer = to(through(one.clone(), kept()));
    let mut connection = connector.connect(0, &peer).await.unwrap();
    exchange(&mut connection).await;
    connector.release(0, connection, LONG);
    let other_fields = ConnectProxy::new(one.clone(), Vec::new()).ok();
    for stranger in [
        to(kept()),
        to(through(two, kept())),
        to(PeerOptions { connect_proxy: other_fields, ..kept() }),
        far(through(one.clone(), kept())),
    ] {
        assert!(connector.take(0, &stranger, true).is_none(), "{:?}", stranger.key);
    }
    let same = Peer::new(2, origin.into(), through(one, kept()));
    let Some(Link::H1(mut connection)) = connector.take(0, &same, true) else { panic!() };
    exchange(&mut connection).await;
    heads.recv().await.unwrap();
    assert!(heads.try_recv().is_err(), "the proxy was asked again");
    // Of a connection for a tunnel nothing else is used, and it uses nothing else.
    connector.release(0, connection, LONG);
    let mut connection = connector.open(0, &same).await.unwrap();
    exchange(&mut connection).await;
    assert_eq!((connection.reuses, connector.stats().idle), (0, 1));
}

#[tokio::test]
async fn a_proxy_at_a_unix_socket_works_as_well() {
    let path = std::env::temp_dir().join(format!("millrace-{}-proxy.sock", std::process::id()));
    let (script, mut heads) = Script::new(&format!("{ESTABLISHED}early"), Some(echo().await));
    let peer = far(through(script.unix(&path), PeerOptions::default()));
    let mut connection = connector(8, 1).connect(0, &peer).await.unwrap();
    assert!(heads.recv().await.unwrap().starts_with("CONNECT far.invalid:8080 "));
    let mut early = [0; 5];
    connection.stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    exchange(&mut connection).await;
    std::fs::remove_file(path).unwrap();
}

/// An origin over TLS that agrees on one protocol: HTTP/2, or bytes that come back.
async fn secure(ca: &Authority) -> SocketAddr {
    let Issued { cert_pem, key_pem } = ca.issue(&["far.invalid"]);
    let certificates = vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }];
    let options = ServerTlsOptions { certificates, h2: true, ..Default::default() };
    let tls = ServerTls::new(options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok((mut stream, info)) = tls.accept(stream.into()).await else { return };
                if info.is_h2() {
                    return serve(stream).await;
                }
                while let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    address
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut server) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, mut respond))) = server.accept().await {
        let _ = respond.send_response(http::Response::new(()), true);
    }
}

#[tokio::test]
async fn tls_is_with_the_peer_and_not_with_the_proxy() {
    let ca = Authority::new("ca");
    let origin = secure(&ca).await;
    let trusting = |ca: &Authority| {
        let options = ClientTlsOptions { ca_pem: Some(ca.ca_pem.clone()), ..Default::default() };
        PeerOptions { tls: ClientTls::new(options).ok(), ..PeerOptions::default() }
    };
    let (script, mut heads) = Script::new(ESTABLISHED, Some(origin));
    let proxy = script.tcp().await;
    let connector = connector(8, 1);
    let peer = far(through(proxy.clone(), trusting(&ca)));
    let mut connection = connector.connect(0, &peer).await.unwrap();
    assert!(heads.recv().await.unwrap().starts_with("CONNECT far.invalid:8080 "));
    let info = connection.tls.clone().unwrap();
    assert_eq!(info.server_name.as_deref(), Some("far.invalid"));
    assert_eq!(info.alpn.as_deref(), Some(&b"http/1.1"[..]));
    connection.stream.write_u8(b'a').await.unwrap();
    connection.stream.flush().await.unwrap();
    assert_eq!(connection.stream.read_u8().await.unwrap(), b'a');
    // For a tunnel nothing is said of what it carries.
    assert_eq!(connector.open(0, &peer).await.unwrap().tls.unwrap().alpn, None);

    let peer = far(through(proxy, trusting(&Authority::new("other"))));
    let error = connector.connect(0, &peer).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::TlsFailed, true), "{error}");
}

#[tokio::test]
async fn http_2_is_spoken_through_it_and_shared() {
    let ca = Authority::new("ca");
    let options = ClientTlsOptions { ca_pem: Some(ca.ca_pem.clone()), ..Default::default() };
    let tls = ClientTls::new(options).ok();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clear = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    for (origin, tls, protocol) in [
        (clear, None, Protocol::H2),
        (secure(&ca).await, tls.clone(), Protocol::H2),
        (secure(&ca).await, tls, Protocol::Auto),
    ] {
        let (script, mut heads) = Script::new(ESTABLISHED, Some(origin));
        let options = PeerOptions { tls, protocol, ..PeerOptions::default() };
        let peer = far(through(script.tcp().await, options));
        let connector = connector(8, 1);
        for _ in 0..2 {
            let Link::H2(mut slot) = connector.reach(0, &peer).await.unwrap() else { panic!() };
            let request = http::Request::get("https://a/").body(()).unwrap();
            let (response, _) = slot.sender().send_request(request, true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
        heads.recv().await.unwrap();
        assert!(heads.try_recv().is_err(), "two connections");
        assert_eq!(connector.stats().created, 1);
    }
}
