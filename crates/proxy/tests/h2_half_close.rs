//! Clients of HTTP/2 that end their side of the connection and wait for what is still to come.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use support::frames::*;
use support::*;

/// An origin that tells that it has a head, waits to be told to go on, and answers; or tells that it
/// was left.
fn waiting() -> (Origin, Receiver<&'static str>, Sender<()>) {
    let ((tell, told), (go, may_go)) = (channel(), channel());
    let (tell, may_go) = (Mutex::new(tell), Mutex::new(may_go));
    let origin = Origin::new(move |_, mut wire| {
        if wire.try_head().is_none() {
            return;
        }
        tell.lock().unwrap().send("began").unwrap();
        if may_go.lock().unwrap().recv().is_ok() {
            wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
        wire.rest();
        let _ = tell.lock().unwrap().send("left");
    });
    (origin, told, go)
}

fn half_close() -> ProxyOptions {
    ProxyOptions { half_close: true, ..ProxyOptions::default() }
}

#[test]
fn answers_reach_a_client_that_has_ended_its_side() {
    let (origin, told, go) = waiting();
    let mut options = half_close();
    // It cannot answer a ping any more, which is no reason to give it up.
    options.http2.ping_interval = Some(millis(20));
    options.http2.ping_timeout = millis(20);
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.get(3, "/", &[]);
    client.wire.end_sending();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    }
    // Longer than the pings would have let it live.
    std::thread::sleep(millis(100));
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let frames = client.rest();
    let bodies = frames.iter().filter(|frame| frame.payload == b"hi").count();
    assert_eq!(bodies, 2, "{frames:?}");
    let goaway = frames.iter().find(|frame| frame.kind == Frames::GOAWAY).unwrap();
    assert_eq!(goaway.code(), 0);
    for _ in 0..2 {
        assert_eq!(proxy.logged().code, None);
    }
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn without_the_option_the_client_has_left() {
    let (origin, told, _go) = waiting();
    let proxy = Proxy::to(origin.address);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    client.wire.end_sending();
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn a_body_that_cannot_come_any_more_is_given_up_at_once_and_alone() {
    let (origin, told, go) = waiting();
    let proxy = Proxy::new(TestPhases::to(origin.address), half_close());
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/whole", &[]);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    client.post(3, "/part", &[]);
    client.send(Frames::DATA, 0, 3, b"hello");
    assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    client.wire.end_sending();
    let logged = proxy.logged();
    assert_eq!((&*logged.target, logged.code), ("/part", Some(Code::ClientAborted)));
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(client.until(Frames::DATA).payload, b"hi");
    let logged = proxy.logged();
    assert_eq!((&*logged.target, logged.code), ("/whole", None));
    client.rest();
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn a_connection_without_requests_ends_with_the_client_s_side() {
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), half_close());
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.until(Frames::DATA);
    client.wire.end_sending();
    client.rest();
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn over_tls_it_is_the_same() {
    let certs = Certs::new();
    let (origin, told, go) = waiting();
    let phases = TestPhases::to(origin.address);
    let proxy = Proxy::secure(phases, half_close(), &certs.server(|_| {}));
    let wire = certs.client("a.test", None, &["h2"]).over(Wire::connect(proxy.address));
    let mut client = Frames { wire };
    client.wire.send([PREFACE, &frame(Frames::SETTINGS, 0, 0, &[])].concat());
    client.get(1, "/", &[]);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    client.wire.secure().goodbye();
    go.send(()).unwrap();
    assert_eq!(client.until(Frames::DATA).payload, b"hi");
    assert_eq!(proxy.logged().code, None);
    client.rest();
    eventually("it is closed", || proxy.counters().open() == 0);
}
