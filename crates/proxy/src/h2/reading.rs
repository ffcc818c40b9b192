//! What the client sends after its head: the body and the trailers.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use millrace_error::{Code, Error, Result};
use millrace_message::{allowed_in_trailers, validate_value};
use tokio::time::timeout;

use super::response::{fields_size, trailers};
use super::stream::H2Stream;
use crate::Body;

/// What a request's trailers may have; as in HTTP/1.1.
pub(super) const MAX_TRAILERS: usize = 64;
pub(super) const MAX_TRAILER_BYTES: u64 = 8 * 1024;

/// How much of a body that nobody wants is still read, and for how long: many clients take a reset
/// for a failure, even when they have their answer.
const DRAIN: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

impl H2Stream {
    /// Sends 100 Continue if the client waits for one.
    pub(super) fn continue_once(&mut self) {
        if std::mem::take(&mut self.incoming.expects_continue) && !self.outgoing.head_sent {
            let mut head = http::Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            // A stream that takes none is no longer there, which others find out.
            let _ = self.respond.send_informational(head);
        }
    }

    /// The next piece of the body. Its bytes count as read with this.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        self.continue_once();
        while !self.incoming.at_trailers {
            match self.incoming.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    let length = data.len();
                    // Fails only where the stream is no longer there.
                    let _ = self.incoming.body.flow_control().release_capacity(length);
                    self.shared.frames.lock().took(self.id, length);
                    self.received += length as u64;
                    self.incoming.bytes += length as u64;
                    if let Some(limit) = self.options.max_request_body
                        && !self.tunnel
                        && self.incoming.bytes > limit
                    {
                        return Poll::Ready(Err(crate::h1::too_large(limit)));
                    }
                    self.incoming.stall.progress(length);
                    if length > 0 {
                        return Poll::Ready(Ok(Body::Data(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.failed(error))),
                Poll::Ready(None) => {
                    self.incoming.at_trailers = true;
                    self.shared.frames.lock().took_all(self.id);
                }
                Poll::Pending => {
                    self.shared.frames.lock().took_all(self.id);
                    return self.poll_stalled(cx).map(Err);
                }
            }
        }
        match self.incoming.body.poll_trailers(cx) {
            Poll::Ready(Ok(None)) => {
                self.incoming.done = true;
                Poll::Ready(Ok(Body::End))
            }
            Poll::Ready(Ok(Some(map))) => {
                if self.tunnel {
                    // RFC 9113 §8.5.
                    let error = Error::new(Code::BadRequest, "trailers in a tunnel");
                    return Poll::Ready(Err(error));
                }
                self.incoming.done = true;
                let mut fields = trailers(&map);
                let size = fields_size(&fields);
                self.received += size;
                let wrong = self.shared.frames.lock().trailers(self.id);
                if wrong.have_pseudo {
                    return Poll::Ready(Err(self.malformed("pseudo-headers among the trailers")));
                }
                let are_too_large = fields.len() > MAX_TRAILERS || size > MAX_TRAILER_BYTES;
                if are_too_large || wrong.are_too_large {
                    return Poll::Ready(Err(Error::new(Code::BodyTooLarge, "trailers")));
                }
                if fields.iter().any(|(_, value)| !validate_value(value)) {
                    let error = Error::new(Code::BadRequest, "a trailer is not valid");
                    return Poll::Ready(Err(error));
                }
                fields.retain(|name, _| allowed_in_trailers(name));
                Poll::Ready(Ok(Body::Trailers(fields)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.failed(error))),
            Poll::Pending => self.poll_stalled(cx).map(Err),
        }
    }

    /// Nothing has come: ready when the client was too slow.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.tunnel {
            // Whoever speaks in a tunnel does so when it likes.
            return Poll::Pending;
        }
        // The client may wait for bytes of ours: the response so far.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) => {}
            Poll::Pending => return Poll::Pending,
        }
        if self.options.half_close
            && self.shared.poll_input_end(cx, &mut self.incoming.input_end).is_ready()
        {
            let error = Error::new(Code::ClientAborted, "the client ended its side in mid-body");
            return Poll::Ready(error);
        }
        let options = &self.options;
        let min_rate = if self.incoming.is_grpc { 0 } else { options.min_bytes_per_second };
        let deadline = self.incoming.stall.wait(options.body_read_timeout, min_rate);
        ready!(self.incoming.timer.poll(cx, deadline));
        Poll::Ready(Error::new(Code::RequestTimeout, "the body came too slowly"))
    }

    /// After the response: what happens to the rest of the request. One that does not end soon is
    /// reset with NO_ERROR, which tells the client to stop and that its answer stands (RFC 9113
    /// §8.1); `h2` does so when the stream is dropped.
    pub(super) async fn close(mut self) {
        if self.is_cut_short() {
            // `h2` forgets what waits when a stream is reset: the connection has its turn first.
            tokio::task::yield_now().await;
            return self.reset();
        }
        if self.incoming.done || self.is_reset || self.incoming.expects_continue {
            return;
        }
        let drain = async {
            let mut left = DRAIN;
            loop {
                match poll_fn(|cx| self.poll_piece(cx)).await {
                    Ok(Body::Data(data)) if data.len() <= left => left -= data.len(),
                    _ => return,
                }
            }
        };
        let _ = timeout(DRAIN_TIME, drain).await;
    }
}
