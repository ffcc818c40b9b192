use super::*;
use crate::PeerOptions;
use tokio::net::TcpListener;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

async fn dial_all(
    addresses: &[&str],
    port: u16,
    options: PeerOptions,
) -> Result<(Stream, Address)> {
    let resolver = Resolver::default();
    resolver.remember("many.test", &ips(addresses));
    let peer = Peer::new(1, PeerAddress::host("many.test", port), options);
    dial(&resolver, &peer, Use::Http).await.map(|dialled| (dialled.stream, dialled.remote))
}

#[tokio::test]
async fn every_address_is_tried_in_turn() {
    let listener = TcpListener::bind("127.0.0.7:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = ["127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"];
    let (_stream, remote) = dial_all(&addresses, port, PeerOptions::default()).await.unwrap();
    assert_eq!(remote.to_string(), format!("127.0.0.7:{port}"));
}

#[tokio::test]
async fn the_last_real_answer_is_reported() {
    let listener = TcpListener::bind("127.0.0.7:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The last one is for multicast, where connecting fails before anything is sent.
    let addresses = ["127.0.0.5", "127.0.0.6", "224.0.0.1"];
    let error = dial_all(&addresses, port, PeerOptions::default()).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectRefused, true));
    assert!(error.message().contains(&format!("many.test:{port} at 127.0.0.6")), "{error}");
}

#[tokio::test]
async fn addresses_of_the_other_family_are_left_out() {
    let listener = TcpListener::bind("127.0.0.7:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bound = || PeerOptions { bind_to: "127.0.0.2".parse().ok(), ..PeerOptions::default() };
    let (stream, _) = dial_all(&["::1", "127.0.0.7"], port, bound()).await.unwrap();
    assert_eq!(stream.local_address().unwrap().host(), "127.0.0.2");
    let error = dial_all(&["::1"], port, bound()).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::ConnectFailed, true));
}

#[tokio::test]
async fn the_total_time_holds_over_all_addresses() {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    // Fills the backlog; what exceeds it hangs.
    let filling = [(); 4].map(|()| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
    for socket in &filling {
        socket.set_nonblocking(true).unwrap();
        let _pending = socket.connect(&to.into());
    }
    let options = PeerOptions {
        connect_timeout: Some(Duration::from_millis(200)),
        total_connect_timeout: Some(Duration::from_millis(300)),
        ..PeerOptions::default()
    };
    let start = Instant::now();
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let error = dial_all(&addresses, port, options).await.unwrap_err();
    assert_eq!(error.code(), Code::ConnectTimeout);
    assert!(!error.message().contains("127.0.0.4"), "{error}");
    let took = start.elapsed().as_millis();
    assert!((290..750).contains(&took), "{took}");
}

/// Takes handshakes; without TLS it hangs up in the middle of them.
async fn origin_at(
    address: &str,
    port: u16,
    tls: Option<millrace_tls::ServerTls>,
) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Some(tls) = &tls {
                let _ = tls.accept(stream.into()).await;
            }
        }
    });
    (port, serving)
}

#[tokio::test]
async fn a_lost_handshake_leads_to_the_next_address_and_a_refused_one_to_none() {
    use millrace_tls::{
        CertificateOptions, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions,
    };
    let ca = millrace_test_certs::Authority::new("ca");
    let serving = |name: &str| {
        let millrace_test_certs::Issued { cert_pem, key_pem } = ca.issue(&[name]);
        let certificates = vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }];
        ServerTls::new(ServerTlsOptions { certificates, ..Default::default() }).ok()
    };
    let trusting = || {
        let options = ClientTlsOptions { ca_pem: Some(ca.ca_pem.clone()), ..Default::default() };
        PeerOptions { tls: ClientTls::new(options).ok(), ..PeerOptions::default() }
    };
    let (port, _good) = origin_at("127.0.0.7", 0, serving("many.test")).await;
    let _lost = origin_at("127.0.0.5", port, None).await;
    let _wrong = origin_at("127.0.0.6", port, serving("other.test")).await;
    let (_, remote) = dial_all(&["127.0.0.5", "127.0.0.7"], port, trusting()).await.unwrap();
    assert_eq!(remote.to_string(), format!("127.0.0.7:{port}"));
    let error = dial_all(&["127.0.0.6", "127.0.0.7"], port, trusting()).await.unwrap_err();
    assert_eq!((error.code(), error.can_retry()), (Code::TlsFailed, true));
    assert!(error.message().contains("127.0.0.6"), "{error}");
}

#[tokio::test]
async fn every_address_of_a_proxy_is_tried_until_one_answers() {
    use crate::ConnectProxy;
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.7:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 407 No\r\n\r\n"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let resolver = Resolver::default();
    resolver.remember("proxy.test", &ips(&["127.0.0.6", "127.0.0.7", "127.0.0.8"]));
    let proxy = ConnectProxy::new(PeerAddress::host("proxy.test", port), Vec::new());
    let options = PeerOptions { connect_proxy: proxy.ok(), ..PeerOptions::default() };
    let peer = Peer::new(1, PeerAddress::host("far.invalid", 80), options);
    let dialled = dial(&resolver, &peer, Use::Http).await.unwrap();
    assert_eq!(dialled.remote.to_string(), format!("127.0.0.7:{port}"));
    let error = dial(&resolver, &peer, Use::Http).await.err().unwrap();
    let says = format!("far.invalid:80 through the proxy proxy.test:{port} at 127.0.0.7:{port}");
    assert!(error.message().contains(&format!("{says}: it answered 407")), "{error}");
}
