//! HTTP/1.1 over TLS on both sides of the proxy: all that holds in the clear holds here.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const MIB: usize = 1024 * 1024;

/// Answers every request with its body.
fn echo(_: usize, mut wire: Wire) {
    while let Some(head) = wire.try_head() {
        let Some((body, _)) = wire.try_body(&head) else { return };
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        wire.send(body);
    }
}

fn put(length: usize) -> String {
    format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

/// TLS to an origin over TLS, and a client that trusts both.
struct Through {
    proxy: Proxy,
    client: TlsClient,
}

impl Through {
    fn new(certs: &Certs, origin: &Origin) -> Self {
        let peers = vec![peer(origin.address, certs.peer(|_| {}))];
        Through::with(certs, TestPhases::with(peers), ProxyOptions::default())
    }

    fn with(certs: &Certs, phases: TestPhases, options: ProxyOptions) -> Self {
        let proxy = Proxy::secure(phases, options, &certs.server(|_| {}));
        Through { proxy, client: certs.client("a.test", None, &["http/1.1"]) }
    }

    fn connect(&self) -> Wire {
        self.client.over(self.proxy.client())
    }
}

#[test]
fn connections_are_kept_alive_on_both_sides() {
    let certs = Certs::new();
    let origin = certs.good_origin(echo);
    let through = Through::new(&certs, &origin);
    let mut client = through.connect();
    for round in 0..5 {
        let response = client.ask(put(2) + "hi");
        assert_eq!((response.status, response.text()), (200, "hi"));
        let logged = through.proxy.logged();
        assert_eq!((logged.code, logged.reused), (None, round > 0));
    }
    assert_eq!((origin.connections(), through.proxy.pool().reused), (1, 4));
    assert_eq!(client.secure().alpn().as_deref(), Some("http/1.1"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let certs = Certs::new();
    let origin = certs.good_origin(echo);
    let through = Through::new(&certs, &origin);
    let mut client = through.connect();
    let all: String = (0..50).map(|number| format!("{}{number:02}", put(2))).collect();
    client.send(all);
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("{number:02}"));
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    let certs = Certs::new();
    let origin = certs.good_origin(echo);
    let through = Through::new(&certs, &origin);
    let mut client = through.connect();
    let body: Vec<u8> = (0..MIB).map(|at| (at * 7 / 5) as u8).collect();
    client.send(put(MIB));
    client.send(&body);
    assert!(client.response().body == body);
    let chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(chunked);
    for piece in body.chunks(50_000) {
        client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    assert!(client.response().body == body);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn what_a_slow_client_has_not_taken_is_not_lost() {
    let certs = Certs::new();
    let origin = certs.good_origin(|_, mut wire| {
        wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 16 * MIB));
        wire.send(vec![b'x'; 16 * MIB]);
    });
    let through = Through::new(&certs, &origin);
    let mut client = through.connect();
    client.send(GET);
    client.head();
    // Longer than it takes to fill all that is in between.
    thread::sleep(millis(100));
    assert!(client.bytes(16 * MIB).iter().all(|byte| *byte == b'x'));
    assert_eq!(through.proxy.logged().code, None);
}

#[test]
fn an_idle_connection_that_its_origin_ends_is_not_used_again() {
    for with_goodbye in [true, false] {
        let certs = Certs::new();
        let (ended, has_ended) = channel();
        let ended = Mutex::new(ended);
        let origin = certs.good_origin(move |number, mut wire| {
            wire.head();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if number == 0 {
                if with_goodbye {
                    wire.secure().goodbye();
                }
                drop(wire);
                ended.lock().unwrap().send(()).unwrap();
            } else {
                wire.rest();
            }
        });
        let through = Through::new(&certs, &origin);
        let mut client = through.connect();
        assert_eq!(client.ask(GET).status, 200);
        has_ended.recv_timeout(PATIENCE).unwrap();
        // A POST may not be sent twice: the end has to be seen before.
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(client.ask(post).status, 200);
        assert_eq!((origin.connections(), through.proxy.pool().reused), (2, 0));
    }
}

#[test]
fn a_client_that_leaves_is_noticed_while_a_phase_is_pending() {
    for leave in [
        |mut client: Wire| client.secure().goodbye(),
        |client: Wire| drop(client),
        |client: Wire| {
            socket2::SockRef::from(&client.stream).set_linger(Some(millis(0))).unwrap();
        },
    ] {
        for request in [GET.to_owned(), put(1_000_000) + &"x".repeat(40_000), GET.repeat(1000)] {
            let certs = Certs::new();
            let (began, has_begun) = channel();
            let mut phases = TestPhases::with(Vec::new());
            phases.request_filter = Some(Box::new(move |_| {
                began.send(()).unwrap();
                Box::pin(std::future::pending())
            }));
            let through = Through::with(&certs, phases, ProxyOptions::default());
            let mut client = through.connect();
            client.send(&request);
            has_begun.recv_timeout(PATIENCE).unwrap();
            thread::sleep(millis(20));
            let since = Instant::now();
            leave(client);
            let logged = through.proxy.logged();
            assert_eq!((logged.code, logged.last), (Some(Code::ClientAborted), true));
            assert!(since.elapsed() < PATIENCE / 3, "it took {:?}", since.elapsed());
            eventually("it is closed", || through.proxy.counters().open() == 0);
        }
    }
}

#[test]
fn an_early_answer_to_an_unread_upload_arrives() {
    let certs = Certs::new();
    let options =
        ProxyOptions { max_request_body: Some(10 * MIB as u64), ..ProxyOptions::default() };
    let through = Through::with(&certs, TestPhases::answering(Answer::plain(403)), options);
    for (length, status) in [(8 * MIB, 403), (20 * MIB, 413)] {
        let mut client = through.connect();
        client.send(put(length));
        // Less than is discarded by the lingering close, more than the system holds.
        for _ in 0..48 {
            client.send([b'x'; 65536]);
        }
        let response = client.response();
        assert_eq!((response.status, response.closes()), (status, true));
        client.ended();
        assert!(!client.truncated);
    }
}

#[test]
fn an_upstream_body_that_is_cut_short_is_never_a_whole_one() {
    let certs = Certs::new();
    for (framing, with_goodbye, whole) in [
        ("", true, true),
        ("", false, false),
        ("Content-Length: 9\r\n", true, false),
        ("Content-Length: 9\r\n", false, false),
        ("Content-Length: 4\r\n", false, true),
    ] {
        let origin = certs.good_origin(move |_, mut wire| {
            wire.head();
            wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\nhalf"));
            if with_goodbye {
                wire.secure().goodbye();
            }
        });
        let through = Through::new(&certs, &origin);
        let mut client = through.connect();
        client.send(GET);
        let response = client.response_to("GET");
        assert_eq!(response.is_some(), whole, "{framing} {with_goodbye}");
        let logged = through.proxy.logged();
        assert_eq!(logged.code, (!whole).then_some(Code::UpstreamClosed), "{}", logged.message);
    }
}

#[test]
fn the_end_of_a_body_that_ends_with_its_connection_is_said_or_not_said() {
    let certs = Certs::new();
    for whole in [true, false] {
        let origin = certs.good_origin(move |_, mut wire| {
            wire.head();
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            if whole {
                wire.send("0\r\n\r\n");
                wire.rest();
            }
        });
        let through = Through::new(&certs, &origin);
        let mut client = through.connect();
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        client.head();
        let mut reset = false;
        if whole {
            assert_eq!(client.rest(), b"half");
        } else {
            // What a reset has not overtaken may be there.
            reset = b"half".starts_with(&client.rest()) && !client.truncated;
        }
        assert_eq!(client.truncated || reset, !whole);
        eventually("it is closed", || through.proxy.counters().open() == 0);
    }
}

#[test]
fn a_slow_client_gets_the_end_of_a_body_that_ends_with_its_connection() {
    let certs = Certs::new();
    let mut answer = Answer::new(200);
    answer.body = vec![b'x'; 4 * MIB].into();
    let through = Through::with(&certs, TestPhases::answering(answer), ProxyOptions::default());
    let mut client = through.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    thread::sleep(millis(100));
    client.head();
    assert_eq!(client.rest().len(), 4 * MIB);
    assert!(!client.truncated);
}
