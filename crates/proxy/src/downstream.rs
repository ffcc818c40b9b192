use std::task::{Context, Poll};

use bytes::Bytes;
use millrace_error::{Error, Result};
use millrace_message::{Fields, Method, RequestHead, ResponseHead};

use crate::Interims;

/// A piece of a body.
#[derive(Debug)]
pub enum Body {
    /// Bytes, never none.
    Data(Bytes),
    /// The trailers; only the end follows.
    Trailers(Fields),
    /// The end, as its sender meant it.
    End,
}

/// How long a body is, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// There is none, whatever the fields say: an answer to HEAD, a 204, a 304; or a head of HTTP/2
    /// that was the end.
    None,
    /// This many bytes.
    Known(u64),
    /// Known at its end.
    Unknown,
}

impl BodySize {
    /// Sets Content-Length to what is known of the length. Without a body the field says what the
    /// length would be: the origin's word stands, but a 204 has none (RFC 9110 §8.6).
    pub(crate) fn declare(self, head: &mut ResponseHead, no_body: bool) {
        let length = match self {
            _ if no_body && head.status == 204 => None,
            BodySize::Known(length) => Some(length),
            _ if no_body => return,
            BodySize::None => Some(0),
            BodySize::Unknown => None,
        };
        head.fields.remove("content-length");
        if let Some(length) = length {
            let mut digits = itoa::Buffer::new();
            head.fields.push_unchecked(b"content-length", digits.format(length).as_bytes());
        }
    }
}

/// Whether a response with this status to this method has no body (RFC 9110 §6.4.1).
pub(crate) fn forbids_body(method: &Method, status: u16) -> bool {
    *method == Method::HEAD || status < 200 || status == 204 || status == 304
}

/// Whether a response with this status to this method is the last of HTTP on its connection or
/// stream: what follows it is a tunnel's (RFC 9110 §7.8 and §9.3.6).
pub(crate) fn opens_tunnel(method: &Method, status: u16) -> bool {
    status == 101 || (*method == Method::CONNECT && (200..300).contains(&status))
}

/// What becomes of what is left of a request's body while its response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRest {
    /// Nobody wants it.
    Unwanted,
    /// Whoever makes the response may still ask for it.
    MayBeAsked,
    /// Whoever makes the response has asked for it.
    Asked,
    /// It is on its way upstream, where it is decided whether a client that waits for a 100 gets one.
    Forwarded,
}

impl BodyRest {
    /// Whether a client that waits for a 100 gets it with the head of the response. That is the last
    /// chance: behind the head there is none any more.
    pub(crate) fn invites(self) -> bool {
        matches!(self, BodyRest::MayBeAsked | BodyRest::Asked)
    }
}

/// The client's side of one request: what the pipeline reads from and writes to. The two
/// directions are polled by one task, each as far as it goes.
pub trait Downstream: Send {
    /// The next piece of the request's body. Errors blame the client.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>>;

    /// Whether the body has been read to its end.
    fn body_done(&self) -> bool;

    /// What the head says of the body's length.
    fn body_size(&self) -> BodySize;

    /// Whether the client waits for a 100 before it sends the body.
    fn expects_continue(&self) -> bool;

    /// Ready when the client has left. Reads nothing of the body. In a tunnel only what reading and
    /// writing would not show.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Error>;

    /// The interim responses that phases send by themselves.
    fn interims(&self) -> &Interims;

    /// Sends an interim response, where the client's version has them.
    fn send_interim(&mut self, head: &ResponseHead);

    /// Sends the head of the response. Sets what belongs to this connection on it: framing,
    /// persistence, date. `rest` says what becomes of what is left of the request's body: before the head
    /// goes a 100, if the client waits for one and who makes the response reads the body.
    fn send_head(&mut self, head: &mut ResponseHead, size: BodySize, rest: BodyRest);

    /// Ready when there is room for another piece.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Takes a piece of the response's body.
    fn send_data(&mut self, data: Bytes);

    /// Whether trailers reach the client that sent this request.
    fn takes_trailers(&self, request: &RequestHead) -> bool;

    /// Ends the response.
    fn finish(&mut self, trailers: Option<&Fields>);

    /// Ready when all that was taken has left this process.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether an origin that has failed so is better passed on to the client as it is, by `abort`,
    /// than answered for.
    fn passes_on(&mut self, _error: &Error) -> bool {
        false
    }

    /// Whether a response can still reach the client, as far as is known.
    fn can_answer(&self) -> bool {
        true
    }

    /// The response cannot be completed: makes sure that the client can tell.
    fn abort(&mut self);

    /// Bytes received and sent for this request so far.
    fn transferred(&self) -> (u64, u64);

    /// Whether the connection ends with this response.
    fn is_last(&self) -> bool;
}
