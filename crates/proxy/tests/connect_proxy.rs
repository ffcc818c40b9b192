//! Requests and tunnels to peers behind a proxy that is asked with CONNECT: one of our own kind.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use millrace_connectors::{ConnectProxy, Protocol};
use support::*;

const POST: &str = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// A proxy that leads all tunnels to `origin`, but for those that it refuses.
fn forward(origin: std::net::SocketAddr) -> Proxy {
    let mut phases = TestPhases::to(origin);
    phases.request_filter = Some(Box::new(|ex| {
        let known = ex.request.fields.get("proxy-authorization") == Some(b"Basic eA==");
        Box::pin(async move { Ok((!known).then(|| Answer::plain(407))) })
    }));
    Proxy::new(phases, ProxyOptions { connect: true, ..ProxyOptions::default() })
}

fn behind(forward: &Proxy, credentials: &str, options: PeerOptions) -> std::sync::Arc<Peer> {
    let fields = vec![("Proxy-Authorization".to_owned(), credentials.as_bytes().to_vec())];
    let connect_proxy = ConnectProxy::new(forward.address.into(), fields).ok();
    let address = millrace_connectors::PeerAddress::host("far.invalid", 443);
    std::sync::Arc::new(Peer::new(0, address, PeerOptions { connect_proxy, ..options }))
}

fn known(forward: &Proxy, options: PeerOptions) -> std::sync::Arc<Peer> {
    behind(forward, "Basic eA==", options)
}

#[test]
fn requests_share_the_connection_that_was_asked_for() {
    let certs = Certs::new();
    let echo = |_, mut wire: Wire| {
        while let Some(head) = wire.try_head() {
            let Some((body, _)) = wire.try_body(&head) else { return };
            let body = [head.as_bytes(), &body].concat();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            wire.send(body);
        }
    };
    let secure = certs.origin(&certs.ca.issue(&["far.invalid"]), echo);
    for (origin, options) in
        [(Origin::new(echo), PeerOptions::default()), (secure, certs.peer(|_| {}))]
    {
        let forward = forward(origin.address);
        let proxy =
            Proxy::new(TestPhases::with(vec![known(&forward, options)]), ProxyOptions::default());
        let mut client = proxy.client();
        for round in 0..3 {
            let response = client.ask(POST);
            let text = response.text().to_ascii_lowercase();
            assert!(text.starts_with("post /p http/1.1\r\nhost: a\r\n"), "{text}");
            assert!(text.ends_with("\r\n\r\nbody") && !text.contains("proxy-auth"), "{text}");
            assert_eq!(proxy.logged().reused, round > 0);
        }
        assert_eq!(origin.connections(), 1);
        drop(proxy);
        let logged = forward.logged();
        assert_eq!(
            (logged.method.as_str(), logged.target.as_str()),
            ("CONNECT", "far.invalid:443")
        );
    }
}

#[test]
fn http_2_is_spoken_through_it() {
    let origin = h2_origin::echoes();
    let forward = forward(origin.address);
    let options = PeerOptions { protocol: Protocol::H2, ..PeerOptions::default() };
    let proxy =
        Proxy::new(TestPhases::with(vec![known(&forward, options)]), ProxyOptions::default());
    for _ in 0..2 {
        let response = proxy.client().ask(POST);
        let text = response.text();
        assert!(text.starts_with("POST http a /p\n") && text.ends_with("\nbody"), "{text}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_proxy_that_refuses_is_a_failure_to_connect_which_may_be_tried_again() {
    let origin = Origin::echoes();
    let forward = forward(origin.address);
    let peers = || {
        vec![
            behind(&forward, "Basic wrong", PeerOptions::default()),
            known(&forward, PeerOptions::default()),
        ]
    };
    let proxy = Proxy::new(TestPhases::with(peers()), ProxyOptions::default());
    assert_eq!(proxy.client().ask(POST).status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.can_retry), (Some(Code::ConnectFailed), true));
    assert!(logged.message.contains("407"), "{}", logged.message);

    let mut phases = TestPhases::with(peers());
    phases.upstream_peer = Some(Box::new(|ex, peers| Ok(peers[ex.attempt as usize - 1].clone())));
    phases.fail_to_connect = Some(Box::new(|_, _| Decision::Retry));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert!(proxy.client().ask(POST).text().ends_with("body"));
    assert_eq!(proxy.logged().attempt, 2);
}

#[test]
fn a_tunnel_leads_through_it_as_well() {
    let certs = Certs::new();
    let talk = |_, mut wire: Wire| {
        wire.send("220 ready");
        wire.echo();
        wire.end();
    };
    let secure = certs.origin(&certs.ca.issue(&["far.invalid"]), talk);
    for (origin, options) in
        [(Origin::new(talk), PeerOptions::default()), (secure, certs.peer(|_| {}))]
    {
        let forward = forward(origin.address);
        let options_of_proxy = ProxyOptions { connect: true, ..ProxyOptions::default() };
        let proxy = Proxy::new(TestPhases::with(vec![known(&forward, options)]), options_of_proxy);
        let mut client = proxy.client();
        client.send("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\nearly");
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        assert_eq!(client.bytes(14), b"220 readyearly");
        client.end_sending();
        client.ended();
        assert_eq!((proxy.logged().code, forward.logged().code), (None, None));
    }
}
