//! What concerns one connection does not pass to the next.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;

const HOP: &str = "Connection: X-Mine, close, TE, content-length, host\r\nKeep-Alive: timeout=9\r\n\
    Proxy-Connection: keep-alive\r\nX-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\
    Proxy-Authorization: x\r\nProxy-Authenticate: x\r\nX-Kept: yes\r\n";

const GONE: [&str; 9] = [
    "connection",
    "keep-alive:",
    "proxy-connection",
    "x-mine",
    "te:",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
    "transfer-encoding",
];

#[test]
fn pingora_line_7_fields_of_a_connection_are_not_forwarded_upstream() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    for _ in 0..2 {
        let request = format!("POST /x HTTP/1.1\r\nHost: a\r\n{HOP}Content-Length: 2\r\n\r\nhi");
        let response = proxy.client().ask(request);
        let seen = response.text().to_ascii_lowercase();
        for name in GONE {
            assert!(!seen.contains(&format!("\r\n{name}")), "{name} in {seen}");
        }
        assert!(seen.starts_with("post /x http/1.1\r\nhost: a\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-kept: yes\r\n") && seen.ends_with("\r\n\r\nhi"), "{seen}");
        proxy.logged();
    }
    // The client's `Connection: close` has not ended the connection to the origin.
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pingora_line_7_fields_of_a_connection_are_not_forwarded_downstream() {
    let origin = Origin::says(format!("HTTP/1.1 200 OK\r\n{HOP}Content-Length: 2\r\n\r\nhi"));
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    // The origin's `Connection: close` does not end the connection to the client.
    for _ in 0..2 {
        let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = response.head.to_ascii_lowercase();
        for name in GONE {
            assert!(!head.contains(&format!("\r\n{name}")), "{name} in {head}");
        }
        assert_eq!((response.field("x-kept"), response.text()), (Some("yes"), "hi"));
    }
}

#[test]
fn interim_responses_bring_no_framing_and_nothing_of_the_connection() {
    let interim = format!(
        "HTTP/1.1 103 Early Hints\r\n{HOP}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\
         Link: </a>\r\n\r\n"
    );
    let origin = Origin::says(format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 103 early hints\r\n"), "{head}");
    for name in GONE.iter().chain(&["content-length"]) {
        assert!(!head.contains(&format!("\r\n{name}")), "{name} in {head}");
    }
    assert!(head.contains("\r\nlink: </a>\r\n"));
    assert_eq!(client.response().text(), "hi");
}

#[test]
fn phases_cannot_break_the_framing_of_either_side() {
    let origin = Origin::echoes();
    let mut phases = TestPhases::to(origin.address);
    phases.upstream_request = Some(Box::new(|head| {
        for (name, value) in
            [("Transfer-Encoding", "chunked"), ("Content-Length", "9"), ("Connection", "close")]
        {
            head.fields.set(name, value).unwrap();
        }
    }));
    phases.response_filter = Some(Box::new(|head| {
        for (name, value) in
            [("Transfer-Encoding", "chunked"), ("Content-Length", "9"), ("Connection", "close")]
        {
            head.fields.set(name, value).unwrap();
        }
        Box::pin(async { Ok(None) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for (request, field) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", Some("content-length: 2")),
    ] {
        let response = client.ask(request);
        let seen = response.text().to_ascii_lowercase();
        assert!(!seen.contains("transfer-encoding") && !seen.contains("connection"), "{seen}");
        let length = seen.split("\r\n").find(|line| line.starts_with("content-length"));
        assert_eq!(length, field, "{seen}");
        assert_eq!(response.field("transfer-encoding"), None);
        assert!(!response.closes());
    }
}

#[test]
fn an_absolute_target_decides_the_host_and_goes_on_in_origin_form() {
    let proxy = Proxy::to(Origin::echoes().address);
    let response = proxy.client().ask("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(response.text().starts_with("GET /x?y HTTP/1.1\r\nHost: b:81\r\n"), "{response:?}");
}

#[test]
fn an_upgrade_is_not_asked_for_and_one_that_comes_is_refused() {
    let origin = Origin::says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    let proxy = Proxy::to(origin.address);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(proxy.client().ask(request).status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
}

#[test]
fn max_forwards_counts_the_hops_of_options_and_trace() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let mut ask = |method: &str, hops: u32| {
        client.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n"))
    };
    assert!(ask("OPTIONS", 3).text().to_ascii_lowercase().contains("max-forwards: 2\r\n"));
    assert!(ask("GET", 0).text().contains("Max-Forwards: 0\r\n"));
    assert_eq!((ask("OPTIONS", 0).status, ask("TRACE", 0).status), (200, 405));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_origin_that_never_comes_to_the_point_is_given_up() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let origin = Origin::says(hint.repeat(1001));
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut response = client.response();
    while response.status == 103 {
        response = client.response();
    }
    assert_eq!(response.status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
}
