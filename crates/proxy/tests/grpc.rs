//! What gRPC asks of a proxy beside HTTP/2: streams whose pauses are in their nature, and answers
//! that are nothing but trailers. On a clock of the tests' own.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/paused.rs"]
mod paused;
mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use h2_origin::{Call, Link, phases_to, send_all};
use http::{HeaderMap, Request, Response};
use paused::{serve, took};
use support::*;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

const GRPC: &str = "application/grpc";
const MESSAGE: Bytes = Bytes::from_static(&[0, 0, 0, 0, 0]);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// An origin on this runtime, for one connection.
async fn origin<F: Future<Output = ()> + Send + 'static>(
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // The system's clock does not move on with the test's.
        stream.set_nodelay(true).unwrap();
        let stream = stream.into_std().unwrap();
        let link = Link::new(stream.try_clone().unwrap());
        let stream = TcpStream::from_std(stream).unwrap();
        let mut server = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, respond))) = server.accept().await {
            let link = link.clone();
            tokio::spawn(handler(Call { connection: 0, number: 0, request, respond, link }));
        }
    });
    address
}

/// A call to it through a proxy with all its defaults.
async fn call(
    origin: SocketAddr,
    content_type: &str,
) -> (ResponseFuture, SendStream<Bytes>, Receiver<Logged>) {
    let (client, logs) = serve(phases_to(origin), ProxyOptions::default());
    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/service/Method")
        .header("content-type", content_type)
        .header("te", "trailers");
    let (response, stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    (response, stream, logs)
}

/// Answers with a message every 45 seconds, five times, and then with nothing.
async fn speaks_for_a_while(call: &mut Call) {
    let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
    for _ in 0..5 {
        sleep(seconds(45)).await;
        send_all(&mut stream, MESSAGE, false).await;
    }
    std::future::pending().await
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
}

/// The body's size and its trailers.
async fn all_of(mut body: RecvStream) -> Result<(usize, HeaderMap), h2::Error> {
    let mut size = 0;
    while let Some(data) = body.data().await {
        size += data?.len();
    }
    Ok((size, body.trailers().await?.unwrap_or_default()))
}

#[tokio::test(start_paused = true)]
async fn a_client_of_grpc_may_say_little_and_any_other_is_too_slow() {
    for content_type in
        [GRPC, "application/grpc+proto", "application/grpc;x=y", "application/grpcx"]
    {
        let origin = origin(|mut call| async move {
            let (body, _) = call.body().await;
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            send_all(&mut stream, body.into(), false).await;
            let _ = stream.send_trailers(status("0"));
        });
        let (response, mut stream, logs) = call(origin.await, content_type).await;
        let start = Instant::now();
        tokio::spawn(async move {
            for _ in 0..10 {
                sleep(seconds(30)).await;
                if stream.send_data(MESSAGE, false).is_err() {
                    return;
                }
            }
            let _ = stream.send_data(Bytes::new(), true);
        });
        let response = response.await.unwrap();
        if content_type == "application/grpcx" {
            took(start, 10);
            assert_eq!(response.status(), 408);
            assert_eq!(logs.recv().unwrap().code, Some(Code::RequestTimeout));
            continue;
        }
        took(start, 300);
        let expected = (50, status("0"));
        assert_eq!(all_of(response.into_body()).await.unwrap(), expected, "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_listens_may_be_silent_for_as_long_as_the_origin_is_not() {
    let origin = origin(|mut call| async move { speaks_for_a_while(&mut call).await });
    let (response, mut stream, logs) = call(origin.await, GRPC).await;
    stream.send_data(MESSAGE, false).unwrap();
    let start = Instant::now();
    let mut body = response.await.unwrap().into_body();
    for _ in 0..5 {
        assert_eq!(body.data().await.unwrap().unwrap(), MESSAGE);
    }
    took(start, 5 * 45);
    // Then neither says anything.
    let ended = body.data().await.unwrap().unwrap_err();
    took(start, 5 * 45 + 60);
    assert_eq!(ended.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(logs.recv().unwrap().code, Some(Code::RequestTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_only_the_origin_may_speak_on_waits_sixty_seconds_for_it() {
    let origin = origin(|mut call| async move {
        let (_, _) = call.body().await;
        speaks_for_a_while(&mut call).await
    });
    let (response, mut stream, logs) = call(origin.await, GRPC).await;
    stream.send_data(MESSAGE, true).unwrap();
    let start = Instant::now();
    let body = response.await.unwrap().into_body();
    all_of(body).await.unwrap_err();
    took(start, 5 * 45 + 60);
    assert_eq!(logs.recv().unwrap().code, Some(Code::ReadTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_trailers_only_stays_one_and_gets_no_length() {
    // A call may be refused before all of it has come.
    for is_whole in [true, false] {
        let origin = origin(|mut call| async move {
            let _ = call.request.body_mut().data().await;
            let mut response = Response::new(());
            response.headers_mut().extend(status("5"));
            response.headers_mut().insert("content-type", GRPC.parse().unwrap());
            let _ = call.respond.send_response(response, true);
        });
        let (response, mut stream, _logs) = call(origin.await, GRPC).await;
        stream.send_data(MESSAGE, is_whole).unwrap();
        let response = response.await.unwrap();
        // END_STREAM came with it: there is no empty DATA frame.
        assert!(response.body().is_end_stream(), "{is_whole}");
        let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["grpc-status", "content-type", "date"]);
    }
}

/// A deadline ends a stream on both sides at once, and clients tell it by the origin's CANCEL.
#[tokio::test(start_paused = true)]
async fn a_stream_of_grpc_that_the_origin_cancels_is_cancelled() {
    for (content_type, has_head) in [(GRPC, false), (GRPC, true), ("a/b", false), ("a/b", true)] {
        let origin = origin(move |mut call| async move {
            let _ = call.request.body_mut().data().await;
            if !has_head {
                return call.respond.send_reset(Reason::CANCEL);
            }
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            send_all(&mut stream, MESSAGE, false).await;
            sleep(seconds(1)).await;
            stream.send_reset(Reason::CANCEL);
        });
        let (response, mut stream, logs) = call(origin.await, content_type).await;
        stream.send_data(MESSAGE, false).unwrap();
        let reason = match response.await {
            Ok(response) if response.status() == 502 => None,
            Ok(response) => all_of(response.into_body()).await.unwrap_err().reason(),
            Err(error) => error.reason(),
        };
        let expected = match (content_type, has_head) {
            (GRPC, _) => Some(Reason::CANCEL),
            (_, true) => Some(Reason::INTERNAL_ERROR),
            (_, false) => None,
        };
        assert_eq!(reason, expected, "{content_type} {has_head}");
        assert_eq!(logs.recv().unwrap().code, Some(Code::UpstreamClosed));
    }
}
