use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use millrace_http1::{
    CHUNK_END, CONTINUE, Decoded, ParseError, write_chunk_start, write_last_chunk,
    write_response_head,
};
use millrace_message::{Fields, Method, ResponseHead, Version};
use tokio::time::Instant;

use super::H1Connection;
use super::next::too_large;
use crate::date::http_date;
use crate::wire::poll_read;
use crate::{Body, BodySize, Downstream};

/// How far a client may send ahead while its request is served.
const READ_AHEAD: usize = 16 * 1024;
/// How often a client that has sent that far ahead is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// An unread body up to this size is drained so that its connection can go on.
pub(super) const DRAIN: u64 = 64 * 1024;

impl H1Connection {
    fn poll_fill(&mut self, bulk: bool, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match poll_read(&mut self.stream, &mut self.input, bulk, cx) {
            Poll::Ready(Ok(0)) => {
                self.current.end_of_input = true;
                Poll::Ready(Err(Error::new(Code::ClientAborted, "the client left")))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(left(error))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes 100 Continue if the client waits for one.
    pub(super) fn continue_once(&mut self) {
        if std::mem::take(&mut self.current.expects_continue) && !self.current.head_sent {
            self.output.tail().extend_from_slice(CONTINUE);
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        self.continue_once();
        loop {
            let before = self.input.len();
            let piece = self.current.body.decode(&mut self.input).map_err(bad_body)?;
            self.current.received += (before - self.input.len()) as u64;
            match piece {
                Decoded::Data(data) => {
                    self.current.body_bytes += data.len() as u64;
                    if let Some(limit) = self.options.max_request_body
                        && self.current.body_bytes > limit
                    {
                        return Poll::Ready(Err(too_large(limit)));
                    }
                    self.current.read_stall.progress(data.len());
                    return Poll::Ready(Ok(Body::Data(data)));
                }
                Decoded::Trailers(fields) => return Poll::Ready(Ok(Body::Trailers(fields))),
                Decoded::End => return Poll::Ready(Ok(Body::End)),
                Decoded::NeedMore => {}
            }
            if let Poll::Ready(filled) = self.poll_fill(true, cx) {
                filled?;
                continue;
            }
            // The client may wait for bytes of ours: a 100, or the response so far.
            if self.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            let options = &self.options;
            let stall = &mut self.current.read_stall;
            let deadline = stall.wait(options.body_read_timeout, options.min_bytes_per_second);
            ready!(self.read_timer.poll(cx, deadline));
            let error = Error::new(Code::RequestTimeout, "the body came too slowly");
            return Poll::Ready(Err(error));
        }
    }

    /// Sets the fields that say how long the body is (RFC 9112 §6.2).
    fn frame(&mut self, head: &mut ResponseHead, size: BodySize, no_body: bool) {
        let current = &mut self.current;
        current.no_body = no_body;
        for name in ["transfer-encoding", "connection", "keep-alive"] {
            head.fields.remove(name);
        }
        if no_body {
            // Without a body the field says what it would be: the origin's word stands, but a 204
            // has none (RFC 9110 §8.6).
            match size {
                _ if head.status == 204 => _ = head.fields.remove("content-length"),
                BodySize::Known(length) => set_length(head, length),
                BodySize::None | BodySize::Unknown => {}
            }
            return;
        }
        match size {
            BodySize::None => set_length(head, 0),
            BodySize::Known(length) => set_length(head, length),
            BodySize::Unknown => {
                head.fields.remove("content-length");
                if current.version == Version::Http11 {
                    head.fields.push_unchecked(b"transfer-encoding", b"chunked");
                    current.chunked = true;
                } else {
                    current.until_close = true;
                    current.persistent = false;
                }
            }
        }
    }

    fn forbids_body(&self, status: u16) -> bool {
        self.current.method == Method::HEAD || status < 200 || status == 204 || status == 304
    }
}

impl Downstream for H1Connection {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        if self.current.body.is_done() {
            return Poll::Ready(Ok(Body::End));
        }
        let piece = self.poll_piece(cx);
        if let Poll::Ready(Err(_)) = piece {
            // The rest of it is not worth the wait for the next request.
            self.current.persistent = false;
        }
        piece
    }

    fn body_done(&self) -> bool {
        self.current.body.is_done()
    }

    fn body_size(&self) -> BodySize {
        self.current.size
    }

    fn expects_continue(&self) -> bool {
        self.current.expects_continue
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let half_close = self.options.half_close;
        while !(self.current.end_of_input && half_close) {
            if self.input.len() >= READ_AHEAD {
                // No more is read; the driver may still have seen the end behind it. It wakes
                // nobody for that while there are bytes to read, so come again.
                if half_close {
                    return Poll::Pending;
                }
                if self.stream.is_read_closed() {
                    return Poll::Ready(Error::new(Code::ClientAborted, "the client left"));
                }
                let _ = self.read_timer.poll(cx, Some(Instant::now() + LOOK_AGAIN));
                return Poll::Pending;
            }
            match ready!(self.poll_fill(false, cx)) {
                Ok(()) => {}
                Err(_) if self.current.end_of_input && half_close => {}
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if self.current.version != Version::Http11 || self.current.head_sent {
            return;
        }
        if head.status == 100 {
            self.continue_once();
        } else if self.output.has_room() {
            // Otherwise the client is slow, and the hint would come too late to help.
            write_response_head(head, self.output.tail());
        }
    }

    fn send_head(&mut self, head: &mut ResponseHead, size: BodySize, streaming: bool) {
        let draining = self.shutdown.is_draining();
        let current = &mut self.current;
        current.head_sent = true;
        if !current.body.is_done() {
            // What was not read has to be drained before the next request can be found. A body
            // that was not asked for may never come: then nobody knows what the next bytes are.
            let small = current.body.remaining().is_some_and(|left| left <= DRAIN);
            current.persistent &= (small || streaming) && !current.expects_continue;
        }
        current.persistent &= !draining && !current.end_of_input;
        let no_body = self.forbids_body(head.status);
        self.frame(head, size, no_body);
        let current = &mut self.current;
        if !head.fields.contains("date") {
            head.fields.push_unchecked(b"date", &http_date());
        }
        if !current.persistent {
            head.fields.push_unchecked(b"connection", b"close");
        } else if current.version == Version::Http10 {
            head.fields.push_unchecked(b"connection", b"keep-alive");
        }
        write_response_head(head, self.output.tail());
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.output.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    fn send_data(&mut self, data: Bytes) {
        if self.current.no_body {
            return;
        }
        if self.current.chunked {
            write_chunk_start(data.len(), self.output.tail());
            self.output.put(data);
            self.output.tail().extend_from_slice(CHUNK_END);
        } else {
            self.output.put(data);
        }
    }

    fn finish(&mut self, trailers: Option<&Fields>) {
        if self.current.chunked {
            write_last_chunk(trailers, self.output.tail());
        }
        self.current.finished = true;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let before = self.current.sent;
        let written = self.output.poll_write(&mut self.stream, cx, &mut self.current.sent);
        let moved = self.current.sent - before;
        if moved > 0 {
            self.current.write_stall.progress(moved as usize);
        }
        match written {
            Poll::Ready(Ok(())) => {
                self.current.write_stall.rest();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(left(error))),
            Poll::Pending => {
                let options = &self.options;
                let stall = &mut self.current.write_stall;
                let deadline = stall.wait(options.write_timeout, options.min_bytes_per_second);
                ready!(self.write_timer.poll(cx, deadline));
                let error =
                    Error::new(Code::WriteTimeout, "the client took the response too slowly");
                Poll::Ready(Err(error.from_source(millrace_error::Source::Downstream)))
            }
        }
    }

    fn abort(&mut self) {
        self.current.aborted = true;
        self.current.persistent = false;
    }

    fn transferred(&self) -> (u64, u64) {
        (self.current.received, self.current.sent)
    }

    fn is_last(&self) -> bool {
        !self.current.persistent
    }
}

fn set_length(head: &mut ResponseHead, length: u64) {
    let mut digits = itoa::Buffer::new();
    head.fields.remove("content-length");
    head.fields.push_unchecked(b"content-length", digits.format(length).as_bytes());
}

fn left(error: io::Error) -> Error {
    Error::new(Code::ClientAborted, "the client left").because(error)
}

fn bad_body(error: ParseError) -> Error {
    let code = match error {
        ParseError::TooLarge(_) => Code::BodyTooLarge,
        _ => Code::BadRequest,
    };
    Error::new(code, error.message())
}
