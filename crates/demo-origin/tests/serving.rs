//! The origin as a service of a server, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::*;
use millrace_demo_origin::OriginOptions;

#[test]
fn pages() {
    let origin = start(quick());
    for (line, status, part) in [
        ("GET /", "200 OK", "<h1>It works</h1>"),
        ("GET http://b/x?y", "200 OK", "GET /x?y\nHost: b\nConnection: close\n"),
        ("GET /missing", "404 Not Found", "404 Not Found\n"),
        ("GET /favicon.ico?v=1", "404 Not Found", "404 Not Found\n"),
        ("GET /echo", "405 Method Not Allowed", "allow: POST\r\n"),
        ("DELETE /x", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
        ("OPTIONS *", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
    ] {
        let answer = origin.ask(&last(line));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line}: {answer}");
        assert!(answer.contains(part) && answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let origin = start(quick());
    for path in ["/", "/x", "/missing", "/stream"] {
        let head = origin.ask(&last(&format!("HEAD {path}")));
        assert!(head.ends_with("\r\n\r\n"), "{path}: {head}");
        let get = origin.ask(&last(&format!("GET {path}")));
        // What a page shows of the request differs by the method's name.
        let (get, _) = get.split_once("\r\n\r\n").unwrap();
        if path != "/x" {
            assert_eq!(head.trim_end(), get, "{path}");
        }
    }
}

#[test]
fn requests_follow_each_other_on_one_connection_also_without_waiting() {
    let origin = start(quick());
    let one = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let two =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = origin.ask(&[one, two, &last("GET /missing")].concat());
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    assert!(answer.contains("content-length: 3\r\n\r\nabcHTTP/1.1"), "{answer}");
    assert!(answer.contains("chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nHTTP/1.1 404"), "{answer}");
}

#[test]
fn an_echo_begins_before_the_body_has_ended() {
    let origin = start(quick());
    let mut stream = origin.connect();
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut buf = [0; 1024];
    let read = stream.read(&mut buf).unwrap();
    assert_eq!(&buf[..read], b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    let read = stream.read(&mut buf).unwrap();
    assert!(buf[..read].ends_with(b"\r\n\r\nabc"));
    stream.write_all(b"def").unwrap();
    let read = stream.read(&mut buf).unwrap();
    assert_eq!(&buf[..read], b"def");
}

#[test]
fn a_stream_comes_line_by_line() {
    let origin = start(OriginOptions { pause: Duration::from_millis(30), ..quick() });
    let start = Instant::now();
    let answer = origin.ask(&last("GET /stream"));
    assert!(start.elapsed() >= Duration::from_millis(9 * 30));
    assert!(answer.contains("\r\n\r\nd\r\nline 1 of 10\n\r\n"), "{answer}");
    assert!(answer.ends_with("e\r\nline 10 of 10\n\r\n0\r\n\r\n"), "{answer}");

    // An old client knows no chunks, and gets the end of the connection.
    let answer = origin.ask("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.contains("\r\n\r\nline 1 of 10\nline 2"), "{answer}");
    assert!(answer.ends_with("line 10 of 10\n"), "{answer}");
}

#[test]
fn what_is_no_request_is_refused() {
    let origin = start(quick());
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (bytes, status) in [
        ("GARBAGE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", 413),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (&long, 431),
    ] {
        let answer = origin.ask(bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
    }
    // A body that nobody reads: the answer arrives all the same.
    let body = "x".repeat(200_000);
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    assert!(origin.ask(&[head, &body].concat()).starts_with("HTTP/1.1 405 "));
}

#[test]
fn a_client_that_says_nothing_more_is_not_waited_for() {
    let patience = Duration::from_millis(100);
    let origin = start(OriginOptions { idle: patience, patience, ..quick() });
    assert_eq!(origin.ask(""), "");
    assert!(origin.ask("GET / HT").starts_with("HTTP/1.1 408 "));
    // In a body only the end of the connection can tell.
    let mut stream = origin.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc";
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert!(all.ends_with(b"\r\n\r\nabc"));
}

#[test]
fn an_idle_connection_ends_at_once_and_a_busy_one_with_its_answer() {
    let origin = start(OriginOptions { pause: Duration::from_millis(50), ..quick() });
    let mut idle = origin.connect();
    let mut busy = origin.connect();
    busy.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut buf = [0; 1024];
    busy.read_exact(&mut buf[..15]).unwrap();
    let server = origin.server.clone();
    let closing = std::thread::spawn(move || server.close(Duration::from_secs(10)));
    assert_eq!(idle.read(&mut buf).unwrap(), 0);
    let mut rest = String::new();
    busy.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(closing.join().unwrap().connections.cut, 0);
}
