//! An answer that comes before the request's body was read reaches the client, and the next
//! request starts at its own first byte.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::thread;

use support::*;

const MIB: usize = 1 << 20;

fn put(length: usize) -> String {
    format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

fn forbidding() -> Proxy {
    let mut phases = TestPhases::answering(Answer::plain(403));
    phases.request_filter = Some(Box::new(|ex| {
        let status = if ex.request.path() == b"/next" { 200 } else { 403 };
        Box::pin(async move { Ok(Some(Answer::plain(status))) })
    }));
    Proxy::new(phases, ProxyOptions::default())
}

#[test]
fn a_403_or_413_to_a_large_upload_reaches_a_client_that_is_still_sending() {
    let options = ProxyOptions { max_request_body: Some(1000), ..ProxyOptions::default() };
    let limited = Proxy::new(TestPhases::answering(Answer::plain(200)), options);
    for (proxy, status) in [(forbidding(), 403), (limited, 413)] {
        for megabytes in [1, 3] {
            let mut client = proxy.client();
            client.send(put(megabytes * MIB));
            // All of it is written before anything is read, as simple clients do.
            client.send(vec![b'x'; megabytes * MIB]);
            let response = client.response();
            assert_eq!((response.status, response.closes()), (status, true));
            client.ended();
            assert_eq!(proxy.logged().status, Some(status));
        }
    }
}

#[test]
fn a_client_without_end_is_not_read_forever() {
    let proxy = forbidding();
    let mut client = proxy.client();
    client.send(put(1 << 40));
    let mut writer = client.stream.try_clone().unwrap();
    let upload = thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    assert_eq!(client.response().status, 403);
    upload.join().unwrap();
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn what_is_left_of_a_small_body_is_skipped() {
    let proxy = forbidding();
    let mut client = proxy.client();
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    // At once with its head, after the answer, and in pieces.
    let whole = put(hidden.len()) + hidden + next;
    client.send(&whole);
    assert!(!client.response().closes());
    assert_eq!(client.response().status, 200);
    let response = client.ask(put(hidden.len()));
    assert_eq!((response.status, response.closes()), (403, false));
    client.send(&hidden[..5]);
    client.send(&hidden[5..]);
    assert_eq!(client.ask(next).status, 200);
    let large = 60_000;
    client.send(put(large));
    assert_eq!(client.response().status, 403);
    client.send(vec![b'x'; large]);
    assert_eq!(client.ask(next).status, 200);
    let targets: Vec<_> = proxy.close().into_iter().map(|logged| logged.target).collect();
    assert_eq!(targets, ["/", "/next", "/", "/next", "/", "/next"]);
}

#[test]
fn a_rest_that_is_large_or_of_unknown_length_ends_the_connection() {
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("{:x}\r\n{next}\r\n1\r\nx", next.len());
    for request in [format!("{chunked}{body}"), put(100_000) + next] {
        let proxy = forbidding();
        let mut client = proxy.client();
        client.send(request);
        let response = client.response();
        assert_eq!((response.status, response.closes()), (403, true));
        client.ended();
        assert_eq!(proxy.close().len(), 1);
    }
}

#[test]
fn an_expected_body_that_was_not_asked_for_is_not_waited_for() {
    let proxy = forbidding();
    let mut client = proxy.client();
    let request = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(request);
    let response = client.response();
    assert_eq!((response.status, response.closes()), (403, true));
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    client.ended();
    assert_eq!(proxy.close().len(), 1);
}

#[test]
fn an_origins_early_answer_reaches_the_client_and_its_connection_is_not_kept() {
    for length in [5, 50_000, 3 * MIB] {
        let origin = Origin::new(|_, mut wire| {
            wire.head();
            wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            wire.rest();
        });
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send(put(length));
        let response = client.response();
        assert_eq!((response.status, response.text()), (403, "no"));
        client.send(vec![b'x'; length]);
        // The client's connection goes on, as it was told.
        assert!(!response.closes());
        assert_eq!(client.ask(put(0)).status, 403);
        assert_eq!(proxy.pool().reused, 0);
    }
}

#[test]
fn an_origin_that_answers_and_closes_in_mid_upload_is_heard() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
        wire.end_sending();
        wire.rest();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(put(3 * MIB));
    client.send(vec![b'x'; 3 * MIB]);
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "no"));
}

#[test]
fn a_chunked_body_that_is_all_here_is_skipped_and_one_that_is_not_ends_the_connection() {
    let proxy = forbidding();
    let mut client = proxy.client();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{head}5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n{next}"));
    let response = client.response();
    assert_eq!((response.status, response.closes()), (403, false));
    assert_eq!(client.response().status, 200);
    client.send(format!("{head}5\r\nhel"));
    let response = client.response();
    assert_eq!((response.status, response.closes()), (403, true));
    client.ended();
}

#[test]
fn an_answer_without_a_body_says_nothing_of_its_length() {
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(|ex| {
        let status = std::str::from_utf8(&ex.request.path()[1..]).unwrap().parse().unwrap();
        Box::pin(async move { Ok(Some(Answer::new(status))) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for (method, status, length) in [
        ("GET", 304, None),
        ("GET", 204, None),
        ("HEAD", 200, None),
        ("GET", 200, Some("0")),
        ("GET", 205, Some("0")),
    ] {
        client.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response_to(method).unwrap();
        assert_eq!((response.status, response.field("content-length")), (status, length));
    }
}
