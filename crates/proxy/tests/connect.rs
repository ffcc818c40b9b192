//! CONNECT: a tunnel to where a phase leads it. What holds for every tunnel is in `tunnels.rs`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use support::*;

const ASK: &str = "CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn enabled() -> ProxyOptions {
    ProxyOptions { connect: true, ..ProxyOptions::default() }
}

fn echoes() -> Origin {
    Origin::new(|_, mut wire| wire.echo())
}

fn proxy_to(origin: &Origin) -> Proxy {
    Proxy::new(TestPhases::to(origin.address), enabled())
}

/// Whether a client that asks so gets a tunnel, through which its bytes come back.
#[track_caller]
fn tunnels(proxy: &Proxy, ask: &str) {
    let mut client = proxy.client();
    client.send(ask);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{ask}: {head}");
    client.send("x");
    assert_eq!(client.bytes(1), b"x");
    client.end_sending();
    client.ended();
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.status, logged.last), (None, Some(200), true), "{ask}");
}

#[test]
fn it_is_refused_unless_enabled() {
    let origin = echoes();
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let response = client.ask(format!("{ASK}{GET}"));
    assert_eq!((response.status, response.closes()), (405, true));
    assert!(response.field("allow").is_some_and(|allow| !allow.contains("CONNECT")));
    client.ended();
    assert_eq!(proxy.logged().code, Some(Code::MethodNotAllowed));
    let lines = proxy.lines.0.lock().unwrap().join("\n");
    assert!(lines.contains("METHOD_NOT_ALLOWED") && lines.contains("far.test:443"), "{lines}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_tunnel_leads_to_the_peer_and_never_to_the_target() {
    let target = echoes();
    let origin = Origin::new(|_, mut wire| {
        assert_eq!(wire.bytes(5), b"hello");
        wire.send("from the peer");
    });
    let (saw, has_seen) = channel();
    let mut phases = TestPhases::to(origin.address);
    phases.upstream_peer = Some(Box::new(move |ex, peers| {
        let request = &ex.request;
        let target = String::from_utf8(request.target.clone()).unwrap();
        saw.send((request.host().to_owned(), target, request.path().to_vec())).unwrap();
        Ok(peers[0].clone())
    }));
    let proxy = Proxy::new(phases, enabled());
    let mut client = proxy.client();
    let authority = target.address.to_string();
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: elsewhere:1\r\n\r\nhello"));
    client.head();
    assert_eq!(client.bytes(13), b"from the peer");
    let expected = (authority.clone(), authority, Vec::new());
    assert_eq!(has_seen.recv_timeout(PATIENCE).unwrap(), expected);
    assert_eq!(target.connections(), 0);
}

#[test]
fn who_speaks_first_does_not_matter() {
    let origin = Origin::new(|_, mut wire| {
        wire.send("220 ready\r\n");
        assert_eq!(wire.bytes(9), b"EHLO all\n");
        wire.send("250 ok");
    });
    let proxy = proxy_to(&origin);
    let mut client = proxy.client();
    client.send(ASK);
    client.head();
    assert_eq!(client.bytes(11), b"220 ready\r\n");
    client.send("EHLO all\n");
    assert_eq!(client.bytes(6), b"250 ok");
}

#[test]
fn what_is_sent_along_is_the_first_of_the_tunnel() {
    let origin = echoes();
    let mut phases = TestPhases::to(origin.address);
    // Time for more than the head to arrive, and a look at whether the client is still there.
    phases.connected = Some(Box::new(|_| {
        Box::pin(async {
            tokio::time::sleep(millis(50)).await;
            Ok(())
        })
    }));
    let proxy = Proxy::new(phases, enabled());
    // As much as is read ahead, and more.
    for length in [1, 1000, 100_000] {
        let bytes = "GET / HTTP/1.1\r\n\r\n".repeat(length);
        let bytes = &bytes[..length];
        let mut client = proxy.client();
        client.send(format!("{ASK}{bytes}"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        assert!(client.bytes(length) == bytes.as_bytes());
        client.end_sending();
        client.ended();
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.received), (None, (ASK.len() + length) as u64));
    }
}

#[test]
fn the_phases_see_it_but_for_those_of_an_exchange() {
    let origin = echoes();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let called = |name: &'static str| {
        let calls = calls.clone();
        move || calls.lock().unwrap().push(name)
    };
    let mut phases = TestPhases::with(vec![
        peer(Origin::nowhere(), PeerOptions::default()),
        peer(origin.address, PeerOptions::default()),
    ]);
    let call = called("request_filter");
    phases.request_filter = Some(Box::new(move |ex| {
        call();
        assert!(ex.is_connect());
        Box::pin(async { Ok(None) })
    }));
    let call = called("upstream_peer");
    phases.upstream_peer = Some(Box::new(move |ex, peers| {
        call();
        Ok(peers[ex.attempt as usize - 1].clone())
    }));
    let call = called("fail_to_connect");
    phases.fail_to_connect = Some(Box::new(move |_, error| {
        call();
        assert!(error.can_retry());
        Decision::Retry
    }));
    let call = called("connected_to_upstream");
    phases.connected = Some(Box::new(move |ex| {
        call();
        assert!(ex.upstream.as_ref().is_some_and(|upstream| !upstream.reused));
        Box::pin(async { Ok(()) })
    }));
    let call = called("upstream_request_filter");
    phases.upstream_request = Some(Box::new(move |_| call()));
    let call = called("response_filter");
    phases.response_filter = Some(Box::new(move |head| {
        call();
        assert_eq!(head.status, 200);
        for (name, value) in [("x-by", "me"), ("content-length", "7"), ("connection", "close")] {
            head.fields.append(name, value).unwrap();
        }
        Box::pin(async { Ok(None) })
    }));
    let call = called("logging");
    phases.logging = Some(Box::new(move |_| call()));
    let proxy = Proxy::new(phases, enabled());
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head().to_ascii_lowercase();
    assert!(head.contains("\r\nx-by: me\r\n") && head.contains("\r\ndate: "), "{head}");
    assert!(!head.contains("content-length") && !head.contains("connection"), "{head}");
    client.end_sending();
    client.ended();
    let logged = proxy.logged();
    assert_eq!((logged.attempt, logged.code), (2, None));
    eventually("it is logged", || calls.lock().unwrap().len() == 7);
    let expected = [
        "request_filter",
        "upstream_peer",
        "fail_to_connect",
        "upstream_peer",
        "connected_to_upstream",
        "response_filter",
        "logging",
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[test]
fn a_refusal_ends_the_connection_whatever_the_client_asked_for() {
    for keep in ["Connection: keep-alive\r\n", "Proxy-Connection: keep-alive\r\n", ""] {
        for version in ["1.1", "1.0"] {
            let (saw, seen) = (Arc::new(AtomicUsize::new(0)), GET);
            let count = saw.clone();
            let mut phases = TestPhases::with(Vec::new());
            phases.request_filter = Some(Box::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(Some(Answer::plain(407))) })
            }));
            let proxy = Proxy::new(phases, enabled());
            let mut client = proxy.client();
            // What a tunnel would carry must not become a request (RFC 9931 §8).
            client.send(format!("CONNECT a:1 HTTP/{version}\r\nHost: a:1\r\n{keep}\r\n{seen}"));
            let response = client.response();
            assert_eq!((response.status, response.closes()), (407, true));
            assert_eq!(response.text(), "407 Proxy Authentication Required\n");
            client.ended();
            assert_eq!(saw.load(Ordering::SeqCst), 1);
            let logged = proxy.logged();
            assert_eq!((logged.code, logged.status, logged.last), (None, Some(407), true));
        }
    }
}

#[test]
fn a_failure_to_connect_is_answered_like_any_other() {
    let (full, _sockets) = Origin::never_accepts();
    let short = PeerOptions { connect_timeout: Some(millis(100)), ..PeerOptions::default() };
    for (peer, status, code) in [
        (peer(Origin::nowhere(), PeerOptions::default()), 502, Code::ConnectRefused),
        (peer(full, short), 504, Code::ConnectTimeout),
    ] {
        let proxy = Proxy::new(TestPhases::with(vec![peer.clone()]), enabled());
        let mut client = proxy.client();
        let response = client.ask(ASK);
        assert_eq!((response.status, response.closes()), (status, true));
        client.ended();
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(code), true));

        let mut phases = TestPhases::with(vec![peer]);
        phases.fail_to_proxy = Some(Box::new(|error| {
            let status = if error.can_retry() { 599 } else { 598 };
            Box::pin(async move { Ok(Some(Answer::new(status))) })
        }));
        assert_eq!(Proxy::new(phases, enabled()).client().ask(ASK).status, 599);
    }
}

#[test]
fn a_phase_that_fails_may_be_tried_again_as_nothing_was_sent() {
    let origin = echoes();
    let mut phases = TestPhases::to(origin.address);
    let (first, second) = (AtomicUsize::new(0), AtomicUsize::new(0));
    phases.connected = Some(Box::new(move |_| {
        let fails = first.fetch_add(1, Ordering::SeqCst) == 0;
        let error = || Error::new(Code::PhaseFailed, "not yet");
        Box::pin(async move { if fails { Err(error()) } else { Ok(()) } })
    }));
    phases.response_filter = Some(Box::new(move |_| {
        let fails = second.fetch_add(1, Ordering::SeqCst) == 0;
        let error = || Error::new(Code::PhaseFailed, "not yet");
        Box::pin(async move { if fails { Err(error()) } else { Ok(None) } })
    }));
    phases.error_while_proxy = Some(Box::new(|_, error| {
        assert!(error.can_retry());
        Decision::Retry
    }));
    tunnels(&Proxy::new(phases, enabled()), ASK);
    assert_eq!(origin.connections(), 3);
}

#[test]
fn what_opens_a_tunnel_is_not_for_a_phase_to_say() {
    // Of its own it cannot: the client would take the answer for a tunnel.
    for status in [200, 204] {
        let proxy = Proxy::new(TestPhases::answering(Answer::plain(status)), enabled());
        let mut client = proxy.client();
        assert_eq!(client.ask(ASK).status, 500);
        client.ended();
        let logged = proxy.logged();
        assert_eq!(logged.code, Some(Code::PhaseReturn), "{}", logged.message);
        // Not of a failure either.
        let mut phases = TestPhases::to(Origin::nowhere());
        phases.fail_to_proxy =
            Some(Box::new(move |_| Box::pin(async move { Ok(Some(Answer::plain(status))) })));
        assert_eq!(Proxy::new(phases, enabled()).client().ask(ASK).status, 502);
    }
    for status in [204, 403] {
        let mut phases = TestPhases::to(echoes().address);
        phases.response_filter = Some(Box::new(move |head| {
            head.status = status;
            Box::pin(async { Ok(None) })
        }));
        let proxy = Proxy::new(phases, enabled());
        assert_eq!(proxy.client().ask(ASK).status, 500);
        assert_eq!(proxy.logged().code, Some(Code::PhaseReturn));
    }
    // What it may do is refuse.
    let origin = Origin::new(|_, mut wire| wire.ended());
    let mut phases = TestPhases::to(origin.address);
    phases.response_filter = Some(Box::new(|_| Box::pin(async { Ok(Some(Answer::plain(403))) })));
    let proxy = Proxy::new(phases, enabled());
    let mut client = proxy.client();
    client.send(format!("{ASK}hasty"));
    let response = client.response();
    assert_eq!((response.status, response.text()), (403, "403 Forbidden\n"));
    client.ended();
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
}

#[test]
fn what_cannot_be_read_safely_is_refused() {
    let origin = echoes();
    let proxy = proxy_to(&origin);
    for request in [
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\nhello",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nHost: a:1\r\n\r\n",
        "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = proxy.client();
        let response = client.ask(request);
        assert_eq!((response.status, response.closes()), (400, true), "{request}");
        client.ended();
        assert_eq!(proxy.logged().code, Some(Code::BadRequest), "{request}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn fields_that_mean_something_elsewhere_mean_nothing_here() {
    let origin = echoes();
    let proxy = proxy_to(&origin);
    tunnels(&proxy, "CONNECT a:1 HTTP/1.0\r\n\r\n");
    tunnels(&proxy, "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n");
    for fields in [
        "Content-Length: 0",
        "Max-Forwards: 0",
        "Connection: close",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Expect: 100-continue",
        "TE: trailers",
        "Range: bytes=0-1",
    ] {
        tunnels(&proxy, &format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{fields}\r\n\r\n"));
    }
    let options = ProxyOptions { max_request_body: Some(0), ..enabled() };
    tunnels(&Proxy::new(TestPhases::to(origin.address), options), ASK);
}

#[test]
fn its_connection_comes_from_no_pool_and_goes_to_none() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            assert!(head.starts_with("GET "), "{head}");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = proxy.client();
    assert_eq!(client.ask(GET).text(), "ok");
    eventually("one is idle", || proxy.pool().idle == 1);
    // On the same connection of the client.
    client.send(format!("{ASK}{GET}"));
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.response().text(), "ok");
    assert_eq!((origin.connections(), proxy.pool().idle), (2, 1));
    client.end_sending();
    client.ended();
    eventually("the tunnel's is closed", || proxy.pool().open == 1);
    let stats = proxy.pool();
    assert_eq!((stats.idle, stats.created, stats.reused), (1, 2, 0));
    assert_eq!(proxy.client().ask(GET).text(), "ok");
    assert_eq!((origin.connections(), proxy.pool().reused), (2, 1));
}

#[test]
fn a_client_that_leaves_before_its_tunnel_is_open_is_noticed() {
    let (full, _sockets) = Origin::never_accepts();
    let proxy = Proxy::new(TestPhases::to(full), enabled());
    let mut client = proxy.client();
    client.send(format!("{ASK}hasty"));
    eventually("it is there", || proxy.counters().open() == 1);
    std::thread::sleep(millis(50));
    drop(client);
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
}

#[test]
fn a_try_and_a_request_have_their_time() {
    let (full, _sockets) = Origin::never_accepts();
    let options = ProxyOptions { try_timeout: Some(millis(100)), ..enabled() };
    let proxy = Proxy::new(TestPhases::to(full), options);
    assert_eq!(proxy.client().ask(ASK).status, 504);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.can_retry), (Some(Code::RequestExpired), true));

    let (tell, hear) = channel();
    let tell = Mutex::new(tell);
    let origin =
        Origin::new(move |_, mut wire| tell.lock().unwrap().send(wire.is_reset()).unwrap());
    let options = ProxyOptions { request_timeout: Some(millis(200)), ..enabled() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let mut client = proxy.client();
    client.send(ASK);
    client.head();
    assert!(client.is_reset() && hear.recv_timeout(PATIENCE).unwrap());
    assert_eq!(proxy.logged().code, Some(Code::RequestExpired));
}

#[test]
fn a_peer_over_tls_gets_the_bytes_in_it_and_is_told_nothing_of_what_they_are() {
    use millrace_connectors::Protocol;
    let certs = Certs::new();
    for protocol in [Protocol::H1, Protocol::H2, Protocol::Auto] {
        let origin = certs.good_origin(|_, mut wire| {
            let hello = wire.bytes(5);
            let alpn = wire.secure().alpn();
            wire.send(hello);
            wire.send(format!("{alpn:?}"));
        });
        let options = PeerOptions { protocol, ..certs.peer(|_| {}) };
        let phases = TestPhases::with(vec![peer(origin.address, options)]);
        let proxy = Proxy::new(phases, enabled());
        let mut client = proxy.client();
        client.send(format!("{ASK}hello"));
        client.head();
        assert_eq!(client.bytes(9), b"helloNone", "{protocol:?}");
    }
}
