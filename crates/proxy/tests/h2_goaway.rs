//! How a connection of HTTP/2 is wound up with its server: so that no request is lost (RFC 9113
//! §6.8).

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use support::frames::*;
use support::*;

/// A proxy whose requests begin, which is told, and are answered when they may go on.
fn waiting() -> (Proxy, Receiver<String>, Sender<()>) {
    let ((tell, told), (go, may_go)) = (channel(), channel());
    let (tell, may_go) = (Mutex::new(tell), Mutex::new(may_go));
    let origin = Origin::new(move |_, mut wire| {
        while let Some(head) = wire.try_head() {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            tell.lock().unwrap().send(path).unwrap();
            let _ = may_go.lock().unwrap().recv();
            wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    (Proxy::to(origin.address), told, go)
}

/// The last stream that a GOAWAY says may have been seen.
fn last_stream(goaway: &Frame) -> u32 {
    assert_eq!((goaway.kind, goaway.code()), (Frames::GOAWAY, 0));
    u32::from_be_bytes(goaway.payload[..4].try_into().unwrap())
}

#[test]
fn a_server_that_drains_says_so_first_and_names_the_last_stream_a_round_trip_later() {
    let (proxy, told, go) = waiting();
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/1", &[]);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "/1");
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(Duration::from_secs(20)));
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), (1 << 31) - 1);
    let ping = client.until(Frames::PING);
    // A request that was on its way is served like any other.
    client.get(3, "/3", &[]);
    client.send(Frames::PING, 1, 0, &ping.payload);
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), 3);
    // One that comes later is not: its client knows, and sends it elsewhere.
    client.get(5, "/5", &[]);
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let rest = client.rest();
    let mut answered: Vec<_> =
        rest.iter().filter(|frame| frame.payload == b"hi").map(|frame| frame.stream).collect();
    answered.sort_unstable();
    assert_eq!(answered, [1, 3]);
    closing.join().unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["/3"]);
    let logged: Vec<_> = proxy.logs.try_iter().map(|logged| (logged.code, logged.last)).collect();
    assert_eq!(logged, [(None, true); 2]);
}

#[test]
fn a_client_that_says_nothing_to_it_is_served_to_its_end_all_the_same() {
    let (proxy, told, go) = waiting();
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/1", &[]);
    told.recv_timeout(PATIENCE).unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(Duration::from_secs(20)));
    client.until(Frames::GOAWAY);
    go.send(()).unwrap();
    let rest = client.rest();
    assert!(rest.iter().any(|frame| frame.payload == b"hi"));
    closing.join().unwrap();
    assert_eq!(proxy.logged().code, None);
}

#[test]
fn the_grace_of_the_server_is_all_there_is() {
    let (proxy, told, _go) = waiting();
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/1", &[]);
    told.recv_timeout(PATIENCE).unwrap();
    let start = std::time::Instant::now();
    proxy.server.close(millis(300));
    assert!(start.elapsed() >= millis(300), "{:?}", start.elapsed());
    client.until(Frames::GOAWAY);
    client.rest();
    assert_eq!(proxy.logged().code, Some(Code::ServerClosed));
    assert_eq!(proxy.counters().requests().cut, 1);
}

#[test]
fn the_last_request_of_a_connection_winds_it_up_alike() {
    let (begun, has_begun) = channel();
    let mut phases = TestPhases::with(Vec::new());
    let (go, may_go) = tokio::sync::watch::channel(false);
    phases.request_filter = Some(Box::new(move |_| {
        begun.send(()).unwrap();
        let mut may_go = may_go.clone();
        Box::pin(async move {
            may_go.wait_for(|go| *go).await.unwrap();
            Ok(Some(Answer::plain(200)))
        })
    }));
    let options = ProxyOptions { max_requests_per_connection: 2, ..ProxyOptions::default() };
    let proxy = Proxy::new(phases, options);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.get(3, "/", &[]);
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), (1 << 31) - 1);
    let ping = client.until(Frames::PING);
    // What was on its way is refused, which is as good as never sent.
    client.get(5, "/", &[]);
    let reset = client.until(Frames::RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (5, Frames::REFUSED_STREAM));
    client.send(Frames::PING, 1, 0, &ping.payload);
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), 5);
    for _ in 0..2 {
        has_begun.recv_timeout(PATIENCE).unwrap();
    }
    go.send(true).unwrap();
    let heads = client.rest().iter().filter(|frame| frame.kind == Frames::HEADERS).count();
    assert_eq!(heads, 2);
}

#[test]
fn an_idle_connection_is_told_that_nothing_was_lost() {
    let options = ProxyOptions { keep_alive_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), options);
    let mut fresh = Frames::connect(proxy.address);
    assert_eq!(last_stream(&fresh.until(Frames::GOAWAY)), 0);
    let mut used = Frames::connect(proxy.address);
    used.get(7, "/", &[]);
    assert_eq!(last_stream(&used.until(Frames::GOAWAY)), 7);
    assert_eq!(used.rest(), []);
}

#[test]
fn a_connection_with_a_request_is_not_idle() {
    let (begun, has_begun) = channel();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |_| {
        begun.send(()).unwrap();
        Box::pin(async move {
            tokio::time::sleep(millis(300)).await;
            Ok(Some(Answer::plain(200)))
        })
    }));
    let options = ProxyOptions { keep_alive_timeout: Some(millis(50)), ..ProxyOptions::default() };
    let proxy = Proxy::new(phases, options);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    has_begun.recv_timeout(PATIENCE).unwrap();
    let frames = client.rest();
    let head = frames.iter().position(|frame| frame.kind == Frames::HEADERS).unwrap();
    let goaway = frames.iter().position(|frame| frame.kind == Frames::GOAWAY).unwrap();
    assert!(head < goaway);
    assert_eq!(proxy.logged().code, None);
}

#[test]
fn a_request_on_its_way_to_an_idle_connection_is_served_while_the_server_drains() {
    let proxy = Proxy::to(Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").address);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.until(Frames::DATA);
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(Duration::from_secs(20)));
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), (1 << 31) - 1);
    let ping = client.until(Frames::PING);
    client.get(3, "/", &[]);
    client.send(Frames::PING, 1, 0, &ping.payload);
    assert_eq!(last_stream(&client.until(Frames::GOAWAY)), 3);
    let rest = client.rest();
    assert!(rest.iter().any(|frame| frame.stream == 3 && frame.payload == b"ok"));
    drop(client);
    assert_eq!(closing.join().unwrap().requests, Ends { finished: 1, cut: 0 });
}
