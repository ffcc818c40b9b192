//! Which version of HTTP a client speaks, on one port.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use millrace_listeners::Endpoint;
use millrace_proxy::HttpProxy;
use millrace_server::{
    ConnInfo, ListeningService, RuntimeOptions, Server, ServerApp, ServerOptions, Shutdown,
};
use millrace_transport::{Stream, TlsInfo};
use support::frames::*;
use support::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn proxy(options: ProxyOptions) -> Proxy {
    Proxy::new(TestPhases::answering(Answer::plain(200)), options)
}

#[test]
fn the_preface_may_come_byte_by_byte() {
    let proxy = proxy(ProxyOptions::default());
    let mut client = Frames { wire: proxy.client() };
    for byte in PREFACE {
        client.wire.send([*byte]);
        sleep(millis(1));
    }
    for byte in frame(Frames::SETTINGS, 0, 0, &[]) {
        client.wire.send([byte]);
    }
    client.get(1, "/", &[]);
    let head = client.until(Frames::HEADERS);
    assert_eq!((head.stream, head.flags & 1), (1, 0));
    assert_eq!(client.until(Frames::DATA).payload, b"200 OK\n");
    assert_eq!(proxy.logged().target, "/");
}

#[test]
fn http_1_1_is_served_on_the_same_port_however_its_bytes_come() {
    let proxy = proxy(ProxyOptions::default());
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = proxy.client();
        for byte in request.bytes() {
            client.send([byte]);
        }
        let status = if request.starts_with("PRI *") { 400 } else { 200 };
        assert_eq!(client.response().status, status, "{request}");
    }
    let all =
        format!("{}{}", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = proxy.client();
    client.send(all);
    assert_eq!((client.response().status, client.response().status), (200, 200));
}

#[test]
fn a_preface_that_stops_is_logged_as_a_head_that_stopped() {
    let options =
        ProxyOptions { request_header_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = proxy(options);
    let mut client = proxy.client();
    client.send("PRI * HT");
    assert_eq!(client.response().status, 408);
    assert_eq!(proxy.logged().code, Some(Code::RequestTimeout));
    let mut client = proxy.client();
    client.send("PRI");
    drop(client);
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    // Silence is no request.
    proxy.client().ended();
    eventually("all are closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.close().len(), 0);
}

/// Whoever has said that it speaks HTTP/2 could make nothing of an answer in HTTP/1.1.
#[test]
fn a_preface_that_goes_wrong_after_its_first_line_is_a_fault_of_http_2() {
    let options =
        ProxyOptions { request_header_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = proxy(options);
    for rest in ["\r\nSM\r\n\rX", "Host: a\r\n\r\n", "X", "\r\nSM", ""] {
        let mut client = Frames { wire: proxy.client() };
        client.wire.send(format!("PRI * HTTP/2.0\r\n{rest}"));
        let kinds: Vec<u8> = client.rest().iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [Frames::SETTINGS], "{rest:?}");
    }
    eventually("all are closed", || proxy.counters().open() == 0);
    // A line for each that was wrong, and none for those that fell silent.
    assert_eq!(proxy.close().len(), 3);
}

#[test]
fn a_preface_after_a_request_is_no_request() {
    let proxy = proxy(ProxyOptions::default());
    let mut client = proxy.client();
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    client.send(PREFACE);
    assert_eq!(client.response().status, 505);
    client.ended();
}

#[test]
fn without_h2c_the_preface_is_no_request() {
    let proxy = proxy(ProxyOptions { h2c: false, ..ProxyOptions::default() });
    let mut client = proxy.client();
    client.send(PREFACE);
    assert_eq!(client.response().status, 505);
    assert_eq!(proxy.logged().code, Some(Code::VersionNotSupported));
}

#[test]
fn a_client_that_sends_no_settings_is_closed_by_the_header_timeout() {
    let options =
        ProxyOptions { request_header_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = proxy(options);
    let mut client = Frames { wire: proxy.client() };
    client.wire.send(PREFACE);
    assert_eq!(client.until(Frames::GOAWAY).code(), Frames::SETTINGS_TIMEOUT);
    // Something else in their place is refused at once.
    let mut client = Frames { wire: proxy.client() };
    client.wire.send(PREFACE);
    client.get(1, "/", &[]);
    assert_eq!(client.until(Frames::GOAWAY).code(), Frames::PROTOCOL_ERROR);
}

#[test]
fn a_block_of_fields_that_stops_is_closed_by_the_header_timeout() {
    let options =
        ProxyOptions { request_header_timeout: Some(millis(200)), ..ProxyOptions::default() };
    let proxy = proxy(options);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.until(Frames::HEADERS);
    client.head(3, 0, &[(":method", "GET")]);
    client.send(Frames::CONTINUATION, 0, 3, &[]);
    assert_eq!(client.until(Frames::GOAWAY).code(), Frames::ENHANCE_YOUR_CALM);
}

/// A proxy whose connections look as if they came over TLS, with what ALPN chose.
struct Agreed(Arc<HttpProxy<TestPhases>>, &'static str);

impl ServerApp for Agreed {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let tls = TlsInfo { alpn: Some(self.1.into()), ..TlsInfo::default() };
        let conn = ConnInfo { tls: Some(Arc::new(tls)), ..conn.clone() };
        self.0.process_new(stream, &conn, shutdown).await
    }
}

#[test]
fn what_alpn_chose_is_final() {
    for alpn in ["h2", "http/1.1"] {
        let (log, _logs) = std::sync::mpsc::channel();
        let mut phases = TestPhases::answering(Answer::plain(200));
        phases.log = Some(log);
        let lines = Arc::new(Lines::default());
        let app = HttpProxy::new(phases, ProxyOptions::default(), 1, lines);
        let endpoints = vec![Endpoint::tcp("127.0.0.1:0".parse().unwrap())];
        let app = Arc::new(Agreed(Arc::new(app), alpn));
        let service = ListeningService::new("proxy", app, endpoints, RuntimeOptions::default());
        let server = Server::new(ServerOptions::default());
        server.add_service(Box::new(service)).unwrap();
        let address = server.start().unwrap()[0][0].socket_addr().unwrap();
        let mut h1 = Wire::connect(address);
        h1.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut h2 = Frames::connect(address);
        h2.get(1, "/", &[]);
        if alpn == "h2" {
            assert_eq!(h2.until(Frames::DATA).payload, b"200 OK\n");
            assert!(!h1.rest().starts_with(b"HTTP"));
        } else {
            assert_eq!(h2.wire.response().status, 505);
            assert_eq!(h1.response().status, 200);
        }
        server.close(Duration::ZERO);
    }
}
