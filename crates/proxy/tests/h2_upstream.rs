//! Bodies, trailers and answers of origins that speak HTTP/2, to clients of HTTP/1.1.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_frames.rs"]
mod h2_frames;
#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use std::sync::mpsc::channel;

use bytes::Bytes;
use h2_frames::*;
use h2_origin::*;
use http::{HeaderMap, Response};
use support::*;

#[test]
fn bodies_of_known_and_unknown_length_and_trailers_go_up() {
    let origin = echoes();
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    let known = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(known.text(), "POST http a /\ncontent-length: 5\n\nhello");
    let empty = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(empty.text(), "POST http a /\ncontent-length: 0\n\n");
    let chunked = client.ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\nContent-Length: 3\r\n\r\n",
    );
    assert_eq!(chunked.text(), "POST http a /\nx-end: 1\n\nabcde");
}

#[test]
fn megabytes_go_both_ways_through_small_windows() {
    const SIZE: usize = 3 * 1024 * 1024 / 2;
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(4_000).initial_connection_window_size(70_000);
    let origin = H2Origin::with(builder, |mut call| async move {
        let (body, _) = call.body().await;
        call.answer(200, body).await;
    });
    let proxy = proxy_to(origin.address);
    let body: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.send(&body);
        let response = client.response();
        assert_eq!(response.field("content-length"), Some(SIZE.to_string().as_str()));
        assert!(response.body == body);
        assert_eq!(proxy.logged().code, None);
    }
}

#[test]
fn trailers_come_down_to_a_client_that_takes_them() {
    let origin = H2Origin::new(|mut call| async move {
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"body"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("content-length", "9".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    let with = client.ask("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!((with.text(), with.trailers.as_str()), ("body", "grpc-status: 0\r\n"));
    let without = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((without.text(), without.trailers.as_str()), ("body", ""));
}

#[test]
fn an_answer_of_trailers_only_is_an_answer() {
    let origin = Origin::new(|_, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        frames.answer(stream, Frames::END_STREAM, 200, &[("grpc-status", "5")]);
        frames.drain();
    });
    let response = proxy_to(origin.address).client().ask("POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.field("grpc-status")), (200, Some("5")));
    assert_eq!(response.field("content-length"), Some("0"));
}

#[test]
fn answers_without_a_body_have_none_whatever_their_length_says() {
    let origin = Origin::new(|_, wire| {
        let mut frames = Frames::accept(wire);
        for (status, split) in [(200, false), (204, false), (304, true), (200, true)] {
            let stream = frames.request();
            let end = if split { 0 } else { Frames::END_STREAM };
            let fields: &[_] = if status == 204 { &[] } else { &[("content-length", "42")] };
            frames.answer(stream, end, status, fields);
            if split {
                frames.try_send(Frames::DATA, Frames::END_STREAM, stream, []);
            }
        }
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    for (method, status, length) in [
        ("HEAD", 200, Some("42")),
        ("GET", 204, None),
        ("GET", 304, Some("42")),
        ("HEAD", 200, Some("42")),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response_to(method).unwrap();
        assert_eq!((response.status, response.field("content-length")), (status, length));
        assert_eq!(proxy.logged().code, None, "{method} {status}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn interim_answers_are_passed_on_in_order() {
    let origin = Origin::new(|_, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        // All in one piece, so that none may hide another.
        frames.answer(stream, 0, 103, &[("link", "</a>")]);
        frames.answer(stream, 0, 103, &[("link", "</b>")]);
        frames.answer(stream, 0, 200, &[]);
        frames.try_send(Frames::DATA, Frames::END_STREAM, stream, b"done");
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    let first = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((first.status, first.field("link")), (103, Some("</a>")));
    assert_eq!(client.response().field("link"), Some("</b>"));
    assert_eq!(client.response().text(), "done");
}

#[test]
fn a_continue_of_the_origin_asks_the_client_for_the_body() {
    let origin = Origin::new(|_, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        frames.answer(stream, 0, 100, &[]);
        assert_eq!(frames.find(Frames::DATA).unwrap().payload, b"hello");
        frames.answer(stream, Frames::END_STREAM, 204, &[]);
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    let go_on = client
        .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(go_on.status, 100);
    assert_eq!(client.ask("hello").status, 204);
}

#[test]
fn an_early_answer_ends_an_upload_and_only_its_stream() {
    let (reset, was_reset) = channel();
    let origin = H2Origin::new(move |mut call| {
        let reset = reset.clone();
        async move {
            call.answer(413, "no").await;
            // The request's body goes on being read, to see how it ends.
            let mut body = call.request.into_body();
            while let Some(data) = body.data().await {
                match data {
                    Ok(data) => _ = body.flow_control().release_capacity(data.len()),
                    Err(error) => return reset.send(error.reason()).unwrap(),
                }
            }
        }
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello");
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "no"));
    assert_eq!(was_reset.recv_timeout(PATIENCE).unwrap(), Some(h2::Reason::CANCEL));
    assert_eq!(proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 413);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_complete_answer_followed_by_a_reset_without_error_is_a_success() {
    let origin = Origin::new(|_, wire| {
        let mut frames = Frames::accept(wire);
        let stream = frames.request();
        frames.answer(stream, 0, 200, &[]);
        frames.try_send(Frames::DATA, Frames::END_STREAM, stream, b"enough");
        frames.reset(stream, 0);
        frames.drain();
    });
    let proxy = proxy_to(origin.address);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello");
    assert_eq!(client.response().text(), "enough");
    assert_eq!(proxy.logged().code, None);
}
