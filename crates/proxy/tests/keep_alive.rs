//! Connections carry several requests, on both sides, for as long as both ends want that.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn both_sides_keep_their_connection() {
    let origin = Origin::says(OK);
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for number in 1..=3 {
        let response = client.ask(GET);
        assert_eq!((response.status, response.text(), response.closes()), (200, "ok", false));
        let logged = proxy.logged();
        assert_eq!((logged.requests, logged.reused, logged.last), (number, number > 1, false));
    }
    assert_eq!(origin.connections(), 1);
    let pool = proxy.pool();
    assert_eq!((pool.open, pool.idle, pool.created, pool.reused), (1, 1, 1, 2));
}

#[test]
fn one_origin_connection_serves_several_clients() {
    let origin = Origin::says(OK);
    let proxy = Proxy::to(origin.address);
    for _ in 0..3 {
        assert_eq!(proxy.client().ask(GET).status, 200);
        proxy.logged();
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let all: String = (0..50)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{n:03}"))
        .collect();
    client.send(all);
    for n in 0..50 {
        let response = client.response();
        assert!(response.text().starts_with(&format!("POST /{n} ")), "{n}");
        assert!(response.text().ends_with(&format!("\r\n\r\n{n:03}")), "{n}");
        assert_eq!(proxy.logged().requests, n + 1);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn empty_lines_between_requests_are_skipped() {
    let proxy = Proxy::to(Origin::says(OK).address);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.ask(format!("\r\n\r\n{GET}\r\n")).status, 200);
    }
}

#[test]
fn a_client_that_wants_to_close_is_told_so_and_the_origin_is_not() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    for _ in 0..2 {
        let mut client = proxy.client();
        let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(response.closes());
        assert!(!response.text().to_lowercase().contains("connection"));
        client.ended();
        assert!(proxy.logged().last);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn http_1_0_clients_close_unless_they_ask_otherwise() {
    let origin = Origin::says(OK);
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let response = client.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(response.closes());
    client.ended();

    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(response.field("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "ok");
    }
}

#[test]
fn an_http_1_0_request_without_a_host_gets_that_of_its_peer() {
    let origin = Origin::echoes();
    let proxy = Proxy::to(origin.address);
    let echo = proxy.client().ask("GET / HTTP/1.0\r\n\r\n");
    assert!(echo.text().starts_with("GET / HTTP/1.1\r\n"), "{}", echo.text());
    assert!(echo.text().contains(&format!("\r\nhost: {}\r\n", origin.address)), "{}", echo.text());
}

#[test]
fn an_http_1_0_client_gets_a_body_of_unknown_length_until_the_end() {
    let origin =
        Origin::says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let response = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((response.field("transfer-encoding"), response.text()), (None, "ok"));
    assert!(response.closes());
}

#[test]
fn http_1_0_origins_are_kept_only_if_they_say_so() {
    for (answer, connections) in [
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 2),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", 2),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 2\r\n\r\nok", 1),
        // What follows an answer spoils the connection.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", 2),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 2),
    ] {
        let origin = Origin::says(answer);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.ask(GET);
            assert!(response.status < 300 && !response.closes(), "{answer}");
            proxy.logged();
        }
        assert_eq!(origin.connections(), connections, "{answer}");
    }
}

#[test]
fn no_connection_is_kept_for_a_peer_that_wants_none() {
    let origin = Origin::says(OK);
    let options = PeerOptions { idle_timeout: millis(0), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).status, 200);
    }
    assert_eq!((origin.connections(), proxy.pool().idle), (2, 0));
}

#[test]
fn pingora_line_17_max_requests_serves_exactly_n() {
    let origin = Origin::says(OK);
    for n in [1, 3] {
        let options = ProxyOptions { max_requests_per_connection: n, ..ProxyOptions::default() };
        let proxy = Proxy::new(TestPhases::to(origin.address), options);
        let mut client = proxy.client();
        client.send(GET.repeat(n as usize + 1));
        for number in 1..=n {
            assert_eq!(client.response().closes(), number == n);
            assert_eq!(proxy.logged().last, number == n);
        }
        client.ended();
        assert_eq!(proxy.close().len(), 0);
    }
}

#[test]
fn while_the_server_drains_the_answer_is_the_last_one() {
    let (asked, is_asked) = channel();
    let (answer, is_answered) = channel::<()>();
    let is_answered = std::sync::Mutex::new(is_answered);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        asked.send(()).unwrap();
        is_answered.lock().unwrap().recv().unwrap();
        wire.send(OK);
    });
    let proxy = Proxy::to(origin.address);
    let mut idle = proxy.client();
    let mut client = proxy.client();
    client.send(GET);
    is_asked.recv().unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    idle.ended();
    answer.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.text(), response.closes()), ("ok", true));
    client.ended();
    // Whether the client closes its side too is not waited for.
    let start = std::time::Instant::now();
    let report = closing.join().unwrap();
    assert_eq!(report.requests, Ends { finished: 1, cut: 0 });
    assert!(start.elapsed() < millis(1900));
}

#[test]
fn a_client_that_said_it_was_done_is_not_waited_for() {
    let proxy = Proxy::to(Origin::says(OK).address);
    for request in
        ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        let mut client = proxy.client();
        assert!(client.ask(request).closes());
        let start = std::time::Instant::now();
        eventually("it is closed", || proxy.counters().open() == 0);
        assert!(start.elapsed() < millis(1900));
    }
}

#[test]
fn an_empty_line_after_the_last_body_does_not_cost_the_answer() {
    let proxy = Proxy::to(Origin::says(OK).address);
    for _ in 0..200 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
        std::thread::yield_now();
        client.try_send("\r\n");
        assert_eq!(client.response().text(), "ok");
    }
}

/// A proxy whose origin answers each request when it may.
fn held() -> (Proxy, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (asked, is_asked) = channel();
    let (answer, is_answered) = channel::<()>();
    let (asked, is_answered) = (std::sync::Mutex::new(asked), std::sync::Mutex::new(is_answered));
    let origin = Origin::new(move |_, mut wire| {
        while wire.try_head().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            is_answered.lock().unwrap().recv().unwrap();
            wire.try_send(OK);
        }
    });
    (Proxy::to(origin.address), is_asked, answer)
}

#[test]
fn a_request_behind_another_that_came_before_the_server_drained_is_served_too() {
    let (proxy, is_asked, answer) = held();
    let mut client = proxy.client();
    client.send(GET.repeat(3));
    is_asked.recv().unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    eventually("it drains", || proxy.server.shutdown().is_draining());
    for number in 1..=3 {
        answer.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.text(), response.closes()), ("ok", number == 3));
    }
    client.ended();
    let start = std::time::Instant::now();
    assert_eq!(closing.join().unwrap().requests, Ends { finished: 3, cut: 0 });
    assert!(start.elapsed() < millis(1900), "{:?}", start.elapsed());
}

#[test]
fn what_a_client_sends_behind_its_last_answer_holds_up_no_server_that_drains() {
    let (proxy, is_asked, answer) = held();
    let mut client = proxy.client();
    client.send(GET);
    // The beginning of a request that may never come.
    client.send("GET /");
    is_asked.recv().unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    eventually("it drains", || proxy.server.shutdown().is_draining());
    answer.send(()).unwrap();
    assert!(client.response().closes());
    let start = std::time::Instant::now();
    assert_eq!(closing.join().unwrap().requests, Ends { finished: 1, cut: 0 });
    assert!(start.elapsed() < millis(1900), "{:?}", start.elapsed());
}

#[test]
fn a_request_that_was_on_its_way_when_the_server_drained_is_served() {
    let proxy = Proxy::to(Origin::says(OK).address);
    let (mut used, mut fresh) = (proxy.client(), proxy.client());
    assert!(!used.ask(GET).closes());
    // It has ended here too, and is none that the end of the server waits for.
    proxy.logged();
    eventually("both are served", || proxy.counters().open() == 2);
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    eventually("it drains", || proxy.server.shutdown().is_draining());
    for client in [&mut used, &mut fresh] {
        let response = client.ask(GET);
        assert_eq!((response.text(), response.closes()), ("ok", true));
        client.ended();
    }
    assert_eq!(closing.join().unwrap().requests, Ends { finished: 2, cut: 0 });
}
