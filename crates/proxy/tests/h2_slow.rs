//! Clients of HTTP/2 that take their answers slowly, or not at all, by windows and by the socket.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use millrace_error::NoLog;
use millrace_proxy::HttpProxy;
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use support::frames::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn answering(size: usize, options: ProxyOptions) -> Proxy {
    let mut answer = Answer::plain(200);
    answer.body = vec![b'y'; size].into();
    Proxy::new(TestPhases::answering(answer), options)
}

fn with_write_timeout(limit: u64) -> ProxyOptions {
    let mut options =
        ProxyOptions { write_timeout: Some(millis(limit)), ..ProxyOptions::default() };
    // It is not for its silence that a client has to go here.
    options.http2.ping_interval = None;
    options
}

/// Opens the window of the connection, for more than is ever sent.
fn open_wide(client: &mut Frames) {
    client.send(Frames::WINDOW_UPDATE, 0, 0, &0x3fff_ffff_u32.to_be_bytes());
}

/// A client with a hundred answers to come. All of them are with `h2`, which cannot write them yet.
fn a_hundred_answers(proxy: &Proxy) -> Frames {
    let mut client = Frames::connect(proxy.address);
    open_wide(&mut client);
    for n in 0..100 {
        client.get(2 * n + 1, "/", &[]);
    }
    for _ in 0..100 {
        assert_eq!(proxy.logged().code, None);
    }
    client
}

#[test]
fn a_window_that_was_made_smaller_behind_an_answer_does_not_hold_it_for_ever() {
    let proxy = answering(60_000, with_write_timeout(300));
    let mut client = a_hundred_answers(&proxy);
    client.send(Frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    // What the sockets hold is read, and then nothing more may come.
    let mut ended = 0;
    while let Some(frame) = client.try_next() {
        ended += u32::from(frame.kind == Frames::DATA && frame.flags & 1 != 0);
        if frame.kind == Frames::GOAWAY {
            assert_eq!(frame.code(), 0);
        }
    }
    assert!(ended < 100, "nothing was held back");
    let logged = proxy.logged();
    assert_eq!((logged.code, &*logged.target), (Some(Code::WriteTimeout), "-"));
    eventually("it is closed", || proxy.counters().open() == 0);
}

#[test]
fn a_client_that_takes_its_answers_slowly_and_steadily_gets_them() {
    // Each takes longer than the time-out in all, as they come side by side.
    let proxy = answering(60_000, with_write_timeout(500));
    let mut client = a_hundred_answers(&proxy);
    let (start, mut ended, mut bytes) = (Instant::now(), 0, 0);
    while ended < 100 {
        let frame = client.try_next().unwrap();
        bytes += frame.payload.len();
        ended += u32::from(frame.kind == Frames::DATA && frame.flags & 1 != 0);
        let due = millis(1500).mul_f64(bytes as f64 / 6_000_000.0);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    assert!(start.elapsed() > millis(1000));
    assert_eq!(proxy.counters().open(), 1);
}

/// The next frame, and its payload.
async fn next(client: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    client.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    client.read_exact(&mut payload).await.unwrap();
    (head[3], payload)
}

/// Ten seconds of waiting are given to each client before its rate counts: the clock runs ahead.
#[tokio::test(start_paused = true)]
async fn a_window_that_grows_by_a_byte_at_a_time_is_not_progress_enough() {
    let (log, logs) = channel();
    let mut answer = Answer::plain(200);
    answer.body = vec![b'y'; 100_000].into();
    let mut phases = TestPhases::answering(answer);
    phases.log = Some(log);
    let app = HttpProxy::new(phases, ProxyOptions::default(), 1, Arc::new(NoLog));
    let (mut client, server) = UnixStream::pair().unwrap();
    let stream = Stream::Unix(server);
    let address = stream.local_address().unwrap();
    let conn = ConnInfo {
        id: 1,
        local: address.clone(),
        remote: address,
        runtime: 0,
        accepted: tokio::time::Instant::now(),
        tls: None,
        counters: Arc::default(),
    };
    tokio::spawn(async move {
        let (_trigger, shutdown) = Shutdown::new();
        Arc::new(app).process_new(stream, &conn, &shutdown).await;
    });
    let settings = frame(Frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let request = frame(Frames::HEADERS, 5, 1, &fields_block(&fields));
    client.write_all(&[PREFACE, &settings, &request].concat()).await.unwrap();
    while next(&mut client).await.0 != Frames::HEADERS {}
    let start = tokio::time::Instant::now();
    let code = loop {
        let window = frame(Frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        client.write_all(&window).await.unwrap();
        match next(&mut client).await {
            (Frames::DATA, payload) => assert_eq!(payload.len(), 1),
            (Frames::RST_STREAM, code) => break code,
            _ => {}
        }
        tokio::time::sleep(millis(100)).await;
    };
    assert_eq!(code, Frames::CANCEL.to_be_bytes());
    let waited = start.elapsed().as_secs();
    assert!((8..13).contains(&waited), "{waited}");
    assert_eq!(logs.recv().unwrap().code, Some(Code::WriteTimeout));
}
