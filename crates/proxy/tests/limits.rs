//! The bounds of what a client may send.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use support::*;

fn limits(max_bytes: usize, max_fields: usize) -> ProxyOptions {
    let mut options = ProxyOptions::default();
    options.limits.max_bytes = max_bytes;
    options.limits.max_fields = max_fields;
    options
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn heads_have_as_many_bytes_and_fields_as_they_may() {
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let phases = || TestPhases::answering(Answer::plain(200));
    for (options, good, bad) in [
        (limits(512, 128), head(511), head(513)),
        (limits(65536, 10), fields(10), fields(11)),
        (ProxyOptions::default(), fields(128), fields(129)),
        (ProxyOptions::default(), head(65535), head(65537)),
    ] {
        let proxy = Proxy::new(phases(), options);
        for before in [0, 1, 2] {
            let mut client = proxy.client();
            for _ in 0..before {
                assert_eq!(client.ask(&good).status, 200);
                proxy.logged();
            }
            let response = client.ask(&bad);
            assert_eq!((response.status, response.closes()), (431, true));
            client.ended();
            assert_eq!(proxy.logged().code, Some(Code::HeaderTooLarge));
        }
    }
}

#[test]
fn a_head_without_end_is_refused_at_the_limit() {
    let proxy = Proxy::new(TestPhases::pending(), limits(4096, 128));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nX: ");
    for _ in 0..4 {
        client.send([b'x'; 1024]);
    }
    assert_eq!(client.response().status, 431);
    assert_eq!(proxy.logged().code, Some(Code::HeaderTooLarge));
}

#[test]
fn a_response_keeps_to_the_same_limits() {
    let origin = Origin::says(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n",
        "x".repeat(600)
    ));
    let proxy = Proxy::new(TestPhases::to(origin.address), limits(512, 128));
    assert_eq!(proxy.client().ask(GET).status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
}

#[test]
fn a_body_is_as_large_as_it_may_be() {
    let options = || ProxyOptions { max_request_body: Some(10), ..ProxyOptions::default() };
    let origin = Origin::echoes();
    let proxy = Proxy::new(TestPhases::to(origin.address), options());
    let length = |n: usize| {
        format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n))
    };
    let chunked = |n: usize| {
        format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            "1\r\nx\r\n".repeat(n)
        )
    };
    for (good, bad) in [(length(10), length(11)), (chunked(10), chunked(11))] {
        for before in [0, 1] {
            let mut client = proxy.client();
            for _ in 0..before {
                assert_eq!(client.ask(&good).status, 200);
                assert_eq!(proxy.logged().code, None);
            }
            let response = client.ask(&bad);
            assert_eq!((response.status, response.closes()), (413, true));
            client.ended();
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::BodyTooLarge));
            assert_eq!(logged.source, Some(Source::Downstream));
        }
    }
}

#[test]
fn a_chunked_body_that_is_too_large_is_not_buffered_and_never_ends_for_the_origin() {
    let (seen, is_seen) = channel();
    let seen = Mutex::new(seen);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        seen.lock().unwrap().send(wire.bytes(6)).unwrap();
        seen.lock().unwrap().send(wire.rest()).unwrap();
    });
    let options = ProxyOptions { max_request_body: Some(10), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    assert_eq!(is_seen.recv_timeout(PATIENCE).unwrap(), b"1\r\nx\r\n");
    client.send("a\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 413);
    assert_eq!(is_seen.recv_timeout(PATIENCE).unwrap(), b"");
}

#[test]
fn chunk_extensions_and_trailers_have_bounds() {
    let proxy = Proxy::to(Origin::echoes().address);
    let start = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bad in [
        format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(300)),
        format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(200),
        format!("0\r\nX: {}\r\n\r\n", "t".repeat(9000)),
        format!("0\r\n{}\r\n", "X: y\r\n".repeat(65)),
    ] {
        let mut client = proxy.client();
        client.send(start);
        client.try_send(bad);
        let response = client.response();
        assert_eq!((response.status, response.closes()), (413, true));
        assert_eq!(proxy.logged().code, Some(Code::BodyTooLarge));
    }
}
