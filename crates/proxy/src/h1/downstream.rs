use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use millrace_http1::{CHUNK_END, write_chunk_start, write_last_chunk, write_response_head};
use millrace_message::{Fields, RequestHead, ResponseHead, Version, has_token};
use tokio::io::AsyncWrite;

use super::H1Connection;
use super::reading::left;
use crate::{Body, BodyRest, BodySize, Downstream};

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
        if self.current.tunnel {
            return Poll::Pending;
        }
        self.poll_left(cx)
    }

    fn interims(&self) -> &crate::Interims {
        &self.interims
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

    fn send_head(&mut self, head: &mut ResponseHead, size: BodySize, rest: BodyRest) {
        self.prepare(head, size, rest);
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

    fn takes_trailers(&self, request: &RequestHead) -> bool {
        // Others may trip over them (RFC 9110 §6.5.1).
        has_token(request.fields.get_all("te"), "trailers")
    }

    fn finish(&mut self, trailers: Option<&Fields>) {
        if self.current.chunked {
            write_last_chunk(trailers, self.output.tail());
        }
        self.current.finished = true;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.output.is_empty() {
            return self.poll_shut(cx);
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
                self.poll_shut(cx)
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

impl H1Connection {
    /// Tells the client that the origin's side of a tunnel has ended.
    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let current = &mut self.current;
        if current.tunnel && current.finished && !current.shut {
            let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            current.shut = true;
            shut.map_err(left)?;
        }
        Poll::Ready(Ok(()))
    }
}
