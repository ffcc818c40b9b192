//! Changing to another protocol: a tunnel after the origin's 101, and only then. What holds for every
//! tunnel is in `tunnels.rs`.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";

/// An origin that agrees and then plays `script`.
fn agrees(script: impl Fn(Wire) + Send + Sync + 'static) -> Origin {
    Origin::new(move |_, mut wire| {
        let head = wire.head().to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nsec-websocket-key: k\r\n"), "{head}");
        wire.send(YES);
        script(wire);
    })
}

#[test]
fn bytes_that_came_with_the_head_are_the_first_of_the_tunnel() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send(format!("{YES}early"));
        assert_eq!(wire.bytes(5), b"hasty");
        wire.send("bye");
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(format!("{ASK}hasty"));
    client.head();
    assert_eq!(client.bytes(8), b"earlybye");
}

#[test]
fn without_a_101_the_connection_goes_on() {
    let origin = Origin::new(|_, mut wire| {
        for _ in 0..2 {
            wire.head();
            wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask(ASK);
        assert_eq!((response.status, response.text()), (403, "no"));
        assert!(!response.closes());
        assert_eq!(proxy.logged().code, None);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn what_is_not_allowed_or_not_asked_for_is_not_passed_on() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        let body = if fields.contains("Length") { "x" } else { "" };
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"));
        let seen = response.text().to_ascii_lowercase();
        assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
    }
}

#[test]
fn a_101_that_does_not_fit_is_an_error() {
    for (ask, answer) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", YES),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        let origin = Origin::says(answer);
        let proxy = Proxy::to(origin.address);
        assert_eq!(proxy.client().ask(ask).status, 502);
        assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
    }
}

#[test]
fn a_phase_can_refuse_it_and_cannot_turn_it_into_something_else() {
    let origin = agrees(|mut wire| wire.echo());
    let mut phases = TestPhases::to(origin.address);
    phases.response_filter = Some(Box::new(|head| {
        assert_eq!(head.status, 101);
        Box::pin(async { Ok(Some(Answer::plain(403))) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(ASK).status, 403);
    let mut phases = TestPhases::to(origin.address);
    phases.response_filter = Some(Box::new(|head| {
        head.status = 200;
        Box::pin(async { Ok(None) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(ASK).status, 500);
    let mut phases = TestPhases::to(Origin::echoes().address);
    phases.upstream_request = Some(Box::new(|head| {
        assert_eq!(head.fields.get("upgrade"), Some(&b"websocket"[..]));
        head.fields.remove("upgrade");
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert!(!proxy.client().ask(ASK).text().to_ascii_lowercase().contains("upgrade"));
}
