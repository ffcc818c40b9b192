//! What is sent again to an origin that speaks HTTP/2, and what is not.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_frames.rs"]
mod h2_frames;
#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use h2_frames::*;
use h2_origin::*;
use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_refused_stream_is_tried_again_once_without_asking_whatever_the_method() {
    for request in [GET, POST] {
        let (origin, requests) = scripted(|number, frames, stream| match number {
            0 => frames.reset(stream, Frames::REFUSED_STREAM),
            _ => ok(frames, stream),
        });
        let mut phases = phases_to(origin.address);
        phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked about {error}")));
        let proxy = Proxy::new(phases, ProxyOptions { max_retries: 0, ..Default::default() });
        assert_eq!(proxy.client().ask(request).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2));
        assert_eq!((requests.load(Ordering::SeqCst), origin.connections()), (2, 1));
    }
}

#[test]
fn a_stream_that_is_refused_twice_is_an_error_that_may_be_retried() {
    let (origin, requests) =
        scripted(|_, frames, stream| frames.reset(stream, Frames::REFUSED_STREAM));
    let proxy = proxy_to(origin.address);
    assert_eq!(proxy.client().ask(POST).status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), true));
    assert_eq!((logged.attempt, requests.load(Ordering::SeqCst)), (2, 2));
}

#[test]
fn a_body_too_large_to_be_kept_is_not_sent_again() {
    let (origin, requests) = scripted(|_, frames, stream| {
        let mut got = 0;
        while got < 40_000 {
            got += frames.find(Frames::DATA).unwrap().payload.len();
        }
        frames.try_send(Frames::WINDOW_UPDATE, 0, 0, 1_000_000_u32.to_be_bytes());
        frames.try_send(Frames::WINDOW_UPDATE, 0, stream, 1_000_000_u32.to_be_bytes());
        while got < 200_000 {
            got += frames.find(Frames::DATA).unwrap().payload.len();
        }
        frames.reset(stream, Frames::REFUSED_STREAM);
    });
    let proxy = proxy_to(origin.address);
    let body = "x".repeat(200_000);
    let response = proxy
        .client()
        .ask(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{body}"));
    assert_eq!(response.status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.can_retry, logged.attempt), (false, 1));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stream_that_is_cancelled_is_retried_only_where_that_is_safe() {
    for (request, safe) in [(GET, true), (POST, false)] {
        // A reset is never taken for a connection that had died, on a reused one either.
        let (origin, requests) = scripted(|number, frames, stream| match number {
            0 => ok(frames, stream),
            _ => frames.reset(stream, Frames::CANCEL),
        });
        let proxy = proxy_to(origin.address);
        let mut client = proxy.client();
        assert_eq!(client.ask(GET).text(), "ok");
        proxy.logged();
        assert_eq!(client.ask(request).status, 502);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), safe));
        assert_eq!((logged.attempt, logged.reused), (1, true));
        assert_eq!(requests.load(Ordering::SeqCst), 2);
        assert!(logged.message.contains("reset the stream"), "{}", logged.message);
    }
}

#[test]
fn a_graceful_goaway_lets_streams_end_and_moves_the_next_request() {
    let origin = Origin::new(|number, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        if number == 0 {
            frames.go_away(i32::MAX as u32, Frames::NO_ERROR);
        }
        frames.answer(stream, 0, 200, &[]);
        frames.try_send(Frames::DATA, Frames::END_STREAM, stream, b"ok");
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    for (attempts, reused) in [(1, false), (1, false)] {
        assert_eq!(client.ask(POST).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt, logged.reused), (None, attempts, reused));
    }
    assert_eq!(origin.connections(), 2);
    eventually("the first connection is closed", || proxy.pool().open == 1);
}

#[test]
fn a_request_beyond_the_last_stream_of_a_goaway_is_sent_again_elsewhere() {
    for (request, reason) in
        [(GET, Frames::NO_ERROR), (POST, Frames::NO_ERROR), (POST, Frames::ENHANCE_YOUR_CALM)]
    {
        let origin = Origin::new(move |number, wire| {
            let mut frames = Frames::accept(wire);
            let stream = frames.request();
            match number {
                0 => frames.go_away(0, reason),
                _ => ok(&mut frames, stream),
            }
            frames.drain();
        });
        let mut phases = phases_to(origin.address);
        phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked about {error}")));
        let proxy = Proxy::new(phases, ProxyOptions::default());
        assert_eq!(proxy.client().ask(request).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2));
        assert_eq!(origin.connections(), 2);
    }
}

#[test]
fn a_request_that_was_not_sent_yet_when_its_connection_ended_goes_elsewhere() {
    for graceful in [true, false] {
        let (close, closing) = channel();
        let closing = Mutex::new(closing);
        let (closed, is_closed) = channel();
        let closed = Mutex::new(closed);
        let origin = Origin::new(move |number, wire| {
            let mut frames = Frames::accept(wire);
            if number == 0 {
                closing.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                if graceful {
                    frames.go_away(0, Frames::NO_ERROR);
                } else {
                    frames.wire.end_sending();
                }
                // Its answer: the other side has seen it.
                frames.drain();
                return closed.lock().unwrap().send(()).unwrap();
            }
            let stream = frames.request();
            ok(&mut frames, stream);
            frames.drain();
        });
        let mut phases = phases_to(origin.address);
        phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked about {error}")));
        let (close, is_closed) = (Mutex::new(close), Arc::new(Mutex::new(is_closed)));
        phases.connected = Some(Box::new(move |ex| {
            let first = ex.attempt == 1;
            if first {
                close.lock().unwrap().send(()).unwrap();
            }
            let is_closed = is_closed.clone();
            Box::pin(async move {
                let wait = move || is_closed.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                if first {
                    tokio::task::spawn_blocking(wait).await.unwrap();
                }
                Ok(())
            })
        }));
        let proxy = Proxy::new(phases, ProxyOptions { max_retries: 0, ..Default::default() });
        assert_eq!(proxy.client().ask(POST).text(), "ok", "{graceful}");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2), "{graceful}");
    }
}

#[test]
fn a_request_within_a_goaway_with_an_error_may_have_been_processed() {
    for (request, safe) in [(GET, true), (POST, false)] {
        let origin = Origin::new(|_, wire| {
            let mut frames = Frames::accept(wire);
            let stream = frames.request();
            frames.go_away(stream, Frames::PROTOCOL_ERROR);
            frames.wire.end_sending();
            frames.drain();
        });
        let proxy = proxy_to(origin.address);
        assert_eq!(proxy.client().ask(request).status, 502);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), safe));
        assert_eq!((logged.attempt, origin.connections()), (1, 1));
    }
}

#[test]
fn a_connection_that_died_is_replaced_once_for_what_is_idempotent() {
    for (request, status, attempts) in [(GET, 200, 2), (POST, 502, 1)] {
        let origin = Origin::new(|number, wire| {
            let mut frames = Frames::accept(wire);
            let stream = frames.request();
            ok(&mut frames, stream);
            if number == 0 {
                frames.request();
                return;
            }
            frames.drain();
        });
        let proxy = proxy_to(origin.address);
        let mut client = proxy.client();
        assert_eq!(client.ask(GET).text(), "ok");
        proxy.logged();
        assert_eq!(client.ask(request).status, status);
        let logged = proxy.logged();
        assert_eq!(logged.attempt, attempts);
        assert_eq!(logged.code, (status == 502).then_some(Code::UpstreamClosed));
    }
}

#[test]
fn http_1_1_required_in_the_clear_is_an_error_as_nothing_can_be_agreed_on() {
    for (request, safe) in [(GET, true), (POST, false)] {
        let (origin, requests) =
            scripted(|_, frames, stream| frames.reset(stream, Frames::HTTP_1_1_REQUIRED));
        let proxy = proxy_to(origin.address);
        assert_eq!(proxy.client().ask(request).status, 502);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), safe));
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}
