//! HTTP/2 towards origins: one stream of a shared connection. Its request goes out here, and in
//! `answer` comes back what there is to come.
//!
//! Dropping an exchange before both sides have ended resets its stream (CANCEL); the connection
//! stays for the others.

mod ahead;
mod answer;
mod failure;
mod request;
mod response;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::client::ResponseFuture;
use ::h2::{RecvStream, SendStream};
use bytes::Bytes;
use http::HeaderMap;
use millrace_connectors::{H2Slot, Peer};
use millrace_error::{Code, Error, Result};
use millrace_http1::HeadLimits;
use millrace_message::{Fields, Method, RequestHead};

use self::ahead::Ahead;
use crate::BodySize;
use crate::stall::Stall;
use crate::timer::Timer;

/// One request and its response on an HTTP/2 connection to an origin.
pub(crate) struct H2Exchange {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    ahead: Ahead,
    send: Option<SendStream<Bytes>>,
    /// The one piece that waits for room in the origin's window.
    queued: Bytes,
    end: End,
    method: Method,
    limits: HeadLimits,
    /// What the connection had written before this request.
    written_before: u64,
    got_any: bool,
    /// The connection itself has failed.
    died: bool,
    /// The stream takes no more of the request.
    broken: bool,
    /// The response has no body, whatever comes.
    no_body: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    read_stall: Stall,
    write_stall: Stall,
    read_timer: Timer,
    write_timer: Timer,
    // Last: the place is free when the stream is gone.
    slot: H2Slot,
}

/// How far the end of the request has got.
enum End {
    /// More may come.
    Open,
    /// All of it was taken.
    Queued(Option<HeaderMap>),
    /// h2 has it.
    Sent,
}

impl H2Exchange {
    pub(crate) fn new(slot: H2Slot, peer: &Peer, limits: HeadLimits) -> Self {
        H2Exchange {
            response: None,
            body: None,
            ahead: Ahead::default(),
            send: None,
            queued: Bytes::new(),
            end: End::Open,
            method: Method::GET,
            limits,
            written_before: slot.written(),
            got_any: false,
            died: false,
            broken: false,
            no_body: false,
            read_timeout: peer.options.read_timeout,
            write_timeout: peer.options.write_timeout,
            read_stall: Stall::default(),
            write_stall: Stall::default(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            slot,
        }
    }

    /// Whether a byte of the request may have reached the origin.
    pub(crate) fn sent_any(&self) -> bool {
        self.send.is_some() && self.slot.written() > self.written_before
    }

    /// Whether `error` says that the origin has not touched the request, or that the connection had
    /// died before it.
    pub(crate) fn was_stale(&self, error: &Error) -> bool {
        let was_dead = self.slot.is_reused() || !self.sent_any();
        error.can_retry() || (self.died && was_dead && !self.got_any)
    }

    /// Opens the stream.
    pub(crate) fn send_head(
        &mut self,
        head: &mut RequestHead,
        size: BodySize,
        te_trailers: bool,
    ) -> Result<()> {
        self.method = head.method.clone();
        let scheme = if self.slot.tls().is_some() { "https" } else { "http" };
        let request = request::convert(head, size, scheme, te_trailers)?;
        let bodiless = matches!(size, BodySize::None | BodySize::Known(0));
        self.written_before = self.slot.written();
        match self.slot.sender().send_request(request, bodiless) {
            Ok((response, send)) => {
                self.response = Some(response);
                self.send = Some(send);
            }
            Err(error) => {
                // Nothing of it has left where the connection had ended.
                let ended = error.is_io() || error.is_go_away();
                return Err(self.failed(error).retry(ended));
            }
        }
        if bodiless {
            self.end = End::Sent;
        }
        Ok(())
    }

    /// Takes a piece of the body; there has to be room.
    pub(crate) fn send_data(&mut self, data: Bytes) {
        if self.queued.is_empty() {
            self.queued = data;
        } else {
            self.queued = [&self.queued[..], &data[..]].concat().into();
        }
    }

    /// Ends the request.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) {
        if matches!(self.end, End::Open) {
            self.end = End::Queued(trailers.and_then(request::trailers));
        }
    }

    /// Ready when there is room for another piece.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }

    /// Ready when h2 has all that was taken. Where the stream has ended early it never is: what
    /// became of it is for `poll_head` and `poll_body` to say, for the origin may have answered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.broken {
            return Poll::Pending;
        }
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        while !self.queued.is_empty() {
            let room = send.capacity().min(self.queued.len());
            if room > 0 {
                if send.send_data(self.queued.split_to(room), false).is_err() {
                    self.broken = true;
                    return Poll::Pending;
                }
                self.write_stall.progress(room);
                continue;
            }
            send.reserve_capacity(self.queued.len());
            match send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => {
                    self.broken = true;
                    return Poll::Pending;
                }
                Poll::Pending => {
                    let deadline = self.write_stall.wait(self.write_timeout, 0);
                    ready!(self.write_timer.poll(cx, deadline));
                    self.broken = true;
                    return Poll::Ready(Err(Error::new(
                        Code::WriteTimeout,
                        "the origin took nothing",
                    )));
                }
            }
        }
        self.write_stall.rest();
        if let End::Queued(trailers) = &mut self.end {
            let sent = match trailers.take() {
                Some(trailers) => send.send_trailers(trailers),
                None => send.send_data(Bytes::new(), true),
            };
            self.end = End::Sent;
            if sent.is_err() {
                self.broken = true;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Other work goes on: the origin is not waited for.
    pub(crate) fn rest(&mut self) {
        self.read_stall.rest();
    }
}
