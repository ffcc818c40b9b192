//! HTTP/1.1 over TLS on both sides of the proxy: all that holds in the clear holds here.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use millrace_tls::{ClientAuthMode, ClientAuthOptions, MinVersion};
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
            assert!(since.elapsed() < millis(1500), "it took {:?}", since.elapsed());
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

#[test]
fn phases_see_the_certificate_of_the_client() {
    let certs = Certs::new();
    let own = certs.ca.issue(&["client.test"]);
    let tls = certs.server(|options| {
        let ca_pem = certs.ca.ca_pem.clone();
        let mode = ClientAuthMode::Require;
        options.client_auth = Some(ClientAuthOptions { ca_pem, mode });
    });
    let seen = Arc::new(Mutex::new(None));
    let mut phases = TestPhases::answering(Answer::new(200));
    let sees = seen.clone();
    phases.logging = Some(Box::new(move |ex| *sees.lock().unwrap() = ex.connection.tls.clone()));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let client = certs.client("a.test", Some(&own), &[]);
    assert_eq!(client.over(proxy.client()).ask(GET).status, 200);
    proxy.logged();
    eventually("it is seen", || seen.lock().unwrap().is_some());
    let info = seen.lock().unwrap().clone().unwrap();
    assert_eq!((info.version, info.alpn.as_deref()), ("TLSv1.3", None));
    assert_eq!(info.server_name.as_deref(), Some("a.test"));
    assert_eq!(info.certificates, [der(&own)]);

    let mut stranger = certs.client("a.test", None, &[]).over(proxy.client());
    stranger.try_send(GET);
    assert!(is_refused(&mut stranger));
    assert_eq!(proxy.close().len(), 0);
}

/// A certificate as it is shown.
fn der(issued: &millrace_test_certs::Issued) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(&issued.cert_pem).unwrap().to_vec()
}

/// Whether a handshake fails, for whatever reason.
fn is_refused(client: &mut Wire) -> bool {
    let mut byte = [0];
    std::io::Read::read(client.secure(), &mut byte).is_err()
}

#[test]
fn the_certificate_follows_the_name_and_can_be_replaced() {
    let certs = Certs::new();
    let (one, two, new) = (
        certs.ca.issue(&["one.test"]),
        certs.ca.issue(&["*.two.test"]),
        certs.ca.issue(&["one.test"]),
    );
    let tls = certs.server(|options| options.certificates = vec![listed(&one), listed(&two)]);
    let phases = TestPhases::answering(Answer::new(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let connect = |name: &str| {
        let mut client = certs.client(name, None, &[]).over(proxy.client());
        assert_eq!(client.ask(GET).status, 200);
        client
    };
    assert!(connect("x.two.test").secure().shown() == der(&two));
    let mut before = connect("one.test");
    assert!(before.secure().shown() == der(&one));
    tls.update_certificates(&[listed(&new), listed(&two)]).unwrap();
    assert!(connect("one.test").secure().shown() == der(&new));
    assert_eq!(before.ask(GET).status, 200);
    // The first is shown for a name that none is for, and this client does not take it.
    let mut other = certs.client("other.test", None, &[]).over(proxy.client());
    other.try_send(GET);
    assert!(is_refused(&mut other));
}

#[test]
fn an_origin_whose_certificate_does_not_hold_gets_no_request() {
    let certs = Certs::new();
    let expired = certs.ca.issue_for(&["127.0.0.1"], (2000, 2010));
    let stranger = millrace_test_certs::Authority::new("stranger").issue(&["127.0.0.1"]);
    let elsewhere = certs.ca.issue(&["127.0.0.2"]);
    for (own, part) in
        [(&expired, "has expired"), (&stranger, "no trusted ca"), (&elsewhere, "for another name")]
    {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let origin = certs.origin(own, move |_, mut wire| {
            if wire_reads(&mut wire) {
                tell.lock().unwrap().send(()).unwrap();
            }
        });
        let proxy = Proxy::with_peer(origin.address, certs.peer(|_| {}));
        assert_eq!(proxy.client().ask(GET).status, 502);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::TlsFailed), true));
        assert!(logged.message.contains(part), "{}", logged.message);
        assert!(told.recv_timeout(millis(50)).is_err());
    }
}

/// Whether a byte arrives that was meant for it.
fn wire_reads(wire: &mut Wire) -> bool {
    std::io::Read::read(wire.secure(), &mut [0]).is_ok_and(|count| count > 0)
}

#[test]
fn what_both_sides_cannot_agree_on_is_no_request() {
    let certs = Certs::new();
    let tls = certs.server(|options| {
        options.min_version = MinVersion::Tls13;
        options.h2 = false;
    });
    let phases = TestPhases::answering(Answer::new(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let old = [&rustls::version::TLS12];
    let new = [&rustls::version::TLS13];
    let versions: [&[_]; 2] = [&old, &new];
    for versions in versions {
        for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[], &["h2"]] {
            let client = certs.client_of("a.test", None, alpn, versions);
            let mut client = client.over(proxy.client());
            if versions == new && alpn != ["h2"] {
                assert_eq!(client.ask(GET).status, 200);
                let agreed = alpn.contains(&"http/1.1").then_some("http/1.1");
                assert_eq!(client.secure().alpn().as_deref(), agreed);
            } else {
                client.try_send(GET);
                assert!(is_refused(&mut client));
            }
        }
    }
    assert_eq!(proxy.close().len(), 3);
}

#[test]
fn a_request_in_the_clear_is_closed_and_nothing_more() {
    let certs = Certs::new();
    let through =
        Through::with(&certs, TestPhases::answering(Answer::new(200)), ProxyOptions::default());
    let mut client = through.proxy.client();
    client.send(GET);
    // An alert at most.
    assert!(client.rest().len() <= 7);
    eventually("it is closed", || through.proxy.counters().open() == 0);
    assert_eq!(through.proxy.close().len(), 0);
}
