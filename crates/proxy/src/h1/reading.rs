//! What the client sends after its head: the body, and its leaving.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use millrace_error::{Code, Error, Result};
use millrace_http1::{CONTINUE, Decoded, ParseError};
use tokio::time::Instant;

use super::H1Connection;
use super::too_large;
use crate::wire::poll_read;
use crate::{Body, Downstream};

/// How far a client may send ahead while its request is served.
const READ_AHEAD: usize = 16 * 1024;
/// How often a client that has sent that far ahead is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl H1Connection {
    fn poll_fill(&mut self, bulk: bool, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let size = bulk.then_some(&mut self.current.read_size);
        match poll_read(&mut self.stream, &mut self.input, size, cx) {
            Poll::Ready(Ok(0)) => {
                self.current.end_of_input = true;
                Poll::Ready(Err(Error::new(Code::ClientAborted, "the client left")))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            // Over TLS many clients end without saying so. What they send has its length; but what
            // a tunnel carries has none, unless the origin has ended it already.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.current.end_of_input = !self.current.tunnel || self.current.finished;
                Poll::Ready(Err(left(error)))
            }
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

    /// The next piece of the body.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        self.continue_once();
        let tunnel = self.current.tunnel;
        loop {
            let before = self.input.len();
            let piece = self.current.body.decode(&mut self.input).map_err(bad_body)?;
            self.current.received += (before - self.input.len()) as u64;
            match piece {
                Decoded::Data(data) => {
                    self.current.body_bytes += data.len() as u64;
                    if let Some(limit) = self.options.max_request_body
                        && !tunnel
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
            if tunnel && self.current.end_of_input {
                return Poll::Ready(Ok(Body::End));
            }
            match self.poll_fill(true, cx) {
                Poll::Ready(Err(_)) if tunnel && self.current.end_of_input => continue,
                Poll::Ready(filled) => {
                    filled?;
                    continue;
                }
                // Whoever speaks in a tunnel does so when it likes.
                Poll::Pending if tunnel => return Poll::Pending,
                Poll::Pending => {}
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

    /// Ready when the client has left. Reads ahead a bounded number of bytes to notice.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
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
}

pub(super) fn left(error: io::Error) -> Error {
    Error::new(Code::ClientAborted, "the client left").because(error)
}

fn bad_body(error: ParseError) -> Error {
    let code = match error {
        ParseError::TooLarge(_) => Code::BodyTooLarge,
        _ => Code::BadRequest,
    };
    Error::new(code, error.message())
}
