//! Requests over HTTP/2 in the clear, by prior knowledge, to an origin of HTTP/1.1.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use http::HeaderMap;
use support::frames::*;
use support::h2_client::*;
use support::*;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_reaches_the_origin_as_http_1_1() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = H2Client::connect(proxy.address).await;
    let fields = [("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2"), ("te", "trailers")];
    let reply = client.ask(request("GET", "/p?q", &fields), b"").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.text(),
        "GET /p?q HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\nx-one: 1\r\n\r\n"
    );
    assert!(reply.field("date").is_some());
    assert_eq!(reply.field("content-length"), Some(&*reply.body.len().to_string()));
    let logged = proxy.logged();
    assert_eq!((logged.status, logged.code, &*logged.target), (Some(200), None, "/p?q"));
    assert!(!logged.last && logged.received > 0 && logged.sent > reply.body.len() as u64);
    assert_eq!(logged.requests, 1);
    client.ask(get("/"), b"").await;
    assert_eq!(proxy.logged().requests, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_known_and_unknown_length_go_up() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = H2Client::connect(proxy.address).await;
    let reply = client.ask(request("POST", "/", &[("content-length", "5")]), b"hello").await;
    assert!(reply.text().ends_with("content-length: 5\r\n\r\nhello"), "{}", reply.text());
    let reply = client.ask(request("POST", "/", &[]), b"hello").await;
    assert!(reply.text().ends_with("transfer-encoding: chunked\r\n\r\nhello"), "{}", reply.text());
    let reply = client.ask(request("POST", "/", &[("content-length", "0")]), b"").await;
    assert!(reply.text().ends_with("content-length: 0\r\n\r\n"), "{}", reply.text());
    let reply = client.ask(request("POST", "/", &[]), b"").await;
    assert_eq!(reply.text(), "POST / HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_known_and_unknown_length_come_down() {
    for (framing, body, length) in [
        ("Content-Length: 5\r\n\r\nhello", "hello", Some("5")),
        ("Content-Length: 0\r\n\r\n", "", Some("0")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", None),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", None),
    ] {
        let origin = Origin::says(format!("HTTP/1.1 200 OK\r\nX-Up: 1\r\n{framing}"));
        let proxy = Proxy::to(origin.address);
        let mut client = H2Client::connect(proxy.address).await;
        let reply = client.ask(get("/"), b"").await;
        assert_eq!((reply.text(), reply.field("content-length")), (body, length));
        assert_eq!(reply.field("x-up"), Some("1"));
        assert_eq!(reply.field("transfer-encoding"), None);
        assert!(reply.trailers.is_none());
        assert_eq!(proxy.logged().code, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways_through_small_windows() {
    let mut options = ProxyOptions::default();
    options.http2.initial_stream_window = 20_000;
    options.http2.max_send_buffer = 10_000;
    let proxy = Proxy::new(TestPhases::to(Origin::echoes().address), options);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(30_000).initial_connection_window_size(65_535);
    let mut client = H2Client::with(proxy.address, &builder).await;
    let body: Vec<u8> = (0..3 * MIB).map(|n| (n / 3) as u8).collect();
    let reply = client.ask(request("POST", "/", &[]), &body).await;
    assert!(reply.body.ends_with(&body));
    assert!(reply.body.len() < body.len() + 1000);
    let logged = proxy.logged();
    assert!(logged.received >= 3 * MIB as u64 && logged.sent >= 3 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let origin = Origin::new(|_, mut wire| {
        let head = wire.head();
        let (body, trailers) = wire.try_body(&head).unwrap();
        assert_eq!((&*body, &*trailers), (&b"hello"[..], "x-up: 1\r\n"));
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n");
        wire.send("grpc-status: 0\r\n\r\n");
    });
    let proxy = Proxy::to(origin.address);
    let mut client = H2Client::connect(proxy.address).await;
    let (response, mut stream) = client.start(request("POST", "/", &[]), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-up", "1".parse().unwrap());
    trailers.insert("host", "evil".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let reply = Reply::read(response).await.unwrap();
    assert_eq!(reply.text(), "hi");
    assert_eq!(reply.trailers.unwrap().get("grpc-status").unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_body_ends_with_its_head() {
    for (method, head, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("GET", "204 No Content\r\n\r\n", None),
        ("GET", "304 Not Modified\r\nContent-Length: 7\r\n\r\n", Some("7")),
    ] {
        let proxy = Proxy::to(Origin::says(format!("HTTP/1.1 {head}")).address);
        let mut client = H2Client::connect(proxy.address).await;
        let (response, _) = client.start(request(method, "/", &[]), true).await;
        let response = soon(response).await.unwrap();
        assert!(response.body().is_end_stream(), "{method} {head}");
        let found = response.headers().get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!(found, length);
        assert_eq!(proxy.logged().code, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_responses_pass_on() {
    let origin = Origin::says(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    );
    let proxy = Proxy::to(origin.address);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut response, _) = client.start(get("/"), true).await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    let interim = soon(interim).await.unwrap().unwrap();
    assert_eq!((interim.status().as_u16(), interim.headers().len()), (103, 1));
    assert_eq!(interim.headers().get("link").unwrap(), "</a>");
    assert_eq!(Reply::read(response).await.unwrap().text(), "hi");
}

#[test]
fn no_more_interim_responses_pass_on_than_a_client_could_want() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    let origin = Origin::says(hints + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let proxy = Proxy::to(origin.address);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    let frames = std::iter::from_fn(|| client.try_next());
    let before = frames.take_while(|frame| frame.kind != Frames::DATA);
    assert_eq!(before.filter(|frame| frame.kind == Frames::HEADERS).count(), 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_100_is_sent_when_the_body_is_asked_for() {
    let phases = TestPhases::to(Origin::echoes().address);
    let options = ProxyOptions { max_request_body: Some(10), ..ProxyOptions::default() };
    let proxy = Proxy::new(phases, options);
    let mut client = H2Client::connect(proxy.address).await;
    let expecting = request("POST", "/", &[("expect", "100-continue"), ("content-length", "5")]);
    let (mut response, mut stream) = client.start(expecting, false).await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    assert_eq!(soon(interim).await.unwrap().unwrap().status(), 100);
    stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert!(Reply::read(response).await.unwrap().text().ends_with("hello"));
    // One that is refused is not asked for.
    let expecting = request("POST", "/", &[("expect", "100-continue"), ("content-length", "11")]);
    let (mut response, _stream) = client.start(expecting, false).await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    assert!(soon(interim).await.is_none());
    assert_eq!(soon(response).await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_our_own_is_framed_for_http_2() {
    let mut answer = Answer::plain(403);
    answer.head.fields.append("Connection", "close, x-hop").unwrap();
    answer.head.fields.append("X-Hop", "1").unwrap();
    let proxy = Proxy::new(TestPhases::answering(answer), ProxyOptions::default());
    let mut client = H2Client::connect(proxy.address).await;
    let reply = client.ask(get("/"), b"").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (403, "403 Forbidden\n"));
    assert!(reply.field("connection").is_none() && reply.field("x-hop").is_none());
    let reply = client.ask(request("HEAD", "/", &[]), b"").await;
    assert_eq!((reply.text(), reply.field("content-length")), ("", Some("14")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_are_served_at_once() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = H2Client::connect(proxy.address).await;
    for _ in 0..5 {
        let mut responses = Vec::new();
        for n in 0..100 {
            responses.push((n, client.start(get(&format!("/{n}")), true).await.0));
        }
        for (n, response) in responses {
            let reply = Reply::read(response).await.unwrap();
            assert!(reply.text().starts_with(&format!("GET /{n} HTTP")));
        }
    }
    for _ in 0..500 {
        assert_eq!(proxy.logged().code, None);
    }
}
