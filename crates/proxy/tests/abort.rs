//! A client that leaves, in every phase of a request: its origin is left at once, and it is
//! logged once.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// That the client left was noticed in no time, and logged once.
#[track_caller]
fn is_logged_once(proxy: Proxy, since: Instant) -> Logged {
    let logged = proxy.logged();
    assert_eq!(logged.code, Some(Code::ClientAborted));
    assert_eq!(logged.source, Some(Source::Downstream));
    assert!(logged.last);
    assert!(since.elapsed() < PATIENCE / 3, "it took {:?}", since.elapsed());
    eventually("its connection is closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.pool().open, 0);
    assert_eq!(proxy.close().len(), 0);
    logged
}

/// Phases whose `request_filter` never ends, and what is told when it has begun.
fn filtering() -> (TestPhases, Receiver<()>) {
    let (began, has_begun) = channel();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |_| {
        began.send(()).unwrap();
        Box::pin(std::future::pending())
    }));
    (phases, has_begun)
}

#[test]
fn in_mid_head() {
    for used in [false, true] {
        let proxy = Proxy::new(TestPhases::answering(Answer::new(200)), ProxyOptions::default());
        let mut client = proxy.client();
        if used {
            client.ask(GET);
            proxy.logged();
        }
        client.send("GET /x HTTP/1.1\r\nHo");
        let since = Instant::now();
        drop(client);
        let logged = is_logged_once(proxy, since);
        assert_eq!((&*logged.method, &*logged.target, logged.status), ("GET", "/x", None));
    }
}

#[test]
fn between_two_requests_which_is_no_abort() {
    let proxy = Proxy::new(TestPhases::answering(Answer::new(200)), ProxyOptions::default());
    let mut client = proxy.client();
    client.ask(GET);
    assert_eq!(proxy.logged().code, None);
    drop(client);
    drop(proxy.client());
    eventually("it is closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn during_a_pending_request_filter() {
    let post = |sent: usize, length: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        head + &"x".repeat(sent)
    };
    for request in [
        GET.to_owned(),
        post(10, 10),
        post(10, 1_000_000),
        // More than is read ahead: the end lies behind bytes that nobody wants. Behind more than
        // the system takes it would never arrive; see the reset below.
        post(20_000, 1_000_000),
        post(50_000, 1_000_000),
        // One byte of the next request, or many requests.
        format!("{GET}G"),
        GET.repeat(1500),
    ] {
        let (phases, has_begun) = filtering();
        let proxy = Proxy::new(phases, ProxyOptions::default());
        let mut client = proxy.client();
        client.send(&request);
        let begun = has_begun.recv_timeout(PATIENCE);
        assert_eq!(begun, Ok(()), "{}", request.len());
        // Time for what is read ahead: nothing tells when that has come to rest.
        std::thread::sleep(millis(20));
        let since = Instant::now();
        drop(client);
        is_logged_once(proxy, since);
    }
}

fn reset(client: Wire) {
    socket2::SockRef::from(&client.stream).set_linger(Some(millis(0))).unwrap();
}

#[test]
fn with_a_reset() {
    for upload in [false, true] {
        let (phases, has_begun) = filtering();
        let proxy = Proxy::new(phases, ProxyOptions::default());
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        has_begun.recv_timeout(PATIENCE).unwrap();
        client.stream.set_write_timeout(Some(millis(200))).unwrap();
        while upload && client.try_send([b'x'; 65536]) {}
        let since = Instant::now();
        reset(client);
        is_logged_once(proxy, since);
    }
}

/// An origin that tells when it has a head, and when it was left.
fn watched(answer: &'static str, reads: bool) -> (Origin, Receiver<&'static str>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        let tell = tell.lock().unwrap().clone();
        wire.send(answer);
        tell.send("head").unwrap();
        if reads {
            wire.rest();
            tell.send("left").unwrap();
        } else {
            std::thread::park_timeout(PATIENCE);
        }
    });
    (origin, told)
}

#[test]
fn while_the_origin_is_waited_for() {
    for more in ["", "G", "GET /2 HTTP/1.1\r\n"] {
        let (origin, told) = watched("", true);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send(format!("{GET}{more}"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("head"));
        let since = Instant::now();
        drop(client);
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        is_logged_once(proxy, since);
    }
}

#[test]
fn while_connecting() {
    let (address, _full) = Origin::never_accepts();
    let proxy = Proxy::to(address);
    let mut client = proxy.client();
    client.send(GET);
    std::thread::sleep(millis(50));
    let since = Instant::now();
    drop(client);
    is_logged_once(proxy, since);
}

#[test]
fn in_mid_upload() {
    for body in ["Content-Length: 10\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
        let (origin, told) = watched("", true);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{body}"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("head"));
        let since = Instant::now();
        drop(client);
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        is_logged_once(proxy, since);
    }
}

#[test]
fn during_a_stalled_upload() {
    // The origin takes nothing, so that all that is under way is full. A FIN waits behind it, with
    // the client's system, for as long as the proxy has no room; a reset does not.
    let (origin, told) = watched("", false);
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    assert_eq!(told.recv_timeout(PATIENCE), Ok("head"));
    client.stream.set_write_timeout(Some(millis(200))).unwrap();
    while client.try_send([b'x'; 65536]) {}
    let since = Instant::now();
    reset(client);
    is_logged_once(proxy, since);
}

#[test]
fn in_mid_download() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "HTTP/1.1 200 OK\r\n\r\nhalf"]
    {
        let (origin, told) = watched(answer, true);
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        client.send(GET);
        client.head();
        let since = Instant::now();
        drop(client);
        assert_eq!(told.recv_timeout(PATIENCE), Ok("head"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        assert_eq!(is_logged_once(proxy, since).status, Some(200));
    }
}

#[test]
fn in_mid_download_without_reading() {
    let (left, is_left) = channel();
    let left = Mutex::new(left);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        while wire.try_send([b'x'; 65536]) {}
        left.lock().unwrap().send(()).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    client.head();
    let since = Instant::now();
    client.end_sending();
    is_left.recv_timeout(PATIENCE).unwrap();
    is_logged_once(proxy, since);
}

#[test]
fn half_close_lets_a_client_end_its_side() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            let body = wire.try_body(&head).unwrap().0;
            std::thread::sleep(millis(30));
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            wire.send(body);
        }
    });
    let options = || ProxyOptions { half_close: true, ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options());
    for body in ["hi".to_owned(), "x".repeat(100_000)] {
        let mut client = proxy.client();
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.end_sending();
        let response = client.response();
        assert_eq!(response.text(), body);
        client.ended();
        assert_eq!(proxy.logged().code, None);
    }
    // What it leaves unsaid is still missing.
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhel");
    client.end_sending();
    client.ended();
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
}

#[test]
fn while_an_answer_of_our_own_goes_out() {
    let mut answer = Answer::new(200);
    answer.body = vec![b'x'; 64 << 20].into();
    let proxy = Proxy::new(TestPhases::answering(answer), ProxyOptions::default());
    let mut client = proxy.client();
    client.send(GET);
    client.head();
    let since = Instant::now();
    client.end_sending();
    is_logged_once(proxy, since);
}

#[test]
fn during_fail_to_proxy_and_a_filter_of_our_own_answer() {
    for failing in [false, true] {
        let mut phases = match failing {
            true => TestPhases::to(Origin::nowhere()),
            false => TestPhases::answering(Answer::new(200)),
        };
        phases.response_filter = Some(Box::new(|_| Box::pin(std::future::pending())));
        phases.fail_to_proxy = Some(Box::new(|_| Box::pin(std::future::pending())));
        let options = ProxyOptions { filter_own_responses: true, ..ProxyOptions::default() };
        let proxy = Proxy::new(phases, options);
        let mut client = proxy.client();
        client.send(GET);
        std::thread::sleep(millis(30));
        drop(client);
        // The first error is the one that is logged.
        let code = if failing { Code::ConnectRefused } else { Code::ClientAborted };
        assert_eq!(proxy.logged().code, Some(code));
        assert_eq!(proxy.close().len(), 0);
    }
}
