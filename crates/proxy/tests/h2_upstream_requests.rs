//! Heads of HTTP/1.1 clients' requests, as origins that speak HTTP/2 get them.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use h2_origin::*;
use millrace_connectors::HostPolicy;
use support::*;

#[test]
fn a_request_of_http_1_reaches_an_origin_in_http_2() {
    let origin = echoes();
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    let response = client.ask(
        "GET /a/b?c=d HTTP/1.1\r\nHost: example.com:81\r\nX-Upper: Value\r\nCookie: a=1; b=2\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
         TE: trailers, deflate\r\nUpgrade: h2c\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    assert_eq!(
        response.text(),
        "GET http example.com:81 /a/b?c=d\nx-upper: Value\ncookie: a=1; b=2\nte: trailers\n\n"
    );
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.status, logged.reused), (None, Some(200), false));
    assert!(!client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text().contains("te:"));
    assert!(proxy.logged().reused);
    assert_eq!((origin.connections(), origin.requests()), (1, 2));
}

#[test]
fn targets_of_every_form_become_scheme_authority_and_path() {
    let origin = echoes();
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    for (line, expected) in [
        ("OPTIONS *", "OPTIONS http a *"),
        ("OPTIONS /", "OPTIONS http a /"),
        ("GET http://b:82/x?y", "GET http b:82 /x?y"),
        ("GET http://b", "GET http b /"),
        ("GET //c/d", "GET http a //c/d"),
        ("GET /?", "GET http a /?"),
        ("GET /|[]{}^`\\\"", "GET http a /%7C[]%7B%7D%5E%60%5C%22"),
        ("GET /a?<b>", "GET http a /a?%3Cb%3E"),
        ("PURGE /", "PURGE http a /"),
    ] {
        let response = client.ask(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let got = response.text().lines().next().unwrap().to_owned();
        // What the `http` crate takes as it is may stay so.
        let got = if line.contains('|') { got.replace('|', "%7C") } else { got };
        assert_eq!(got, expected, "{line}");
    }
}

#[test]
fn the_hosts_policy_decides_the_authority() {
    let origin = echoes();
    for (host, expected) in [
        (HostPolicy::Preserve, "a".to_owned()),
        (HostPolicy::Peer, origin.address.to_string()),
        (HostPolicy::Fixed("fixed:83".into()), "fixed:83".to_owned()),
    ] {
        let peer = h2_peer(origin.address, PeerOptions { host, ..PeerOptions::default() });
        let proxy = Proxy::new(TestPhases::with(vec![peer]), ProxyOptions::default());
        let response = proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(response.text(), format!("GET http {expected} /\n\n"));
    }
}

#[test]
fn a_phase_cannot_put_fields_of_the_connection_into_http_2() {
    let origin = echoes();
    let mut phases = phases_to(origin.address);
    phases.upstream_request = Some(Box::new(|request| {
        for (name, value) in [
            ("Connection", "x"),
            ("Transfer-Encoding", "chunked"),
            ("TE", "gzip"),
            ("Upgrade", "x"),
            ("Content-Length", "7"),
            ("Host", "changed"),
            ("X-Phase", "1"),
        ] {
            request.fields.set(name, value).unwrap();
        }
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let response = proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.text(), "GET http changed /\nx-phase: 1\n\n");
}

#[test]
fn auto_in_the_clear_is_http_1() {
    let origin = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let options = PeerOptions { protocol: Protocol::Auto, ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let mut client = proxy.client();
    for reused in [false, true, true] {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
        assert_eq!(proxy.logged().reused, reused);
    }
    assert_eq!(origin.connections(), 1);
}
