//! Requests over HTTP/2 that are refused, and never reach an origin.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bytes::Bytes;
use support::frames::*;
use support::h2_client::*;
use support::*;

#[test]
fn a_malformed_head_is_a_stream_error_or_worse_and_reaches_no_origin() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let bad = [
        // What belongs to a connection of HTTP/1.1.
        with(&[("connection", "close")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, gzip")]),
        // Names and values.
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x:y", "1")]),
        with(&[("", "1")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\0b")]),
        // Pseudo-headers.
        with(&[(":path", "")]),
        with(&[(":path", "/ HTTP/1.1\r\nx: y")]),
        with(&[(":path", "/a b")]),
        with(&[(":authority", "a b")]),
        with(&[(":authority", "a\r\nb")]),
        with(&[(":method", "GET /x HTTP/1.1\r\n")]),
        with(&[(":method", "")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":unknown", "1")]),
        without(":method"),
        without(":scheme"),
        [&GET_FIELDS[..], &[(":path", "/2")]].concat(),
        [&[("x", "1")], &GET_FIELDS[..]].concat(),
        // Lengths.
        with(&[("content-length", "x")]),
        with(&[("content-length", "+1")]),
        with(&[("content-length", "1")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
    ];
    for fields in bad {
        let mut client = Frames::connect(proxy.address);
        client.head(1, 5, &fields);
        let last = std::iter::from_fn(|| client.try_next())
            .find(|frame| matches!(frame.kind, Frames::RST_STREAM | Frames::GOAWAY));
        assert_eq!(last.unwrap().code(), Frames::PROTOCOL_ERROR, "{fields:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_only_we_refuse_is_answered_and_logged() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let bad = [
        (with(&[("host", "b")]), "400", Code::BadRequest),
        (with(&[("host", "a"), ("host", "a")]), "400", Code::BadRequest),
        (with(&[(":authority", "u@a")]), "400", Code::BadRequest),
        (with(&[(":scheme", "ftp")]), "400", Code::BadRequest),
        (with(&[(":path", "*")]), "400", Code::BadRequest),
        (with(&[("content-length", "")]), "400", Code::BadRequest),
        (with(&[("x", " y")]), "400", Code::BadRequest),
        (with(&[("x", "y\t")]), "400", Code::BadRequest),
        (vec![(":method", "CONNECT"), (":authority", "a:443")], "405", Code::MethodNotAllowed),
    ];
    for (fields, status, code) in bad {
        let mut client = Frames::connect(proxy.address);
        client.head(1, 5, &fields);
        let head = client.until(Frames::HEADERS);
        // `:status` 400 is in the static table, 405 follows as a literal.
        let text = String::from_utf8_lossy(&head.payload).into_owned();
        assert!(head.payload[0] == 0x8c || text.contains(status) || status == "405", "{text:?}");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (Some(code), 0), "{fields:?}");
        assert_eq!(logged.status, Some(status.parse().unwrap()));
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn host_may_stand_beside_or_in_place_of_the_authority() {
    let proxy = Proxy::to(Origin::echoes().address);
    for (fields, host) in [
        (with(&[("host", "A")]), "host: a\r\n"),
        ([&without(":authority")[..], &[("x", "1"), ("host", "b:1")]].concat(), "host: b:1\r\n"),
    ] {
        let mut client = Frames::connect(proxy.address);
        client.head(1, 5, &fields);
        let data = String::from_utf8(client.until(Frames::DATA).payload).unwrap();
        assert!(data.starts_with(&format!("GET / HTTP/1.1\r\n{host}")), "{data}");
        assert_eq!(data.matches("host:").count(), 1);
    }
    // Without either there is nothing to route by (RFC 9113 §8.3.1).
    let mut client = Frames::connect(proxy.address);
    client.head(1, 5, &without(":authority"));
    assert_eq!(client.until(Frames::HEADERS).payload[0], 0x8c);
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_never_ends_for_the_origin() {
    let (seen, is_seen) = channel();
    let seen = Mutex::new(seen);
    let origin = Origin::new(move |_, mut wire| {
        let head = wire.head();
        assert!(head.contains("content-length: 5\r\n"));
        seen.lock().unwrap().send(()).unwrap();
        wire.rest();
        seen.lock().unwrap().send(()).unwrap();
        assert!(wire.try_body(&head).is_none());
    });
    let proxy = Proxy::to(origin.address);
    for (first, last) in [("abc", ""), ("abc", "d"), ("abc", "def")] {
        let mut client = Frames::connect(proxy.address);
        client.post(1, "/", &[("content-length", "5")]);
        client.send(Frames::DATA, 0, 1, first.as_bytes());
        is_seen.recv_timeout(PATIENCE).unwrap();
        client.send(Frames::DATA, 1, 1, last.as_bytes());
        assert_eq!(client.until(Frames::RST_STREAM).code(), Frames::PROTOCOL_ERROR);
        is_seen.recv_timeout(PATIENCE).unwrap();
        let logged = proxy.logged();
        assert_eq!(
            (logged.code, logged.source),
            (Some(Code::BadRequest), Some(Source::Downstream))
        );
        assert_eq!(logged.status, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_have_as_many_bytes_and_fields_as_they_may() {
    let mut options = ProxyOptions::default();
    options.limits.max_bytes = 2000;
    options.limits.max_fields = 10;
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), options);
    let mut client = H2Client::connect(proxy.address).await;
    let names: Vec<String> = (0..40).map(|n| format!("x{n}")).collect();
    let fields = |count: usize| {
        let all: Vec<_> = names[..count].iter().map(|name| (&**name, "y")).collect();
        request("GET", "/", &all)
    };
    let large = |bytes: usize| request("GET", "/", &[("x", &*"y".repeat(bytes))]);
    for (request, status) in
        [(fields(9), 200), (large(1900), 200), (fields(10), 431), (large(2000), 431)]
    {
        assert_eq!(client.ask(request, b"").await.status, status);
        let code = (status == 431).then_some(Code::HeaderTooLarge);
        assert_eq!(proxy.logged().code, code);
    }
    // Far beyond the limit `h2` answers by itself.
    assert_eq!(client.ask(large(4000), b"").await.status, 431);
    assert_eq!(client.ask(get("/"), b"").await.status, 200);
}

/// `h2` does not read it to its end, and so cannot answer it.
#[test]
fn a_head_that_ends_its_connection_is_logged_as_what_it_is() {
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), ProxyOptions::default());
    let with_field =
        |piece: &str| fields_block(&[&with(&[(":path", "/huge")])[..], &[("x", piece)]].concat());
    // One long field, and many short ones.
    let many = [with_field("y"), fields_block(&[("x", &*"y".repeat(50))]).repeat(6_000)].concat();
    for block in [with_field(&"y".repeat(300_000)), many] {
        let mut client = Frames::connect(proxy.address);
        for (n, piece) in block.chunks(16_384).enumerate() {
            let last = (n + 1) * 16_384 >= block.len();
            let kind = if n == 0 { Frames::HEADERS } else { Frames::CONTINUATION };
            let flags = u8::from(n == 0) | if last { 4 } else { 0 };
            if !client.try_send(kind, flags, 1, piece) {
                break;
            }
        }
        assert_eq!(client.until(Frames::GOAWAY).code(), Frames::ENHANCE_YOUR_CALM);
        let logged = proxy.logged();
        assert_eq!((&*logged.method, &*logged.target), ("GET", "/huge"));
        assert_eq!(logged.code, Some(Code::HeaderTooLarge));
        assert!(logged.received > 65_536);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_as_large_as_it_may_be() {
    let options = ProxyOptions { max_request_body: Some(10), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(Origin::echoes().address), options);
    let mut client = H2Client::connect(proxy.address).await;
    for (length, status) in [(10, 200), (11, 413)] {
        let text = length.to_string();
        let known = request("POST", "/", &[("content-length", &*text)]);
        for request in [known, request("POST", "/", &[])] {
            assert_eq!(client.ask(request, &vec![b'x'; length]).await.status, status);
            let code = (status == 413).then_some(Code::BodyTooLarge);
            assert_eq!(proxy.logged().code, code);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_have_bounds() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = H2Client::connect(proxy.address).await;
    let (response, mut stream) = client.start(request("POST", "/", &[]), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x", "y".repeat(9000).parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    assert_eq!(Reply::read(response).await.unwrap().status, 413);
    assert_eq!(proxy.logged().code, Some(Code::BodyTooLarge));
}
