//! Nothing that could be read in two ways is passed on, in either direction (RFC 9112 §6, §7).

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use support::*;

#[test]
fn requests_that_are_ambiguous_or_garbage_are_refused_and_never_forwarded() {
    let origin = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::to(origin.address);
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\nhello");
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X: {}\r\n", "x".repeat(70_000));
    let table: Vec<(String, u16, Code)> = vec![
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, Code::BadRequest),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400, Code::BadRequest),
        (post("Content-Length: 5, 6\r\n"), 400, Code::BadRequest),
        (post("Content-Length: +5\r\n"), 400, Code::BadRequest),
        (post("Content-Length: 5x\r\n"), 400, Code::BadRequest),
        (post("Content-Length: -1\r\n"), 400, Code::BadRequest),
        (post("Content-Length: 0x5\r\n"), 400, Code::BadRequest),
        (post("Content-Length:\r\n"), 400, Code::BadRequest),
        (post("Content-Length: 99999999999999999999\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: gzip\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: chunked, gzip\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: chunked, chunked\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: xchunked\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 501, Code::NotImplemented),
        (post("Transfer-Encoding : chunked\r\n"), 400, Code::BadRequest),
        (post("Transfer-Encoding\u{b}: chunked\r\n"), 400, Code::BadRequest),
        (post("X: 1\r\n Transfer-Encoding: chunked\r\n"), 400, Code::BadRequest),
        (post("X: 1\nContent-Length: 5\r\n"), 400, Code::BadRequest),
        (post("X: a\rb\r\n"), 400, Code::BadRequest),
        (post("X: a\0b\r\n"), 400, Code::BadRequest),
        (post(": 1\r\n"), 400, Code::BadRequest),
        (post("Host: b\r\n"), 400, Code::BadRequest),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, Code::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400, Code::BadRequest),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            Code::BadRequest,
        ),
        ("GET / HTTP/2.0\r\n\r\n".into(), 505, Code::VersionNotSupported),
        ("PRI / HTTP/2.0\r\n\r\nSX\r\n\r\n".into(), 505, Code::VersionNotSupported),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), 405, Code::MethodNotAllowed),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, Code::BadRequest),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, Code::BadRequest),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, Code::BadRequest),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".into(), 400, Code::BadRequest),
        ("GET /\r\n\r\n".into(), 400, Code::BadRequest),
        ("\r\n".repeat(3) + "?\r\n\r\n", 400, Code::BadRequest),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, Code::HeaderTooLarge),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n"), 431, Code::HeaderTooLarge),
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
    for (body, status) in [
        ("x\r\n", 400),
        ("5\r\nhelloX", 400),
        ("5\nhello\r\n0\r\n\r\n", 400),
        ("-5\r\nhello\r\n0\r\n\r\n", 400),
        ("0x5\r\nhello\r\n0\r\n\r\n", 400),
        ("10000000000000000\r\n", 400),
        ("5 \r\nhello\r\n0\r\n\r\n", 400),
        ("0\r\nX : 1\r\n\r\n", 400),
    ] {
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
        assert_eq!((response.status, response.closes()), (status, true), "{body:?}");
        // The origin never sees an end.
        assert!(seen.recv_timeout(PATIENCE).unwrap().is_none(), "{body:?}");
        assert_eq!(proxy.logged().code, Some(Code::BadRequest));
    }
}

#[test]
fn a_length_that_is_said_twice_leaves_once() {
    let proxy = Proxy::to(Origin::echoes().address);
    for fields in ["Content-Length: 2\r\ncontent-length: 2\r\n", "Content-Length: 2, 2\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\nhi");
        let response = proxy.client().ask(request);
        let seen = response.text().to_ascii_lowercase();
        assert_eq!(seen.matches("content-length: 2\r\n").count(), 1, "{seen}");
    }
}

#[test]
fn a_request_hidden_in_a_body_stays_a_body() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = proxy.client();
    client.send(format!(
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}\
         GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        hidden.len()
    ));
    assert!(client.response().text().ends_with(hidden));
    assert!(client.response().text().starts_with("GET /b "));
}

#[test]
fn responses_that_are_ambiguous_or_garbage_are_a_502() {
    let big = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "hello\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        big.as_str(),
        many.as_str(),
    ] {
        let origin = Origin::says(answer);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        for number in 1..=2 {
            let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let shown = &answer[..answer.len().min(80)];
            assert_eq!((response.status, response.closes()), (502, false), "{shown:?}");
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::UpstreamInvalid), "{shown:?}");
            assert_eq!(logged.source, Some(Source::Upstream));
            // Such a connection is never used again.
            assert_eq!((origin.connections(), proxy.pool().idle), (number, 0), "{shown:?}");
        }
    }
}

#[test]
fn bad_chunks_of_a_response_never_look_like_its_end() {
    for body in ["5\r\nhellox", "5\r\nhello\r\nx\r\n", "5\r\nhello\r\n0\r\nX : 1\r\n\r\n"] {
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
