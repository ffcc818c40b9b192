//! What becomes of messages that are refused: status, log, connections. Which are refused, and what
//! is forwarded of the others, is in the tables of `conformance/`.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use support::*;

#[test]
fn what_is_refused_is_logged_and_ends_its_connection() {
    let origin = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::to(origin.address);
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\nhello");
    let table: Vec<(String, u16, Code)> = vec![
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 501, Code::NotImplemented),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, Code::BadRequest),
        ("GET / HTTP/2.0\r\n\r\n".into(), 505, Code::VersionNotSupported),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), 405, Code::MethodNotAllowed),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".into(), 400, Code::BadRequest),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 431, Code::HeaderTooLarge),
    ];
    for (bytes, status, code) in table {
        let shown = &bytes[..bytes.len().min(200)];
        // The same on a connection that has served before.
        for before in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut client = proxy.client();
            if !before.is_empty() {
                assert_eq!(client.ask(before).status, 200);
                proxy.logged();
            }
            client.send(&bytes);
            let response = client.response();
            assert_eq!(response.status, status, "{shown:?}");
            assert!(response.closes(), "{shown:?}");
            assert_eq!(response.text().lines().count(), 1);
            client.ended();
            let logged = proxy.logged();
            assert_eq!((logged.code, logged.source), (Some(code), Some(Source::Downstream)));
            assert_eq!((logged.attempt, logged.last), (0, true), "{shown:?}");
        }
    }
    // What was good is all that the origin has seen.
    assert_eq!(origin.connections(), 1);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn chunks_that_are_not_chunks_end_both_exchanges() {
    for body in ["x\r\n", "5\r\nhelloX", "0\r\nX : 1\r\n\r\n"] {
        let (saw, seen) = channel();
        let saw = Mutex::new(saw);
        let origin = Origin::new(move |_, mut wire| {
            let body = wire.try_head().and_then(|_| wire.try_chunked());
            saw.lock().unwrap().send(body).unwrap();
        });
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(body);
        let response = client.response();
        assert_eq!((response.status, response.closes()), (400, true), "{body:?}");
        // The origin never sees an end.
        assert!(seen.recv_timeout(PATIENCE).unwrap().is_none(), "{body:?}");
        assert_eq!(proxy.logged().code, Some(Code::BadRequest));
    }
}

#[test]
fn responses_that_are_ambiguous_or_garbage_are_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/2 200 OK\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let origin = Origin::says(answer);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        for number in 1..=2 {
            let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!((response.status, response.closes()), (502, false), "{answer:?}");
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::UpstreamInvalid), "{answer:?}");
            assert_eq!(logged.source, Some(Source::Upstream));
            // Such a connection is never used again.
            assert_eq!((origin.connections(), proxy.pool().idle), (number, 0), "{answer:?}");
        }
    }
}

#[test]
fn bad_chunks_of_a_response_never_look_like_its_end() {
    for body in ["5\r\nhellox", "5\r\nhello\r\n0\r\nX : 1\r\n\r\n"] {
        let origin =
            Origin::says(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.response_to("GET").is_none(), "{body:?}");
        assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid), "{body:?}");
        assert_eq!(proxy.pool().open, 0);
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_read_like_any_other() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = proxy.client();
    let request = "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;ext=\"1\"\r\nabc\r\n0\r\nX-End: 1\r\n\r\n";
    for _ in 0..2 {
        for byte in request.as_bytes() {
            client.send([*byte]);
        }
        let response = client.response();
        assert!(response.text().ends_with("\r\n\r\nabcX-End: 1\r\n"), "{}", response.text());
        assert!(!response.text().contains("ext"));
    }
}

#[test]
fn what_is_no_request_is_logged_with_its_first_words_only() {
    let proxy = Proxy::new(TestPhases::pending(), ProxyOptions::default());
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nbad field\r\nSecret: s\r\n\r\n");
    client.response();
    let logged = proxy.logged();
    assert_eq!((&*logged.method, &*logged.target), ("GET", "/x"));
    let mut client = proxy.client();
    client.send("\u{1b}[31m \u{7}\r\n\r\n");
    client.response();
    let logged = proxy.logged();
    assert_eq!((&*logged.method, &*logged.target), ("-", "-"));
    let lines = Arc::clone(&proxy.lines);
    proxy.close();
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| !line.contains("Secret") && !line.contains('\u{1b}')));
}
