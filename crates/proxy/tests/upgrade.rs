//! Changing to another protocol: a tunnel after the origin's 101, and only then.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

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

fn echoes(mut wire: Wire) {
    loop {
        match wire.piece() {
            piece if piece.is_empty() => return,
            piece => wire.send(piece),
        }
    }
}

/// A client whose upgrade was agreed to.
fn upgraded(proxy: &Proxy) -> Wire {
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: a\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client
}

#[test]
fn bytes_go_both_ways_and_are_counted() {
    let origin = agrees(echoes);
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    let mut total = 0;
    for length in [1, 2, 70_000, 5] {
        let text = "x".repeat(length);
        client.send(&text);
        assert_eq!(client.bytes(length), text.as_bytes());
        total += length as u64;
    }
    client.end_sending();
    client.ended();
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.status, logged.last), (None, Some(101), true));
    assert_eq!(logged.received, ASK.len() as u64 + total);
    assert!(logged.sent > total && logged.sent < total + 300, "{}", logged.sent);
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
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
fn a_client_that_is_killed_ends_the_origin_s_side() {
    let (told, is_told) = channel();
    let told = std::sync::Mutex::new(told);
    let origin = agrees(move |mut wire| {
        wire.send("hello");
        told.lock().unwrap().send(wire.rest()).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    assert_eq!(client.bytes(5), b"hello");
    client.send("last words");
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    is_told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
}

#[test]
fn an_origin_that_is_killed_resets_the_client() {
    let origin = agrees(|mut wire| {
        assert_eq!(wire.bytes(2), b"go");
        socket2::SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    client.send("go");
    assert!(client.is_reset());
    assert_eq!(proxy.logged().code, Some(Code::UpstreamClosed));
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
}

#[test]
fn one_side_may_end_while_the_other_goes_on() {
    let origin = agrees(|mut wire| {
        wire.send("bye");
        wire.end_sending();
        assert_eq!(wire.rest(), b"still here");
    });
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    assert_eq!(client.rest(), b"bye");
    client.send("still here");
    client.end_sending();
    assert_eq!(proxy.logged().code, None);
}

#[test]
fn a_silent_tunnel_outlives_other_time_outs_and_ends_with_its_own() {
    let origin = agrees(echoes);
    let short = Some(millis(50));
    let options = ProxyOptions {
        body_read_timeout: short,
        keep_alive_timeout: short,
        tunnel_idle_timeout: Some(millis(300)),
        ..ProxyOptions::default()
    };
    let peer_options = PeerOptions { read_timeout: short, ..PeerOptions::default() };
    let proxy = Proxy::new(TestPhases::with(vec![peer(origin.address, peer_options)]), options);
    let mut client = upgraded(&proxy);
    let start = Instant::now();
    client.send("x");
    assert_eq!(client.bytes(1), b"x");
    assert!(client.is_reset());
    assert!(start.elapsed() >= millis(300));
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.source), (Some(Code::ReadTimeout), Some(Source::Internal)));
}

#[test]
fn the_grace_of_the_server_is_the_tunnel_s_too() {
    let origin = agrees(echoes);
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(millis(300)));
    client.send("x");
    assert_eq!(client.bytes(1), b"x");
    client.rest();
    assert_eq!(closing.join().unwrap().cut, 1);
    assert_eq!(proxy.logged().code, Some(Code::ServerClosed));
}

#[test]
fn a_slow_reader_holds_the_sender_up() {
    let (sent, has_sent) = channel();
    let sent = std::sync::Mutex::new(sent);
    let origin = agrees(move |mut wire| {
        wire.stream.set_nonblocking(true).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let (mut total, mut since) = (0_usize, Instant::now());
        while since.elapsed() < millis(300) {
            match std::io::Write::write(&mut wire.stream, &piece) {
                Ok(count) => (total, since) = (total + count, Instant::now()),
                Err(_) => std::thread::sleep(millis(5)),
            }
        }
        sent.lock().unwrap().send(total).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = upgraded(&proxy);
    let total = has_sent.recv_timeout(PATIENCE).unwrap();
    assert!(total < 32 * 1024 * 1024, "{total} bytes are held somewhere");
    assert_eq!(client.rest().len(), total);
}

#[test]
fn a_phase_can_refuse_it_and_cannot_turn_it_into_something_else() {
    let origin = agrees(echoes);
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
