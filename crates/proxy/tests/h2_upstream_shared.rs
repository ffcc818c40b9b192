//! Clients that share connections to origins.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_frames.rs"]
mod h2_frames;
#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use h2_frames::*;
use h2_origin::*;
use http::Response;
use socket2::{Domain, Socket, Type};
use support::*;
use tokio::sync::Semaphore;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that answers when told so, with the number of the connection.
fn gated(builder: h2::server::Builder) -> (H2Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let gates = gate.clone();
    let origin = H2Origin::with(builder, move |mut call| {
        let gate = gates.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            call.answer(200, call.connection.to_string()).await;
        }
    });
    (origin, gate)
}

#[test]
fn pingora_line_14_fifty_requests_of_fifty_clients_share_one_connection() {
    let (origin, gate) = gated(h2::server::Builder::new());
    let proxy = proxy_to(origin.address);
    for round in 1..=2 {
        let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| client.send(GET));
        eventually("all are under way", || origin.requests() == 50 * round);
        gate.add_permits(50);
        for client in &mut clients {
            assert_eq!(client.response().text(), "0");
        }
    }
    assert_eq!(origin.connections(), 1);
    eventually("the connection is idle", || proxy.pool().idle == 1);
    let stats = proxy.pool();
    assert_eq!((stats.open, stats.created, stats.reused), (1, 1, 99));
}

#[test]
fn more_connections_are_opened_beyond_the_origins_own_limit() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(10);
    let (origin, gate) = gated(builder);
    let proxy = proxy_to(origin.address);
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    eventually("all are under way", || origin.requests() == 50);
    gate.add_permits(50);
    let mut on = [0; 50];
    for client in &mut clients {
        on[client.response().text().parse::<usize>().unwrap()] += 1;
    }
    assert!(on.iter().all(|&count| count <= 10), "{on:?}");
    // Five would do; how many wait for the same one is a guess until its limit is known.
    assert!((5..=10).contains(&origin.connections()), "{}", origin.connections());
    for _ in 0..50 {
        assert_eq!(proxy.logged().attempt, 1);
    }
}

#[test]
fn our_own_limit_holds_too() {
    let (origin, gate) = gated(h2::server::Builder::new());
    let options = PeerOptions { h2_max_streams: 4, ..PeerOptions::default() };
    let peers = vec![h2_peer(origin.address, options)];
    let proxy = Proxy::new(TestPhases::with(peers), ProxyOptions::default());
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    eventually("all are under way", || origin.requests() == 12);
    assert_eq!(origin.connections(), 3);
    gate.add_permits(12);
    clients.iter_mut().for_each(|client| _ = client.response());
}

#[test]
fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (origin, gate) = gated(h2::server::Builder::new());
    let proxy = proxy_to(origin.address);
    let (mut one, mut two) = (proxy.client(), proxy.client());
    one.send(GET);
    eventually("the first is under way", || origin.requests() == 1);
    two.send(GET);
    eventually("both are under way", || origin.requests() == 2);
    drop(two);
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    // The origin may still be busy with the one that was reset.
    gate.add_permits(3);
    assert_eq!(one.response().text(), "0");
    assert_eq!(one.ask(GET).status, 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn the_stream_of_a_client_that_leaves_is_cancelled() {
    let (reset, was_reset) = channel();
    let reset = Mutex::new(reset);
    let origin = Origin::new(move |_, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        frames.answer(stream, 0, 200, &[]);
        let frame = frames.find(Frames::RST_STREAM).unwrap();
        reset.lock().unwrap().send((frame.stream == stream, frame.payload)).unwrap();
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    client.head();
    drop(client);
    let (same, reason) = was_reset.recv_timeout(PATIENCE).unwrap();
    assert!(same && reason == 8_u32.to_be_bytes());
}

/// A client that takes next to nothing unless it is asked to.
fn slow_client(proxy: &Proxy) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(&proxy.address.into()).unwrap();
    Wire::new(TcpStream::from(socket))
}

#[test]
fn ninety_nine_stalled_clients_slow_down_nobody_and_hold_a_bounded_amount() {
    const SIZE: usize = 64 * 1024 * 1024;
    const STALLED: usize = 99;
    let sent = Arc::<AtomicUsize>::default();
    let count = sent.clone();
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(200);
    let origin = H2Origin::with(builder, move |mut call| {
        let count = count.clone();
        async move {
            if call.request.uri().path() == "/fast" {
                return call.answer(200, vec![b'f'; 8 * 1024 * 1024]).await;
            }
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..SIZE / 16_384 {
                send_all(&mut stream, Bytes::from_static(&[b's'; 16_384]), false).await;
                count.fetch_add(16_384, Ordering::SeqCst);
            }
        }
    });
    let options = ProxyOptions { min_bytes_per_second: 0, ..ProxyOptions::default() };
    let proxy = Proxy::new(phases_to(origin.address), options);
    let mut stalled: Vec<_> = (0..STALLED).map(|_| slow_client(&proxy)).collect();
    for client in &mut stalled {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("all are under way", || origin.requests() == STALLED);
    // Until nothing moves any more.
    let mut before = usize::MAX;
    eventually("all are stalled", || {
        std::thread::sleep(millis(100));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now
    });
    let start = Instant::now();
    let mut fast = proxy.client();
    let response = fast.ask("GET /fast HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.body.len(), 8 * 1024 * 1024);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(origin.connections(), 1);
    // The windows, and what the system's own buffers hold of each client's connection.
    let each = sent.load(Ordering::SeqCst) / STALLED;
    assert!(each < 4 * 1024 * 1024, "{each}");
    assert_eq!(proxy.pool().open, 1);
}

#[test]
fn a_stalled_upload_does_not_hold_up_another_on_the_same_connection() {
    let origin = H2Origin::new(|mut call| async move {
        if call.request.uri().path() == "/stalled" {
            return std::future::pending().await;
        }
        let (body, _) = call.body().await;
        call.answer(200, body.len().to_string()).await;
    });
    let proxy = proxy_to(origin.address);
    let mut stalled = proxy.client();
    // More than the stream's window takes, but not all of the connection's.
    stalled.send("POST /stalled HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    stalled.send(vec![b'x'; 30_000]);
    eventually("it is under way", || origin.requests() == 1);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 1_000_000]);
    assert_eq!(client.response().text(), "1000000");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn each_runtime_has_its_own_connections() {
    let (origin, gate) = gated(h2::server::Builder::new());
    let proxy = Proxy::threads(phases_to(origin.address), ProxyOptions::default(), 3);
    gate.add_permits(1_000);
    let mut clients: Vec<_> = (0..60).map(|_| proxy.client()).collect();
    for _ in 0..5 {
        clients.iter_mut().for_each(|client| client.send(GET));
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
    assert!(origin.connections() <= 3, "{}", origin.connections());
}
