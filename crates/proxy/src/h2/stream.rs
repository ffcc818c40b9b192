use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use millrace_error::{Code, Error};
use millrace_message::{Method, RequestHead};

use super::request::{expects_continue, head_size, is_grpc};
use super::shared::{InputEnd, Shared};
use crate::stall::Stall;
use crate::timer::Timer;
use crate::{BodySize, ProxyOptions};

/// One request of a client, and its response.
pub(super) struct H2Stream {
    pub(super) id: u32,
    pub(super) options: Arc<ProxyOptions>,
    pub(super) shared: Arc<Shared>,
    pub(super) method: Method,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    pub(super) interims: crate::Interims,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// The client, or its faults, ended the stream before its time.
    pub(super) is_reset: bool,
    /// The stream is a tunnel: bytes go through as they come, until each side ends.
    pub(super) tunnel: bool,
}

/// The request's body.
pub(super) struct Incoming {
    pub(super) body: RecvStream,
    pub(super) size: BodySize,
    pub(super) done: bool,
    /// All data has come; the trailers are next.
    pub(super) at_trailers: bool,
    /// Bytes so far, counted against the limit.
    pub(super) bytes: u64,
    /// The client waits for a 100; none has been sent.
    pub(super) expects_continue: bool,
    pub(super) is_grpc: bool,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
    pub(super) input_end: Option<InputEnd>,
}

/// The response, as far as `h2` has not taken it.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Held until it is known whether anything follows it.
    pub(super) head: Option<Response<()>>,
    pub(super) head_sent: bool,
    pub(super) no_body: bool,
    /// Where the body goes, once the head has gone.
    pub(super) body: Option<SendStream<Bytes>>,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    pub(super) trailers: Option<HeaderMap>,
    /// All of it is here.
    pub(super) finished: bool,
    /// `h2` has all of it.
    pub(super) ended: bool,
    /// It holds what cannot be sent.
    pub(super) invalid: bool,
    /// If it is reset, then with CANCEL: the client took too little for too long, or the origin has
    /// said so.
    pub(super) is_cancelled: bool,
    /// Interim responses so far.
    pub(super) interim: u32,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
}

impl H2Stream {
    /// The stream of `head`. `length` is what the head says of its body's length.
    pub(super) fn new(
        options: Arc<ProxyOptions>,
        shared: Arc<Shared>,
        head: &RequestHead,
        length: Option<u64>,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let done = body.is_end_stream();
        let size = match length {
            Some(length) => BodySize::Known(length),
            None if done => BodySize::None,
            None => BodySize::Unknown,
        };
        H2Stream {
            id: respond.stream_id().as_u32(),
            options,
            shared,
            method: head.method.clone(),
            incoming: Incoming {
                body,
                size,
                done,
                at_trailers: false,
                bytes: 0,
                expects_continue: !done && head.method != Method::CONNECT && expects_continue(head),
                is_grpc: is_grpc(head),
                stall: Stall::default(),
                timer: Timer::default(),
                input_end: None,
            },
            outgoing: Outgoing::default(),
            interims: crate::Interims::default(),
            respond,
            received: head_size(head),
            sent: 0,
            is_reset: false,
            tunnel: false,
        }
    }

    /// Ready when the stream was reset, or its connection has failed.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let reset = match &mut self.outgoing.body {
            Some(body) => body.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        let reset = ready!(reset);
        self.outgoing.ended = true;
        if self.shared.is_cut() {
            return Poll::Ready(stopped());
        }
        Poll::Ready(match reset {
            Ok(reason) => match self.poll_why(cx) {
                Some(error) => self.failed(error),
                None => {
                    self.count_reset();
                    let reason = reason.description();
                    Error::new(Code::ClientAborted, format!("the stream was reset: {reason}"))
                }
            },
            Err(error) => left(error),
        })
    }

    /// Whose doing a reset was, as far as `h2` says: only where the body was still coming in. What is
    /// left of the body is lost with it.
    fn poll_why(&mut self, cx: &mut Context<'_>) -> Option<h2::Error> {
        loop {
            match self.incoming.body.poll_data(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Some(error),
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }

    /// What a failed call of `h2` means: the client left, or has broken the rules.
    pub(super) fn failed(&mut self, error: h2::Error) -> Error {
        if self.shared.is_cut() {
            return stopped();
        }
        if error.is_reset() {
            self.count_reset();
            if error.is_library() {
                let message = "the client broke the rules of the stream";
                return Error::new(Code::BadRequest, message).because(error);
            }
        }
        left(error)
    }

    /// The client has broken a rule that `h2` does not hold it to, which ends the stream
    /// (RFC 9113 §8.1.1).
    pub(super) fn malformed(&mut self, why: &'static str) -> Error {
        self.count_reset();
        self.outgoing.ended = true;
        self.respond.send_reset(Reason::PROTOCOL_ERROR);
        Error::new(Code::BadRequest, why)
    }

    fn count_reset(&mut self) {
        if !std::mem::replace(&mut self.is_reset, true) {
            self.shared.count_reset();
        }
    }

    /// Whether something is to come that will not come if the stream ends now: what is left of the
    /// response, and in a tunnel of what the client sends.
    pub(super) fn is_cut_short(&self) -> bool {
        let is_open = self.tunnel && !self.incoming.done && !self.is_reset;
        !self.outgoing.ended || is_open
    }

    /// Ends the stream so that the client can tell that its response is not complete.
    pub(super) fn reset(&mut self) {
        if self.is_cut_short() {
            (self.outgoing.ended, self.incoming.done) = (true, true);
            self.respond.send_reset(match (self.outgoing.is_cancelled, self.tunnel) {
                (true, _) => Reason::CANCEL,
                // RFC 9113 §8.5.
                (false, true) => Reason::CONNECT_ERROR,
                (false, false) => Reason::INTERNAL_ERROR,
            });
        }
    }
}

impl Drop for H2Stream {
    /// Without it `h2` would say CANCEL of a stream whose task has failed.
    fn drop(&mut self) {
        self.reset();
        self.shared.frames.lock().done(self.id);
    }
}

fn stopped() -> Error {
    Error::new(Code::ServerClosed, "the server stopped")
}

fn left(error: h2::Error) -> Error {
    Error::new(Code::ClientAborted, "the client left").because(error)
}
