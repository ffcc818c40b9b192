//! The time-outs at their default values, and the slowest rates, on a clock of the tests' own: it
//! moves on by itself whenever all wait.

#![allow(clippy::unwrap_used)]

#[path = "support/paused.rs"]
mod paused;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use paused::{serve, took};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn origin(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buf = [0; 1024];
        assert!(stream.read(&mut buf).await.unwrap() > 0);
        stream.write_all(answer).await.unwrap();
        stream
    });
    (address, task)
}

async fn status(client: &mut UnixStream) -> String {
    let mut buf = [0; 12];
    client.read_exact(&mut buf).await.unwrap();
    String::from_utf8(buf[9..].to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn ten_seconds_for_a_head_and_seventy_five_between_requests() {
    let (mut client, logs) = serve(TestPhases::answering(Answer::new(200)), Default::default());
    let start = Instant::now();
    client.write_all(GET).await.unwrap();
    let mut buf = [0; 1024];
    assert!(client.read(&mut buf).await.unwrap() > 0);
    assert_eq!(client.read(&mut buf).await.unwrap(), 0);
    took(start, 75);
    assert_eq!(logs.try_iter().count(), 1);

    for first in [true, false] {
        let phases = TestPhases::answering(Answer::new(200));
        let (mut client, _logs) = serve(phases, Default::default());
        if !first {
            client.write_all(GET).await.unwrap();
            assert!(client.read(&mut buf).await.unwrap() > 0);
            sleep(Duration::from_secs(60)).await;
        }
        let start = Instant::now();
        client.write_all(&GET[..9]).await.unwrap();
        assert_eq!(status(&mut client).await, "408");
        took(start, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_seconds_for_an_origin_to_say_something() {
    let (address, origin) = origin(b"").await;
    let (mut client, logs) = serve(TestPhases::to(address), Default::default());
    let start = Instant::now();
    client.write_all(GET).await.unwrap();
    assert_eq!(status(&mut client).await, "504");
    took(start, 60);
    assert_eq!(logs.recv().unwrap().code, Some(Code::ReadTimeout));
    drop(origin.await);
}

#[tokio::test(start_paused = true)]
async fn three_seconds_to_connect() {
    let (address, _full) = Origin::never_accepts();
    let (mut client, _logs) = serve(TestPhases::to(address), Default::default());
    let start = Instant::now();
    client.write_all(GET).await.unwrap();
    assert_eq!(status(&mut client).await, "504");
    took(start, 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_came_fast_may_pause_for_sixty_seconds() {
    let (address, origin) = origin(b"").await;
    let (mut client, _logs) = serve(TestPhases::to(address), Default::default());
    client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    client.write_all(&[b'x'; 50_000]).await.unwrap();
    let start = Instant::now();
    assert_eq!(status(&mut client).await, "408");
    took(start, 60);
    drop(origin.await);
}

#[tokio::test(start_paused = true)]
async fn a_body_slower_than_the_slowest_rate_is_a_408_and_a_faster_one_is_not() {
    for (bytes, seconds) in [(50, Some(10)), (90, Some(10)), (150, None)] {
        let (address, origin) = origin(b"").await;
        let (mut client, _logs) = serve(TestPhases::to(address), Default::default());
        let head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 15000\r\n\r\n";
        client.write_all(head).await.unwrap();
        let start = Instant::now();
        let (mut reader, mut writer) = client.into_split();
        let upload = tokio::spawn(async move {
            for _ in 0..100 {
                sleep(Duration::from_secs(1)).await;
                if writer.write_all(&vec![b'x'; bytes]).await.is_err() {
                    break;
                }
            }
            writer
        });
        let mut buf = [0; 12];
        reader.read_exact(&mut buf).await.unwrap();
        // The whole of it, and an origin that says nothing: its own time-out is next.
        let status = if seconds.is_some() { b"408" } else { b"504" };
        assert_eq!(&buf[9..], status, "{bytes}");
        took(start, seconds.unwrap_or(160));
        upload.abort();
        drop(origin.await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_taken_slower_than_the_slowest_rate_is_given_up_and_a_faster_one_is_not() {
    const SIZE: usize = 4 << 20;
    for rate in [1_000, 100_000] {
        let mut answer = Answer::new(200);
        answer.body = vec![b'x'; SIZE].into();
        let options = ProxyOptions {
            min_bytes_per_second: 10_000,
            write_timeout: None,
            ..ProxyOptions::default()
        };
        let (mut client, logs) = serve(TestPhases::answering(answer), options);
        client.write_all(GET).await.unwrap();
        let mut buf = vec![0; rate];
        let mut total = 0;
        loop {
            match client.read(&mut buf).await {
                Ok(count) if count > 0 => total += count,
                _ => break,
            }
            if total >= SIZE {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        let code = logs.recv().unwrap().code;
        assert_eq!(code, (rate == 1_000).then_some(Code::WriteTimeout), "{rate}");
        assert_eq!(total >= SIZE, rate == 100_000, "{total}");
    }
}

#[tokio::test(start_paused = true)]
async fn times_without_an_end_have_none() {
    let forever = Some(Duration::MAX);
    let options = ProxyOptions {
        request_header_timeout: forever,
        keep_alive_timeout: forever,
        body_read_timeout: forever,
        write_timeout: forever,
        request_timeout: forever,
        try_timeout: forever,
        ..ProxyOptions::default()
    };
    let (address, origin) = origin(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let peer_options = PeerOptions {
        connect_timeout: forever,
        total_connect_timeout: forever,
        read_timeout: forever,
        write_timeout: forever,
        idle_timeout: Duration::MAX,
        ..PeerOptions::default()
    };
    let (mut client, _logs) = serve(TestPhases::with(vec![peer(address, peer_options)]), options);
    sleep(Duration::from_secs(1_000)).await;
    client.write_all(&GET[..9]).await.unwrap();
    sleep(Duration::from_secs(1_000)).await;
    client.write_all(&GET[9..]).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    drop(origin.await);
}
