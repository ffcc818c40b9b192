//! Every time-out, on the first request of a connection and on a later one.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Instant;

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SHORT: std::time::Duration = std::time::Duration::from_millis(150);

/// A client that has sent nothing yet, and one whose connection has served a request.
fn clients(proxy: &Proxy) -> [Wire; 2] {
    let fresh = proxy.client();
    let mut used = proxy.client();
    assert_eq!(used.ask(GET).status, 200);
    assert_eq!(proxy.logged().code, None);
    [fresh, used]
}

fn answering(options: ProxyOptions) -> Proxy {
    Proxy::new(TestPhases::answering(Answer::plain(200)), options)
}

#[test]
fn pingora_line_1_the_header_time_out_holds_for_every_request() {
    let proxy =
        answering(ProxyOptions { request_header_timeout: Some(SHORT), ..Default::default() });
    for mut client in clients(&proxy) {
        let start = Instant::now();
        client.send("GET / HTTP/1.1\r\nHo");
        let response = client.response();
        assert_eq!((response.status, response.closes()), (408, true));
        assert!(start.elapsed() >= SHORT && start.elapsed() < 20 * SHORT);
        client.ended();
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.target.as_str()), (Some(Code::RequestTimeout), "/"));
    }
}

#[test]
fn a_head_that_trickles_is_not_given_more_time() {
    let proxy =
        answering(ProxyOptions { request_header_timeout: Some(SHORT), ..Default::default() });
    for mut client in clients(&proxy) {
        client.send("GET / HTTP/1.1\r\n");
        let mut writer = client.stream.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            while writer.write_all(b"X: y\r\n").is_ok() {
                std::thread::sleep(millis(5));
            }
        });
        assert_eq!(client.response().status, 408);
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
        trickle.join().unwrap();
        proxy.logged();
    }
}

#[test]
fn a_new_connection_that_says_nothing_is_closed_without_a_word_or_a_log() {
    let proxy =
        answering(ProxyOptions { request_header_timeout: Some(SHORT), ..Default::default() });
    proxy.client().ended();
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn pingora_line_1_the_keep_alive_time_out_holds_after_every_request() {
    let proxy = answering(ProxyOptions { keep_alive_timeout: Some(SHORT), ..Default::default() });
    for requests in 1..=3 {
        let mut client = proxy.client();
        for _ in 0..requests {
            assert_eq!(client.ask(GET).status, 200);
            proxy.logged();
        }
        let start = Instant::now();
        client.send("\r\n\r\n");
        client.ended();
        assert!(start.elapsed() < 20 * SHORT);
    }
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn a_body_that_stops_is_a_408_and_the_origin_is_left() {
    let (end, is_end) = channel();
    let end = Mutex::new(end);
    let origin = Origin::new(move |_, mut wire| {
        while let Some(head) = wire.try_head() {
            if head.starts_with("GET") {
                wire.send(OK);
                continue;
            }
            let body = wire.try_body(&head);
            end.lock().unwrap().send(body.is_none()).unwrap();
            return;
        }
    });
    let options = ProxyOptions { body_read_timeout: Some(SHORT), ..Default::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    for body in ["Content-Length: 10\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"]
    {
        for mut client in clients(&proxy) {
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
            let response = client.response();
            assert_eq!((response.status, response.closes()), (408, true), "{body}");
            client.ended();
            assert!(is_end.recv_timeout(PATIENCE).unwrap());
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::RequestTimeout));
            assert_eq!(logged.source, Some(Source::Downstream));
        }
    }
}

#[test]
fn the_body_time_out_begins_anew_with_every_piece() {
    let options = ProxyOptions { body_read_timeout: Some(7 * SHORT), ..Default::default() };
    let proxy = Proxy::new(TestPhases::to(Origin::echoes().address), options);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(SHORT);
        client.send("x");
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_takes_nothing_is_closed() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            if head.starts_with("GET /small") {
                wire.send(OK);
                continue;
            }
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
            while wire.try_send(&chunk) {}
        }
    });
    for used in [false, true] {
        let options = ProxyOptions { write_timeout: Some(SHORT), ..Default::default() };
        let proxy = Proxy::new(TestPhases::to(origin.address), options);
        let mut client = proxy.client();
        if used {
            client.ask("GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(proxy.logged().code, None);
        }
        client.send(GET);
        let logged = proxy.logged();
        assert_eq!(logged.code, Some(Code::WriteTimeout));
        assert_eq!(logged.source, Some(Source::Downstream));
        assert!(logged.sent > 0);
        eventually("the origin is left", || proxy.pool().open == 0);
        eventually("the client is left", || proxy.counters().open() == 0);
        assert!(client.response_to("GET").is_none());
    }
}

#[test]
fn pingora_line_6_an_origin_that_says_nothing_is_a_504() {
    let origin = Origin::new(|number, mut wire| {
        wire.request();
        if number == 0 {
            wire.send(OK);
            wire.request();
        }
        wire.rest();
    });
    let options = PeerOptions { read_timeout: Some(SHORT), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let [mut fresh, mut used] = clients(&proxy);
    for client in [&mut used, &mut fresh] {
        let response = client.ask(GET);
        assert_eq!((response.status, response.closes()), (504, false));
        let logged = proxy.logged();
        assert_eq!(logged.code, Some(Code::ReadTimeout));
        assert_eq!((logged.source, logged.attempt), (Some(Source::Upstream), 1));
        assert_eq!(proxy.pool().open, 0);
    }
}

#[test]
fn an_origin_that_stops_in_mid_body_never_looks_whole() {
    let origin = Origin::new(|_, mut wire| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        wire.rest();
    });
    let options = PeerOptions { read_timeout: Some(SHORT), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let mut client = proxy.client();
    client.send(GET);
    assert!(client.response_to("GET").is_none());
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.status), (Some(Code::ReadTimeout), Some(200)));
}

#[test]
fn a_slow_client_is_not_held_against_its_origin() {
    let limit = 4 * SHORT;
    let options = PeerOptions { read_timeout: Some(limit), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(Origin::echoes().address, options);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhe");
    std::thread::sleep(2 * limit);
    client.send("y!");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(response.text().ends_with("hey!"));
}

#[test]
fn a_client_that_rests_is_not_held_against_its_origin_either() {
    const SIZE: usize = 32 << 20;
    let origin = Origin::new(|_, mut wire| {
        wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        wire.send(vec![b'x'; SIZE]);
        wire.rest();
    });
    // Long enough for an origin that has to share the machine.
    let limit = 4 * SHORT;
    let options = PeerOptions { read_timeout: Some(limit), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let mut client = proxy.client();
    client.send(GET);
    std::thread::sleep(2 * limit);
    assert_eq!(client.response().body.len(), SIZE);
    assert_eq!(proxy.logged().code, None);
}

#[test]
fn an_origin_that_takes_nothing_is_a_504() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        // Reads nothing, and keeps the connection open.
        let _ = held.lock().unwrap().recv();
    });
    let options = PeerOptions { write_timeout: Some(SHORT), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    let upload = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    assert_eq!(client.response().status, 504);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.source), (Some(Code::WriteTimeout), Some(Source::Upstream)));
    assert_eq!(proxy.pool().open, 0);
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    drop((client, hold));
    upload.join().unwrap();
}

#[test]
fn connecting_takes_no_longer_than_it_may() {
    let (address, _full) = Origin::never_accepts();
    for options in [
        PeerOptions { connect_timeout: Some(SHORT), ..PeerOptions::default() },
        PeerOptions { total_connect_timeout: Some(SHORT), ..PeerOptions::default() },
    ] {
        let proxy = Proxy::with_peer(address, options);
        let mut client = proxy.client();
        for _ in 0..2 {
            let start = Instant::now();
            assert_eq!(client.ask(GET).status, 504);
            assert!(start.elapsed() < 20 * SHORT);
            assert_eq!(proxy.logged().code, Some(Code::ConnectTimeout));
        }
    }
}

#[test]
fn request_timeout_covers_all_of_a_request() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            if head.starts_with("GET /body") {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            } else if head.starts_with("GET / ") {
                wire.send(OK);
            }
        }
    });
    let options = ProxyOptions { request_timeout: Some(2 * SHORT), ..Default::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    for mut client in clients(&proxy) {
        assert_eq!(client.ask("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").status, 504);
        assert_eq!(proxy.logged().code, Some(Code::RequestExpired));
        client.send("GET /body HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.response_to("GET").is_none());
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.status), (Some(Code::RequestExpired), Some(200)));
    }
    // A phase counts too.
    let options = ProxyOptions { request_timeout: Some(SHORT), ..Default::default() };
    let proxy = Proxy::new(TestPhases::pending(), options);
    assert_eq!(proxy.client().ask(GET).status, 504);
}

#[test]
fn try_timeout_ends_a_try_and_the_next_may_answer() {
    let slow = Origin::new(|_, mut wire| {
        wire.head();
        wire.rest();
    });
    let good = Origin::says(OK);
    let peers = [slow.address, good.address].map(|address| peer(address, Default::default()));
    let mut phases = TestPhases::with(peers.to_vec());
    phases.upstream_peer =
        Some(Box::new(|ex, peers| Ok(peers[usize::from(ex.attempt > 1)].clone())));
    phases.error_while_proxy = Some(Box::new(|_, error| {
        assert_eq!(error.code(), Code::RequestExpired);
        Decision::Retry
    }));
    let options = ProxyOptions { try_timeout: Some(SHORT), ..Default::default() };
    let proxy = Proxy::new(phases, options);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).text(), "ok");
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2));
    }
    // What may have been processed is not tried again.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(post).status, 500);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.attempt), (Some(Code::RetryUnsafe), 1));
}

#[test]
fn a_try_that_only_connected_is_safe_to_repeat_whatever_the_method() {
    let (dead, _full) = Origin::never_accepts();
    let good = Origin::says(OK);
    let peers = [dead, good.address].map(|address| peer(address, Default::default()));
    let mut phases = TestPhases::with(peers.to_vec());
    phases.upstream_peer =
        Some(Box::new(|ex, peers| Ok(peers[usize::from(ex.attempt > 1)].clone())));
    phases.fail_to_connect = Some(Box::new(|_, error| {
        assert!(error.can_retry());
        Decision::Retry
    }));
    let options = ProxyOptions { try_timeout: Some(SHORT), ..Default::default() };
    let proxy = Proxy::new(phases, options);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(proxy.client().ask(post).text(), "ok");
}
