//! `logging` is called exactly once for each request, after its last byte, whatever became of it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use support::*;

const GET: &str = "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_that_was_answered() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = proxy.client();
    for number in 1..=2 {
        let body = "3\r\nabc\r\n0\r\n\r\n";
        let head = "POST /x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = client.ask(format!("{head}{body}"));
        let logged = proxy.logged();
        assert_eq!((&*logged.method, &*logged.target), ("POST", "/x?y"));
        assert_eq!((logged.status, logged.code), (Some(200), None));
        assert_eq!(logged.received, (head.len() + body.len()) as u64);
        assert_eq!(logged.sent, (response.head.len() + response.body.len()) as u64);
        assert_eq!((logged.requests, logged.attempt, logged.reused), (number, 1, number > 1));
        assert!(!logged.last);
    }
    assert!(proxy.lines.0.lock().unwrap().is_empty());
    drop(client);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn after_the_last_byte() {
    // A response too large for the buffers of the system: not logged while the client rests.
    const SIZE: usize = 32 << 20;
    let origin = Origin::new(|_, mut wire| {
        wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        wire.send(vec![b'x'; SIZE]);
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    let head = client.head();
    std::thread::sleep(millis(50));
    assert!(proxy.logs.try_recv().is_err());
    assert_eq!(client.bytes(SIZE).len(), SIZE);
    let logged = proxy.logged();
    assert_eq!(logged.sent, (head.len() + SIZE) as u64);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn requests_refused_before_any_phase() {
    let proxy = Proxy::new(TestPhases::answering(Answer::new(200)), ProxyOptions::default());
    for (bytes, status, code) in [
        ("garbage\r\n\r\n", 400, Code::BadRequest),
        ("GET /x HTTP/1.1\r\n\r\n", 400, Code::BadRequest),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, Code::MethodNotAllowed),
        ("GET /x HTTP/3.0\r\n\r\n", 505, Code::VersionNotSupported),
    ] {
        let mut client = proxy.client();
        let response = client.ask(bytes);
        assert_eq!(response.status, status);
        assert_eq!(response.field("allow").is_some(), status == 405);
        let logged = proxy.logged();
        assert_eq!((logged.status, logged.code), (Some(status), Some(code)));
        assert_eq!(logged.received, bytes.len() as u64, "{bytes}");
        assert_eq!(logged.sent, (response.head.len() + response.body.len()) as u64);
        client.ended();
    }
    let lines = proxy.lines.clone();
    assert_eq!(proxy.close().len(), 0);
    assert_eq!(lines.0.lock().unwrap().len(), 4);
}

#[test]
fn a_phase_that_fails() {
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(|_| {
        Box::pin(async {
            let error = Error::new(Code::PhaseFailed, "secret").in_phase("requestFilter");
            Err(error.with_status(429))
        })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask(GET);
        assert_eq!((response.status, response.closes()), (429, false));
        assert_eq!(response.text(), "429 Too Many Requests\n");
        let logged = proxy.logged();
        assert_eq!((logged.status, logged.code), (Some(429), Some(Code::PhaseFailed)));
    }
    let line = proxy.lines.0.lock().unwrap()[0].clone();
    assert!(line.starts_with("429 GET /x?y, Host: a, client 127.0.0.1:"), "{line}");
    assert!(line.contains("PHASE_FAILED (internal): secret"), "{line}");
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn a_phase_that_panics_hurts_its_own_connection_only() {
    let mut phases = TestPhases::to(Origin::says(OK).address);
    phases.request_filter = Some(Box::new(|ex| {
        assert!(ex.request.path() != b"/panic");
        Box::pin(async { Ok(None) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut other = proxy.client();
    other.ask(GET);
    proxy.logged();
    let mut client = proxy.client();
    client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
    client.ended();
    let logged = proxy.logged();
    assert_eq!((&*logged.target, logged.code), ("/panic", Some(Code::Internal)));
    assert_eq!(other.ask(GET).text(), "ok");
    assert_eq!(proxy.logged().code, None);
    assert_eq!(proxy.counters().panicked(), 1);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn logging_that_panics_hurts_its_own_connection_only() {
    for also_filter in [false, true] {
        let mut phases = TestPhases::answering(Answer::new(200));
        phases.logging = Some(Box::new(|ex| assert!(ex.request.path() != b"/panic")));
        if also_filter {
            phases.request_filter = Some(Box::new(|ex| {
                assert!(ex.request.path() != b"/panic");
                Box::pin(async { Ok(Some(Answer::new(200))) })
            }));
        }
        let proxy = Proxy::new(phases, ProxyOptions::default());
        let mut client = proxy.client();
        client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
        client.rest();
        assert_eq!(proxy.logged().target, "/panic");
        assert_eq!(proxy.client().ask(GET).status, 200);
        proxy.logged();
        assert_eq!(proxy.close().len(), 0);
    }
}

#[test]
fn requests_that_the_server_cuts() {
    let (began, has_begun) = channel();
    let began = Mutex::new(began);
    let origin = Origin::new(move |_, mut wire| {
        let head = wire.head();
        if head.starts_with("GET /half ") {
            wire.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        }
        began.lock().unwrap().send(()).unwrap();
        wire.rest();
    });
    let proxy = Proxy::to(origin.address);
    let idle = proxy.client();
    let mut waiting = proxy.client();
    waiting.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
    // Without framing of its own, only a reset tells that an answer was cut short.
    let mut old = proxy.client();
    old.send("GET /half HTTP/1.0\r\n\r\n");
    let old_head = old.head();
    assert_eq!(old.bytes(4), b"half");
    let mut new = proxy.client();
    new.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = new.head();
    assert_eq!(new.bytes(9), b"4\r\nhalf\r\n");
    for _ in 0..3 {
        has_begun.recv_timeout(PATIENCE).unwrap();
    }
    let report = proxy.server.close(millis(50));
    assert_eq!(
        (report.requests, report.connections),
        (Ends { finished: 0, cut: 3 }, Ends { finished: 1, cut: 3 })
    );
    let mut logs: Vec<_> = proxy.logs.try_iter().collect();
    logs.sort_by_key(|logged| logged.sent);
    assert_eq!(logs.len(), 3);
    for logged in &logs {
        assert_eq!((logged.code, logged.last), (Some(Code::ServerClosed), true));
    }
    assert_eq!((logs[0].status, logs[0].sent), (None, 0));
    assert_eq!(logs[1].sent, (old_head.len() + 4) as u64);
    assert_eq!(logs[2].sent, (head.len() + 9) as u64);
    assert!(logs.iter().all(|logged| logged.received > 20));
    waiting.ended();
    assert!(new.try_chunked().is_none());
    assert!(old.is_reset());
    drop(idle);
}

#[test]
fn a_drained_server_has_logged_everything() {
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let (asked, is_asked) = channel();
    let asked = Mutex::new(asked);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        asked.lock().unwrap().send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        wire.send(OK);
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    is_asked.recv_timeout(PATIENCE).unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    eventually("it drains", || proxy.server.shutdown().is_draining());
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "ok");
    drop(client);
    assert_eq!(closing.join().unwrap().requests.cut, 0);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.last), (None, true));
}

#[test]
fn a_log_line_stays_short_whatever_the_client_sends() {
    let proxy = Proxy::to(Origin::nowhere());
    let long = "x".repeat(15_000);
    proxy.client().ask(format!("M{long} /{long} HTTP/1.1\r\nHost: {long}\r\n\r\n"));
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.target.len()), (Some(Code::ConnectRefused), 15_001));
    let lines = proxy.lines.0.lock().unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].len() < 2000 && lines[0].contains("xxx..."), "{}", lines[0]);
}
