//! Which version of HTTP a client speaks in the clear (RFC 9113 §3.3).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use millrace_server::{ConnInfo, Shutdown};
use millrace_transport::Stream;

use crate::ProxyOptions;
use crate::h1::LAST_CHANCE;
use crate::timer::Timer;
use crate::wire::poll_read;

/// The first line of what a client of HTTP/2 sends first. No request of HTTP/1.1 begins like it, so
/// that whatever follows is for HTTP/2 to deal with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What a client turned out to speak, with the bytes that said so.
pub(crate) enum Spoken {
    Http1(BytesMut),
    Http2(BytesMut),
    /// It left, or was silent for too long, without a byte.
    Nothing,
}

/// Reads until the first byte that is not the preface's, or to the end of its first line. A client
/// that stops in the middle of that is HTTP/1.1's to deal with, whose header time-out then starts.
pub(crate) async fn listen(
    stream: &mut Stream,
    options: &ProxyOptions,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) -> Spoken {
    let mut input = BytesMut::new();
    let mut timer = Timer::default();
    let deadline =
        options.request_header_timeout.and_then(|limit| conn.accepted.checked_add(limit));
    let mut draining = pin!(shutdown.draining());
    let preface = poll_fn(|cx| {
        loop {
            let compared = input.len().min(PREFACE.len());
            if input[..compared] != PREFACE[..compared] {
                return Poll::Ready(false);
            }
            if compared == PREFACE.len() {
                return Poll::Ready(true);
            }
            match poll_read(stream, &mut input, None, cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending if timer.poll(cx, deadline).is_ready() => return Poll::Ready(false),
                Poll::Pending if input.is_empty() => {
                    if draining.as_mut().poll(cx).is_ready() {
                        let last_chance = Some(conn.accepted + LAST_CHANCE);
                        if shutdown.is_cut() || timer.poll(cx, last_chance).is_ready() {
                            return Poll::Ready(false);
                        }
                    }
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    match preface.await {
        true => Spoken::Http2(input),
        false if input.is_empty() => Spoken::Nothing,
        false => Spoken::Http1(input),
    }
}
