//! Streams that end before their time, from either side.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;
use support::h2_client::*;
use support::*;

const MIB: usize = 1 << 20;

/// An origin that sends `first` once it has a head, and tells when it has been left.
fn left_behind(first: &'static str) -> (Origin, Receiver<()>, Receiver<usize>) {
    let ((began, has_begun), (left, is_left)) = (channel(), channel());
    let (began, left) = (Mutex::new(began), Mutex::new(left));
    let origin = Origin::new(move |_, mut wire| {
        if wire.try_head().is_none() {
            return;
        }
        wire.send(first);
        began.lock().unwrap().send(()).unwrap();
        let rest = wire.rest().len();
        left.lock().unwrap().send(rest).unwrap();
    });
    (origin, has_begun, is_left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_its_stream_cancels_the_request_at_each_point() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    for (first, upload, status) in
        [("", false, None), ("", true, None), (body, false, Some(200)), (body, true, Some(200))]
    {
        let (origin, has_begun, is_left) = left_behind(first);
        let proxy = Proxy::to(origin.address);
        let mut client = H2Client::connect(proxy.address).await;
        let (response, mut stream) = client.start(request("POST", "/", &[]), !upload).await;
        if upload {
            stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        }
        has_begun.recv_timeout(PATIENCE).unwrap();
        if !first.is_empty() {
            let mut body = soon(response).await.unwrap().into_body();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), "abc");
        }
        let since = Instant::now();
        stream.send_reset(Reason::CANCEL);
        is_left.recv_timeout(PATIENCE).unwrap();
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.status), (Some(Code::ClientAborted), status));
        assert_eq!((logged.source, logged.last), (Some(Source::Downstream), false));
        assert!(since.elapsed() < PATIENCE / 3, "{:?}", since.elapsed());
        // The connection goes on.
        let (response, _) = client.start(get("/"), true).await;
        has_begun.recv_timeout(PATIENCE).unwrap();
        drop(response);
        assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_a_pending_phase() {
    let (began, has_begun) = channel();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |_| {
        began.send(()).unwrap();
        Box::pin(std::future::pending())
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = H2Client::connect(proxy.address).await;
    let (_response, mut stream) = client.start(get("/"), true).await;
    has_begun.recv_timeout(PATIENCE).unwrap();
    stream.send_reset(Reason::CANCEL);
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    // So does the end of the connection.
    let (_response, _) = client.start(get("/"), true).await;
    has_begun.recv_timeout(PATIENCE).unwrap();
    client.driver.abort();
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    eventually("the connection is closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.close().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_stops_in_mid_body_is_a_reset_and_never_an_end() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx",
    ] {
        let origin = Origin::new(move |_, mut wire| {
            wire.head();
            wire.send(cut);
        });
        let proxy = Proxy::to(origin.address);
        let mut client = H2Client::connect(proxy.address).await;
        let (response, _) = client.start(get("/"), true).await;
        let response = soon(response).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "abc");
        let error = soon(body.data()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert!(proxy.logged().source == Some(Source::Upstream));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_fails_before_its_answer_is_a_502() {
    let proxy = Proxy::to(Origin::nowhere());
    let mut client = H2Client::connect(proxy.address).await;
    let reply = client.ask(get("/"), b"").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (502, "502 Bad Gateway\n"));
    assert_eq!(proxy.logged().code, Some(Code::ConnectRefused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_to_an_unfinished_upload_is_whole_and_ends_the_upload() {
    for (length, resets) in [(MIB, true), (10_000, false)] {
        let large = vec![b'y'; 300_000];
        let mut answer = Answer::new(403);
        answer.body = large.clone().into();
        let proxy = Proxy::new(TestPhases::answering(answer), ProxyOptions::default());
        let mut client = H2Client::connect(proxy.address).await;
        let (response, mut stream) = client.start(request("POST", "/", &[]), false).await;
        stream.send_data(vec![b'x'; length].into(), !resets).unwrap();
        let reply = Reply::read(response).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.body), (403, large));
        if resets {
            // More than is drained: the client is told to stop.
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx));
            assert_eq!(soon(reason).await.unwrap(), Reason::NO_ERROR);
        }
        assert_eq!(proxy.logged().code, None);
        assert_eq!(client.ask(get("/"), b"").await.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_of_an_origin_passes_while_the_upload_waits() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
        wire.rest();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = H2Client::connect(proxy.address).await;
    let (response, mut stream) = client.start(request("POST", "/", &[]), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let reply = Reply::read(response).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text()), (413, "no"));
    let reason = std::future::poll_fn(|cx| stream.poll_reset(cx));
    assert_eq!(soon(reason).await.unwrap(), Reason::NO_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_is_a_408() {
    let options = ProxyOptions { body_read_timeout: Some(millis(100)), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(Origin::echoes().address), options);
    let mut client = H2Client::connect(proxy.address).await;
    let (response, mut stream) = client.start(request("POST", "/", &[]), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(Reply::read(response).await.unwrap().status, 408);
    assert_eq!(proxy.logged().code, Some(Code::RequestTimeout));
    let reply = client.ask(request("POST", "/", &[]), b"hello").await;
    assert!(reply.text().ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_of_one_response_loses_that_stream_alone() {
    let body = "x".repeat(MIB);
    let origin = Origin::says(format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n{body}"));
    let options = ProxyOptions { write_timeout: Some(millis(200)), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 24);
    let mut client = H2Client::with(proxy.address, &builder).await;
    let (stalled, _) = client.start(get("/stalled"), true).await;
    let stalled = soon(stalled).await.unwrap();
    let logged = proxy.logged();
    assert_eq!((&*logged.target, logged.code), ("/stalled", Some(Code::WriteTimeout)));
    let error = Reply::body(&mut stalled.into_body()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(client.ask(get("/"), b"").await.body.len(), MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_runs_at_full_speed_beside_99_that_stall() {
    let body = "x".repeat(MIB);
    let origin = Origin::says(format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n{body}"));
    let proxy = Proxy::to(origin.address);
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 24);
    let mut client = H2Client::with(proxy.address, &builder).await;
    let mut stalled = Vec::new();
    for _ in 0..99 {
        stalled.push(client.start(get("/"), true).await.0);
    }
    for response in &mut stalled {
        soon(response).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(client.ask(get("/"), b"").await.body.len(), MIB);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_runs_at_full_speed_beside_99_that_stall() {
    let mut phases = TestPhases::to(Origin::echoes().address);
    phases.request_filter = Some(Box::new(|ex| {
        let stalls = ex.request.path() == b"/stalled";
        Box::pin(async move {
            if stalls {
                std::future::pending::<()>().await;
            }
            Ok(None)
        })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = H2Client::connect(proxy.address).await;
    let mut stalled = Vec::new();
    for _ in 0..99 {
        let (response, mut stream) = client.start(request("POST", "/stalled", &[]), false).await;
        stream.send_data(vec![b'x'; MIB].into(), false).unwrap();
        stalled.push((response, stream));
    }
    let start = Instant::now();
    let body = vec![b'y'; 2 * MIB];
    let reply = client.ask(request("POST", "/", &[]), &body).await;
    assert!(reply.body.ends_with(&body));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}
