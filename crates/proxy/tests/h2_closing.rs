//! How a connection of HTTP/2 ends.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Instant;

use support::frames::*;
use support::h2_client::*;
use support::*;

fn answering(options: ProxyOptions) -> Proxy {
    Proxy::new(TestPhases::answering(Answer::plain(200)), options)
}

/// An origin that answers `hi` when it is told to.
fn waiting() -> (Origin, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let ((began, has_begun), (go, may_go)) = (channel(), channel());
    let (began, may_go) = (Mutex::new(began), Mutex::new(may_go));
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        began.lock().unwrap().send(()).unwrap();
        let _ = may_go.lock().unwrap().recv();
        wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    (origin, has_begun, go)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_finishes_the_streams_in_flight() {
    let (origin, has_begun, go) = waiting();
    let proxy = Proxy::to(origin.address);
    let mut client = H2Client::connect(proxy.address).await;
    let (response, _) = client.start(get("/"), true).await;
    has_begun.recv_timeout(PATIENCE).unwrap();
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    // GOAWAY has come when no new request can be sent.
    let mut send = client.send.clone();
    let refused = async {
        while send.clone().ready().await.is_ok() {
            let Ok((response, _)) = send.send_request(get("/late"), true) else { break };
            drop(response);
            tokio::time::sleep(millis(5)).await;
        }
    };
    soon(refused).await;
    go.send(()).unwrap();
    assert_eq!(Reply::read(response).await.unwrap().text(), "hi");
    drop(go);
    let start = Instant::now();
    closing.join().unwrap();
    assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
    soon(client.driver).await.unwrap().unwrap();
}

#[test]
fn a_server_that_drains_closes_idle_connections_at_once() {
    let proxy = answering(ProxyOptions::default());
    let mut fresh = Frames::connect(proxy.address);
    let mut used = Frames::connect(proxy.address);
    used.get(1, "/", &[]);
    used.until(Frames::DATA);
    fresh.until(Frames::WINDOW_UPDATE);
    let start = Instant::now();
    proxy.server.close(PATIENCE);
    assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
    for mut client in [fresh, used] {
        let goaway = client.until(Frames::GOAWAY);
        assert_eq!(goaway.code(), 0);
        let rest: Vec<_> = client.rest().iter().map(|frame| frame.kind).collect();
        assert_eq!(rest, [Frames::PING, Frames::GOAWAY]);
    }
}

#[test]
fn an_answer_that_is_cut_off_with_the_server_is_not_taken_for_whole() {
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\n\r\nsome");
        wire.ended();
    });
    for streams in [1, 2] {
        let proxy = Proxy::to(origin.address);
        let mut client = Frames::connect(proxy.address);
        for stream in 0..streams {
            client.get(2 * stream + 1, "/", &[]);
            client.until(Frames::DATA);
        }
        let closed = proxy.server.close(millis(20));
        assert_eq!((closed.requests.finished, closed.requests.cut), (0, u64::from(streams)));
        let rest = client.rest();
        assert!(rest.iter().all(|frame| frame.kind != Frames::DATA));
        assert_eq!(rest.last().map(Frame::code), Some(Frames::INTERNAL_ERROR));
        for _ in 0..streams {
            assert_eq!(proxy.logged().code, Some(Code::ServerClosed));
        }
    }
}

#[test]
fn requests_that_are_cut_off_with_the_server_are_logged() {
    let (began, has_begun) = channel();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |_| {
        began.send(()).unwrap();
        Box::pin(std::future::pending())
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.get(3, "/", &[]);
    for _ in 0..2 {
        has_begun.recv_timeout(PATIENCE).unwrap();
    }
    let logged = proxy.close();
    let codes: Vec<_> = logged.iter().map(|logged| (logged.code, logged.last)).collect();
    assert_eq!(codes, [(Some(Code::ServerClosed), true); 2]);
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may() {
    let options = ProxyOptions { max_requests_per_connection: 2, ..ProxyOptions::default() };
    let proxy = answering(options);
    let mut client = Frames::connect(proxy.address);
    for stream in [1, 3, 5] {
        client.get(stream, "/", &[]);
    }
    let frames = client.rest();
    let mut answered: Vec<u32> =
        frames.iter().filter(|frame| frame.kind == Frames::HEADERS).map(|f| f.stream).collect();
    answered.sort_unstable();
    assert_eq!(answered, [1, 3]);
    let refused = frames.iter().find(|frame| frame.kind == Frames::RST_STREAM);
    if let Some(refused) = refused {
        assert_eq!((refused.stream, refused.code()), (5, Frames::REFUSED_STREAM));
    }
    assert!(frames.iter().any(|frame| frame.kind == Frames::GOAWAY && frame.code() == 0));
    let lasts: Vec<_> = [proxy.logged(), proxy.logged()].map(|logged| logged.requests).into();
    assert_eq!(lasts.iter().sum::<u32>(), 3);
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let options = ProxyOptions { keep_alive_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = answering(options);
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/", &[]);
    client.until(Frames::DATA);
    let start = Instant::now();
    assert_eq!(client.until(Frames::GOAWAY).code(), 0);
    assert!(start.elapsed() > millis(50));
    assert_eq!(client.rest(), []);
}

#[test]
fn a_silent_client_is_asked_for_a_sign_of_life_and_closed_without_one() {
    let mut options = ProxyOptions::default();
    options.http2.ping_interval = Some(millis(100));
    options.http2.ping_timeout = millis(200);
    let proxy = Proxy::new(TestPhases::pending(), options);
    // With a stream open, and without one.
    for streams in [0, 1] {
        let mut client = Frames::connect(proxy.address);
        if streams > 0 {
            client.get(1, "/", &[]);
        }
        for _ in 0..3 {
            let ping = client.until(Frames::PING);
            assert_eq!(ping.flags, 0);
            client.send(Frames::PING, 1, 0, &ping.payload);
        }
        client.until(Frames::PING);
        client.until(Frames::GOAWAY);
        assert_eq!(client.rest(), []);
        eventually("it is closed", || proxy.counters().open() == 0);
    }
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
}

#[test]
fn pings_are_answered() {
    let proxy = answering(ProxyOptions::default());
    let mut client = Frames::connect(proxy.address);
    client.send(Frames::PING, 0, 0, b"12345678");
    let pong = client.until(Frames::PING);
    assert_eq!((pong.flags, &*pong.payload), (1, &b"12345678"[..]));
}

#[test]
fn a_request_that_panics_loses_its_stream_alone() {
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(|ex| {
        let panics = ex.request.path() == b"/panic";
        Box::pin(async move {
            assert!(!panics, "as it was told");
            Ok(Some(Answer::plain(200)))
        })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = Frames::connect(proxy.address);
    client.get(1, "/panic", &[]);
    let reset = client.until(Frames::RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (1, 2));
    client.get(3, "/", &[]);
    assert_eq!(client.until(Frames::HEADERS).stream, 3);
    assert_eq!(proxy.logged().code, Some(Code::Internal));
    eventually("it is counted", || proxy.counters().panicked() == 1);
    eventually("it is reported", || {
        proxy.lines.0.lock().unwrap().iter().any(|line| line.ends_with("panic: as it was told"))
    });
    assert_eq!(proxy.counters().open(), 1);
}
