//! What ALPN chose, on both sides, and what becomes of it.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_frames.rs"]
mod h2_frames;
#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2_frames::*;
use h2_origin::Protocol;
use pair::{PairOrigin, Served};
use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(length: usize) -> String {
    let body = "x".repeat(length);
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// An origin over TLS that says which version it was spoken to in.
fn origin(certs: &Certs, alpn: &[&str], is_h2: bool) -> PairOrigin {
    let config = Some(certs.good_config(alpn));
    let script = |served: &mut Served| {
        let version = if served.head.authority.is_some() { "h2" } else { "h1" };
        served.reply(200, version);
    };
    match is_h2 {
        true => PairOrigin::h2(config, h2::server::Builder::new(), script),
        false => PairOrigin::h1(config, script),
    }
}

fn speaking(certs: &Certs, protocol: Protocol) -> PeerOptions {
    PeerOptions { protocol, ..certs.peer(|_| {}) }
}

#[test]
fn auto_is_what_the_origin_chooses_and_the_connection_that_found_out_is_used() {
    let certs = Certs::new();
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["h2"], "h2"),
        // The origin's order counts.
        (&["http/1.1", "h2"], "h1"),
        (&["http/1.1"], "h1"),
        (&[], "h1"),
    ] {
        let origin = origin(&certs, alpn, version == "h2");
        let proxy = Proxy::with_peer(origin.address(), speaking(&certs, Protocol::Auto));
        let mut client = proxy.client();
        for round in 0..3 {
            assert_eq!(client.ask(GET).text(), version, "{alpn:?}");
            let logged = proxy.logged();
            assert_eq!((logged.code, logged.attempt, logged.reused), (None, 1, round > 0));
        }
        assert_eq!(origin.connections(), 1, "{alpn:?}");
    }
}

#[test]
fn an_origin_that_does_not_agree_on_the_version_asked_for_gets_no_request() {
    let certs = Certs::new();
    for (protocol, alpn, is_h2, said) in [
        (Protocol::H2, &["http/1.1"][..], false, "NoApplicationProtocol"),
        (Protocol::H2, &[], false, "it does not speak HTTP/2"),
        (Protocol::H1, &["h2"], true, "NoApplicationProtocol"),
        // As good as none.
        (Protocol::Auto, &["spdy/3"], false, "NoApplicationProtocol"),
    ] {
        let origin = origin(&certs, alpn, is_h2);
        let proxy = Proxy::with_peer(origin.address(), speaking(&certs, protocol));
        let response = proxy.client().ask(post(2));
        assert_eq!(response.status, 502);
        let logged = proxy.logged();
        let case = format!("{protocol:?} {alpn:?}: {}", logged.message);
        assert_eq!((logged.code, logged.can_retry), (Some(Code::TlsFailed), true), "{case}");
        assert!(logged.message.contains(said), "{case}");
        assert_eq!(origin.requests(), 0);
    }
    // Where nothing is chosen, HTTP/1.1 is what there was before there was a choice.
    let origin = origin(&certs, &[], false);
    let proxy = Proxy::with_peer(origin.address(), speaking(&certs, Protocol::H1));
    assert_eq!(proxy.client().ask(GET).text(), "h1");
}

/// A proxy for clients over TLS, and a client's end of a connection that has agreed on `alpn`.
fn secure_client(alpn: &[&str]) -> (Proxy, Wire) {
    let certs = Certs::new();
    let phases = TestPhases::answering(Answer::plain(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &certs.server(|_| {}));
    let wire = certs.client("a.test", None, alpn).over(proxy.client());
    (proxy, wire)
}

#[test]
fn a_client_that_agreed_on_http_1_1_cannot_change_its_mind() {
    for alpn in [&["http/1.1"][..], &[]] {
        let (proxy, wire) = secure_client(alpn);
        let mut frames = Frames::over(wire, &[]);
        frames.wire.try_send(frame(Frames::HEADERS, 5, 1, &fields_block(&[(":method", "GET")])));
        let response = frames.wire.response();
        assert_eq!((response.status, response.closes()), (505, true));
        frames.wire.ended();
        assert!(!frames.wire.truncated);
        drop(frames);
        assert_eq!(proxy.logged().code, Some(Code::VersionNotSupported));
        eventually("it is closed", || proxy.counters().open() == 0);
        assert_eq!(proxy.close().len(), 0);
    }
}

#[test]
fn a_client_that_agreed_on_http_2_cannot_change_its_mind() {
    let (proxy, mut wire) = secure_client(&["h2"]);
    wire.send(GET);
    let mut frames = Frames { wire };
    let rest = frames.rest();
    assert!(rest.iter().all(|frame| matches!(frame.kind, Frames::SETTINGS | Frames::GOAWAY)));
    assert!(!frames.wire.truncated);
    eventually("it is closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.close().len(), 1);
}

/// An origin over TLS that speaks both versions, and refuses requests in HTTP/2 in this way.
fn averse(certs: &Certs, by_goaway: bool) -> (Origin, Arc<AtomicUsize>) {
    let config = certs.good_config(&["h2", "http/1.1"]);
    let refused = Arc::<AtomicUsize>::default();
    let count = refused.clone();
    let origin = Origin::new(move |_, wire| {
        let mut wire = wire.over(|stream| secured(&config, stream));
        wire.secure().handshake();
        if wire.secure().alpn().as_deref() != Some("h2") {
            while let Some(head) = wire.try_head() {
                let (body, _) = wire.try_body(&head).unwrap();
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
                wire.send(body);
            }
            return;
        }
        let mut frames = Frames::accept(wire);
        while let Some(frame) = frames.find(Frames::HEADERS) {
            count.fetch_add(1, Ordering::SeqCst);
            match by_goaway {
                true => frames.go_away(0, Frames::HTTP_1_1_REQUIRED),
                false => frames.reset(frame.stream, Frames::HTTP_1_1_REQUIRED),
            }
        }
    });
    (origin, refused)
}

#[test]
fn an_origin_that_requires_http_1_1_is_spoken_to_in_it_from_then_on() {
    let certs = Certs::new();
    for protocol in [Protocol::H2, Protocol::Auto] {
        for by_goaway in [false, true] {
            let (origin, refused) = averse(&certs, by_goaway);
            let mut phases =
                TestPhases::with(vec![peer(origin.address, speaking(&certs, protocol))]);
            phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked about {error}")));
            let proxy = Proxy::new(phases, ProxyOptions { max_retries: 0, ..Default::default() });
            for round in 0..3 {
                // Even one that may not be repeated, as nothing was done.
                let response = proxy.client().ask(post(3));
                let case = format!("{protocol:?} {by_goaway} {round}");
                assert_eq!((response.status, response.text()), (200, "xxx"), "{case}");
                let logged = proxy.logged();
                assert_eq!(logged.attempt, if round == 0 { 2 } else { 1 }, "{case}");
                assert_eq!(logged.reused, round > 0, "{case}");
            }
            assert_eq!((refused.load(Ordering::SeqCst), origin.connections()), (1, 2));
            eventually("the first connection has ended", || proxy.pool().open == 1);
        }
    }
}

#[test]
fn a_body_that_is_not_kept_is_not_sent_again_in_http_1_1() {
    let certs = Certs::new();
    let config = certs.good_config(&["h2", "http/1.1"]);
    let origin = Origin::new(move |_, wire| {
        let mut frames = Frames::accept(wire.over(|stream| secured(&config, stream)));
        let stream = frames.request();
        // More than is kept has to have come before.
        let room = 1_000_000_u32.to_be_bytes();
        frames.try_send(Frames::WINDOW_UPDATE, 0, 0, room);
        frames.try_send(Frames::WINDOW_UPDATE, 0, stream, room);
        let mut got = 0;
        while got < 100_000 {
            got += frames.find(Frames::DATA).unwrap().payload.len();
        }
        frames.reset(stream, Frames::HTTP_1_1_REQUIRED);
        frames.drain();
    });
    let proxy = Proxy::with_peer(origin.address, speaking(&certs, Protocol::Auto));
    assert_eq!(proxy.client().ask(post(200_000)).status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), false));
    assert_eq!((logged.attempt, origin.connections()), (1, 1));
}
