use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_connectors::{Connection, Connector, Peer};
use millrace_error::{Code, Error, Result};
use millrace_http1::{
    BodyDecoder, CHUNK_END, Decoded, Framing, HeadLimits, ParseError, head_may_end, parse_response,
    response_framing, write_chunk_start, write_last_chunk, write_request_head,
};
use millrace_message::{Fields, Method, RequestHead, ResponseHead, is_persistent, list_items};

use crate::stall::Stall;
use crate::timer::Timer;
use crate::wire::{WriteQueue, poll_read};
use crate::{Body, BodySize};

/// One request and its response on an HTTP/1.1 connection to an origin.
pub(crate) struct Upstream {
    connection: Connection,
    out: WriteQueue,
    written: u64,
    chunked: bool,
    request_done: bool,
    method: Method,
    limits: HeadLimits,
    seen: usize,
    got_any: bool,
    /// Writing failed: the rest of the request will not go out.
    broken: bool,
    response: Option<Incoming>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    read_stall: Stall,
    write_stall: Stall,
    read_timer: Timer,
    write_timer: Timer,
}

/// The final response, once its head is there.
struct Incoming {
    body: BodyDecoder,
    persistent: bool,
    idle_hint: Option<Duration>,
}

/// A head from upstream.
pub(crate) enum Head {
    /// A 1xx; others follow.
    Interim(ResponseHead),
    /// The response, and how long its body is.
    Final(ResponseHead, BodySize),
}

impl Upstream {
    pub(crate) fn new(connection: Connection, peer: &Peer, limits: HeadLimits) -> Self {
        Upstream {
            connection,
            out: WriteQueue::default(),
            written: 0,
            chunked: false,
            request_done: false,
            method: Method::GET,
            limits,
            seen: 0,
            got_any: false,
            broken: false,
            response: None,
            read_timeout: peer.options.read_timeout,
            write_timeout: peer.options.write_timeout,
            read_stall: Stall::default(),
            write_stall: Stall::default(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        }
    }

    /// Whether the connection had served a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.connection.is_reused()
    }

    /// Whether a byte of the request may have reached the origin.
    pub(crate) fn sent_any(&self) -> bool {
        self.written > 0
    }

    /// Whether a byte of an answer has come.
    pub(crate) fn got_any(&self) -> bool {
        self.got_any
    }

    /// Queues the head; its framing fields are set here.
    pub(crate) fn send_head(&mut self, head: &mut RequestHead, size: BodySize) {
        self.method = head.method.clone();
        // Whatever a phase has put there: framing and the connection are not its business.
        for name in ["content-length", "transfer-encoding", "connection", "keep-alive"] {
            head.fields.remove(name);
        }
        match size {
            BodySize::None => self.request_done = true,
            BodySize::Known(length) => {
                let mut digits = itoa::Buffer::new();
                head.fields.push_unchecked(b"content-length", digits.format(length).as_bytes());
                self.request_done = length == 0;
            }
            BodySize::Unknown => {
                head.fields.push_unchecked(b"transfer-encoding", b"chunked");
                self.chunked = true;
            }
        }
        write_request_head(head, self.out.tail());
    }

    /// Queues a piece of the body.
    pub(crate) fn send_data(&mut self, data: Bytes) {
        if self.chunked {
            write_chunk_start(data.len(), self.out.tail());
            self.out.put(data);
            self.out.tail().extend_from_slice(CHUNK_END);
        } else {
            self.out.put(data);
        }
    }

    /// Ends the request.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) {
        if self.chunked && !self.request_done {
            write_last_chunk(trailers, self.out.tail());
        }
        self.request_done = true;
    }

    /// Ready when there is room for another piece.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    /// Ready when all that was queued is with the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let before = self.written;
        let written = self.out.poll_write(&mut self.connection.stream, cx, &mut self.written);
        if self.written > before {
            self.write_stall.progress((self.written - before) as usize);
        }
        match written {
            Poll::Ready(Ok(())) => {
                self.write_stall.rest();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.broken = true;
                Poll::Ready(Err(closed("while the request was sent", error)))
            }
            Poll::Pending => {
                let deadline = self.write_stall.wait(self.write_timeout, 0);
                ready!(self.write_timer.poll(cx, deadline));
                self.broken = true;
                Poll::Ready(Err(Error::new(Code::WriteTimeout, "the origin took nothing")))
            }
        }
    }

    /// The next head of an answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head>> {
        loop {
            let buf = &mut self.connection.buf;
            if !buf.is_empty() && head_may_end(buf, self.seen, &self.limits) {
                self.seen = buf.len();
                if let Some((head, length)) = parse_response(buf, &self.limits).map_err(invalid)? {
                    bytes::Buf::advance(buf, length);
                    self.seen = 0;
                    return Poll::Ready(self.take_head(head));
                }
            }
            if ready!(self.poll_fill(false, cx))? == 0 {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Poll::Ready(Err(closed("before its answer", error)));
            }
        }
    }

    fn take_head(&mut self, head: ResponseHead) -> Result<Head> {
        if head.status == 101 {
            return Err(Error::new(Code::UpstreamInvalid, "a 101 that was not asked for"));
        }
        if head.is_interim() {
            return Ok(Head::Interim(head));
        }
        let framing = response_framing(&self.method, &head).map_err(invalid)?;
        let size = match framing {
            Framing::None => BodySize::None,
            Framing::Length(length) => BodySize::Known(length),
            Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
        };
        self.response = Some(Incoming {
            body: BodyDecoder::new(framing),
            persistent: is_persistent(head.version, &head.fields) && framing != Framing::UntilClose,
            idle_hint: keep_alive_hint(&head.fields),
        });
        Ok(Head::Final(head, size))
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        loop {
            let Some(response) = &mut self.response else {
                return Poll::Ready(Err(Error::new(Code::Internal, "a body before its head")));
            };
            match response.body.decode(&mut self.connection.buf).map_err(invalid)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Body::Data(data))),
                Decoded::Trailers(fields) => return Poll::Ready(Ok(Body::Trailers(fields))),
                Decoded::End => return Poll::Ready(Ok(Body::End)),
                Decoded::NeedMore => {}
            }
            if ready!(self.poll_fill(true, cx))? == 0 {
                return Poll::Ready(match &self.response {
                    Some(response) if response.body.on_eof() => Ok(Body::End),
                    _ => Err(closed("in mid-answer", io::ErrorKind::UnexpectedEof.into())),
                });
            }
        }
    }

    fn poll_fill(&mut self, bulk: bool, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let connection = &mut self.connection;
        match poll_read(&mut connection.stream, &mut connection.buf, bulk, cx) {
            Poll::Ready(Ok(count)) => {
                self.read_stall.rest();
                self.got_any |= count > 0;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(closed("while it answered", error))),
            Poll::Pending => {
                // Nothing is expected of an origin that has not got the whole request; unless it
                // will not get it, then an answer is all that is left to wait for.
                if !(self.broken || (self.request_done && self.out.is_empty())) {
                    self.read_stall.rest();
                    return Poll::Pending;
                }
                let deadline = self.read_stall.wait(self.read_timeout, 0);
                ready!(self.read_timer.poll(cx, deadline));
                Poll::Ready(Err(Error::new(Code::ReadTimeout, "the origin sent nothing")))
            }
        }
    }

    /// Other work goes on: the origin is not waited for.
    pub(crate) fn rest(&mut self) {
        self.read_stall.rest();
    }

    /// Gives the connection back if both sides ended cleanly; closes it otherwise.
    pub(crate) fn release(mut self, connector: &Connector, shard: usize, peer: &Peer) {
        let Some(response) = &self.response else { return };
        let clean = response.persistent
            && response.body.is_done()
            && self.request_done
            && self.out.is_empty()
            && self.connection.buf.is_empty();
        if !clean {
            return;
        }
        let idle = peer.options.idle_timeout;
        let idle = response.idle_hint.map_or(idle, |hint| hint.min(idle));
        self.connection.buf = bytes::BytesMut::new();
        connector.release(shard, self.connection, idle);
    }
}

/// The time-out that an origin announces (`Keep-Alive: timeout=5`), less a second for the way.
fn keep_alive_hint(fields: &Fields) -> Option<Duration> {
    let value = fields.get("keep-alive")?;
    let seconds = list_items(value).find_map(|item| {
        let item = std::str::from_utf8(item).ok()?;
        let (name, value) = item.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("timeout") {
            return None;
        }
        value.trim().parse::<u64>().ok()
    })?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}

fn closed(when: &'static str, error: io::Error) -> Error {
    Error::new(Code::UpstreamClosed, format!("the origin closed the connection {when}"))
        .because(error)
}

fn invalid(error: ParseError) -> Error {
    Error::new(Code::UpstreamInvalid, error.message())
}
