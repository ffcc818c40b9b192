//! What is tried again, and what never is.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The first try goes to the first of `addresses`, the next to the next.
fn in_turn(addresses: &[std::net::SocketAddr]) -> TestPhases {
    let peers = addresses.iter().map(|address| peer(*address, PeerOptions::default()));
    let mut phases = TestPhases::with(peers.collect());
    phases.upstream_peer = Some(Box::new(|ex, peers| {
        Ok(peers[(ex.attempt as usize - 1).min(peers.len() - 1)].clone())
    }));
    phases
}

#[test]
fn a_peer_that_refuses_is_replaced_by_another_whatever_the_method() {
    let good = Origin::echoes();
    let mut phases = in_turn(&[Origin::nowhere(), Origin::nowhere(), good.address]);
    phases.fail_to_connect = Some(Box::new(|_, error| {
        assert_eq!((error.code(), error.can_retry()), (Code::ConnectRefused, true));
        Decision::Retry
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for request in [GET, POST, POST] {
        assert_eq!(client.ask(request).status, 200);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 3));
    }
}

#[test]
fn without_a_decision_the_first_failure_is_the_answer() {
    let proxy = Proxy::to(Origin::nowhere());
    assert_eq!(proxy.client().ask(GET).status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.attempt), (Some(Code::ConnectRefused), 1));
}

#[test]
fn pingora_line_2_max_retries_counts_extra_tries_and_none_still_tries_once() {
    for max_retries in [0, 1, 3] {
        let mut phases = in_turn(&[Origin::nowhere()]);
        phases.fail_to_connect = Some(Box::new(|_, _| Decision::Retry));
        let proxy = Proxy::new(phases, ProxyOptions { max_retries, ..Default::default() });
        assert_eq!(proxy.client().ask(GET).status, 502);
        let logged = proxy.logged();
        assert_eq!(logged.code, Some(Code::ConnectRefused));
        assert_eq!(logged.attempt, max_retries + 1);
    }
    let good = Origin::says(OK);
    let options = ProxyOptions { max_retries: 0, ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(good.address), options);
    assert_eq!(proxy.client().ask(GET).status, 200);
}

#[test]
fn an_origin_that_fails_may_be_replaced_for_a_request_that_is_idempotent() {
    let broken = Origin::says("garbage\r\n\r\n");
    let good = Origin::echoes();
    let mut phases = in_turn(&[broken.address, good.address]);
    phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    assert_eq!(client.ask(GET).status, 200);
    assert_eq!(proxy.logged().attempt, 2);
    // With its body, if that was small enough to be kept.
    for (length, status, code) in [(60_000, 200, None), (300_000, 500, Some(Code::RetryUnsafe))] {
        let body = "x".repeat(length);
        let response = client
            .ask(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(response.status, status, "{length}");
        if status == 200 {
            assert!(response.text().ends_with(&body));
        }
        let logged = proxy.logged();
        assert_eq!(logged.code, code, "{length}");
    }
}

#[test]
fn a_chunked_body_is_sent_again_with_its_trailers() {
    let broken = Origin::new(|_, mut wire| {
        wire.request();
    });
    let good = Origin::echoes();
    let mut phases = in_turn(&[broken.address, broken.address, good.address]);
    phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let response = proxy.client().ask(
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\n\r\n",
    );
    assert!(response.text().ends_with("\r\n\r\nabcdeX-End: 1\r\n"), "{response:?}");
    assert_eq!(proxy.logged().attempt, 3);
}

#[test]
fn pingora_line_3_a_post_that_was_sent_is_never_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let broken = Origin::new(move |_, mut wire| {
        wire.request();
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut phases = in_turn(&[broken.address]);
    phases.error_while_proxy = Some(Box::new(|_, error| {
        assert!(!error.can_retry());
        Decision::Retry
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(POST).status, 500);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.attempt), (Some(Code::RetryUnsafe), 1));
    assert_eq!(logged.source, Some(Source::Internal));
    assert!(logged.message.contains("UPSTREAM_CLOSED"), "{}", logged.message);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

/// An origin that closes its first connection when it gets a second request there.
fn dies_when_reused(seen: Arc<AtomicUsize>) -> Origin {
    Origin::new(move |number, mut wire| {
        while let Some(head) = wire.try_head() {
            wire.try_body(&head).unwrap();
            if seen.fetch_add(1, Ordering::SeqCst) > 0 && number == 0 {
                return;
            }
            wire.send(OK);
        }
    })
}

#[test]
fn a_reused_connection_that_dies_is_replaced_once_without_asking() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = dies_when_reused(seen.clone());
    let mut phases = in_turn(&[origin.address]);
    phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked about {error}")));
    let proxy = Proxy::new(phases, ProxyOptions { max_retries: 0, ..Default::default() });
    let mut client = proxy.client();
    for attempt in [1, 2, 1] {
        assert_eq!(client.ask(GET).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, attempt));
    }
    assert_eq!((origin.connections(), seen.load(Ordering::SeqCst)), (2, 4));
}

#[test]
fn a_post_on_a_reused_connection_that_dies_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = dies_when_reused(seen.clone());
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    assert_eq!(client.ask(GET).text(), "ok");
    assert_eq!(client.ask(POST).status, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    let logged = [proxy.logged(), proxy.logged()].into_iter().last().unwrap();
    assert_eq!((logged.code, logged.reused), (Some(Code::UpstreamClosed), true));
}

#[test]
fn a_replacement_that_dies_too_is_an_error() {
    let origin = Origin::new(|number, mut wire| {
        wire.request();
        if number == 0 {
            wire.send(OK);
            wire.request();
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    assert_eq!(client.ask(GET).text(), "ok");
    assert_eq!(client.ask(GET).status, 502);
    proxy.logged();
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.attempt), (Some(Code::UpstreamClosed), 2));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_connection_that_the_origin_closed_is_noticed_before_a_post_goes_out() {
    let (tell, told) = channel();
    let origin = Origin::new(move |_, mut wire| {
        wire.request();
        wire.send(OK);
        drop(wire);
        let _ = tell.send(());
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for number in 1..=20 {
        assert_eq!(client.ask(POST).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt, logged.reused), (None, 1, false));
        assert_eq!(origin.connections(), number);
        // Its FIN is there: the system delivers it on the loopback before `close` returns.
        told.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn an_answer_that_has_begun_is_not_tried_again() {
    let origin = Origin::new(|_, mut wire| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    });
    let mut phases = in_turn(&[origin.address]);
    let (told, is_told) = channel();
    phases.error_while_proxy = Some(Box::new(move |ex, error| {
        assert!(ex.response_started && !error.can_retry());
        told.send(()).unwrap();
        Decision::Retry
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    client.send(GET);
    assert!(client.response_to("GET").is_none());
    is_told.recv_timeout(PATIENCE).unwrap();
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.attempt), (Some(Code::UpstreamClosed), 1));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_body_that_is_still_coming_goes_to_the_next_origin_from_its_start() {
    let (got, has_got) = channel();
    let got = Mutex::new(got);
    let broken = Origin::new(move |_, mut wire| {
        wire.head();
        wire.bytes(3);
        drop(wire);
        got.lock().unwrap().send(()).unwrap();
    });
    let good = Origin::echoes();
    let mut phases = in_turn(&[broken.address, good.address]);
    phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    has_got.recv_timeout(PATIENCE).unwrap();
    client.send("def");
    assert!(client.response().text().ends_with("\r\n\r\nabcdef"));
}

#[test]
fn fail_to_proxy_may_answer_in_place_of_the_plain_page() {
    let mut phases = in_turn(&[Origin::nowhere()]);
    phases.fail_to_proxy = Some(Box::new(|error| {
        let mut answer = Answer::new(503);
        answer.body = error.code().as_str().into();
        Box::pin(async { Ok(Some(answer)) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask(GET);
        assert_eq!((response.status, response.text()), (503, "CONNECT_REFUSED"));
        let logged = proxy.logged();
        assert_eq!((logged.status, logged.code), (Some(503), Some(Code::ConnectRefused)));
    }
}
