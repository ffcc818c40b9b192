//! What the client is sent.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use millrace_error::{Code, Error, Result, Source};
use millrace_message::{Fields, RequestHead, ResponseHead};

use super::response::{fields_size, header_map, response, strip_connection};
use super::stream::H2Stream;
use crate::date::http_date;
use crate::downstream::{forbids_body, opens_tunnel};
use crate::{Body, BodyRest, BodySize, Downstream};

/// From this much on, or this many pieces, what waits is sent before more is taken.
const HIGH_WATER: usize = 16 * 1024;
const MAX_PIECES: usize = 16;
/// Interim responses of one request that are passed on: no window bounds them.
const MAX_INTERIM: u32 = 16;

impl H2Stream {
    /// Gives `h2` what waits, as far as the client's windows and the send buffer allow. Ready when
    /// nothing waits any more.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.outgoing.ended || !self.outgoing.head_sent {
            return Poll::Ready(Ok(()));
        }
        if self.outgoing.invalid {
            let error = Error::new(Code::UpstreamInvalid, "a field that HTTP/2 cannot carry");
            return Poll::Ready(Err(error));
        }
        if let Some(head) = self.outgoing.head.take() {
            let out = &self.outgoing;
            let alone = out.finished && out.queue.is_empty() && out.trailers.is_none();
            let ends = out.no_body || alone;
            self.outgoing.ended = ends;
            match self.respond.send_response(head, ends) {
                Ok(body) => self.outgoing.body = Some(body),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
        while let Some(piece) = self.outgoing.queue.front_mut() {
            let Some(body) = &mut self.outgoing.body else { return Poll::Ready(Ok(())) };
            body.reserve_capacity(piece.len());
            let room = body.capacity();
            if room == 0 {
                match body.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.failed(error))),
                    // The stream is closed; why is known elsewhere.
                    Poll::Ready(None) => return self.poll_reset(cx).map(Err),
                    Poll::Pending => return self.poll_untaken(cx),
                }
            }
            let part = piece.split_to(room.min(piece.len()));
            let is_whole = piece.is_empty();
            let out = &mut self.outgoing;
            if is_whole {
                out.queue.pop_front();
            }
            let count = part.len();
            out.queued = out.queued.saturating_sub(count);
            let ends = out.finished && out.queue.is_empty() && out.trailers.is_none();
            let Some(body) = &mut out.body else { return Poll::Ready(Ok(())) };
            let sent = body.send_data(part, ends);
            out.ended = ends;
            out.stall.progress(count);
            self.sent += count as u64;
            if let Err(error) = sent {
                return Poll::Ready(Err(self.failed(error)));
            }
        }
        self.outgoing.stall.rest();
        if self.outgoing.finished && !self.outgoing.ended {
            self.outgoing.ended = true;
            let trailers = self.outgoing.trailers.take();
            let sent = match (&mut self.outgoing.body, trailers) {
                (Some(body), Some(trailers)) => body.send_trailers(trailers),
                (Some(body), None) => body.send_data(Bytes::new(), true),
                (None, _) => Ok(()),
            };
            if let Err(error) = sent {
                return Poll::Ready(Err(self.failed(error)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The client takes nothing: ready when it has been for too long.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let options = &self.options;
        let out = &mut self.outgoing;
        let deadline = out.stall.wait(options.write_timeout, options.min_bytes_per_second);
        ready!(out.timer.poll(cx, deadline));
        out.is_cancelled = true;
        let error = Error::new(Code::WriteTimeout, "the client took the response too slowly");
        Poll::Ready(Err(error.from_source(Source::Downstream)))
    }
}

impl Downstream for H2Stream {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        if self.incoming.done {
            return Poll::Ready(Ok(Body::End));
        }
        self.poll_piece(cx)
    }

    fn body_done(&self) -> bool {
        self.incoming.done
    }

    fn body_size(&self) -> BodySize {
        self.incoming.size
    }

    fn expects_continue(&self) -> bool {
        self.incoming.expects_continue
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.poll_reset(cx)
    }

    fn interims(&self) -> &crate::Interims {
        &self.interims
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if self.outgoing.head_sent || head.status == 101 {
            return;
        }
        if head.status == 100 {
            return self.continue_once();
        }
        self.outgoing.interim += 1;
        if self.outgoing.interim > MAX_INTERIM {
            return;
        }
        let mut head = head.clone();
        strip_connection(&mut head.fields);
        if let Some(head) = response(&head) {
            // A stream that takes none is no longer there, which others find out.
            let _ = self.respond.send_informational(head);
        }
    }

    fn send_head(&mut self, head: &mut ResponseHead, size: BodySize, rest: BodyRest) {
        if rest.invites() {
            self.continue_once();
        }
        strip_connection(&mut head.fields);
        let no_body = forbids_body(&self.method, head.status);
        self.tunnel = opens_tunnel(&self.method, head.status);
        let is_declared = head.fields.contains("content-length");
        size.declare(head, no_body);
        if size == BodySize::None && !is_declared {
            // END_STREAM says it. Where an answer of gRPC is all trailers the field would be handed
            // to the caller.
            head.fields.remove("content-length");
        }
        if !head.fields.contains("date") {
            head.fields.push_unchecked(b"date", &http_date());
        }
        let out = &mut self.outgoing;
        out.head_sent = true;
        out.no_body = no_body || size == BodySize::None;
        out.head = response(head);
        out.invalid = out.head.is_none();
        self.sent += fields_size(&head.fields) + b"HTTP/1.1 200\r\n".len() as u64;
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.outgoing.queued < HIGH_WATER && self.outgoing.queue.len() < MAX_PIECES {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    fn send_data(&mut self, data: Bytes) {
        // A client that listens may have nothing to say meanwhile.
        self.incoming.stall.restart();
        if !self.outgoing.no_body && !data.is_empty() {
            self.outgoing.queued += data.len();
            self.outgoing.queue.push_back(data);
        }
    }

    fn takes_trailers(&self, _request: &RequestHead) -> bool {
        // Every client of HTTP/2 can read them, and gRPC's rely on it.
        true
    }

    fn finish(&mut self, trailers: Option<&Fields>) {
        let out = &mut self.outgoing;
        out.finished = true;
        if let Some(fields) = trailers.filter(|fields| !fields.is_empty() && !out.no_body) {
            let mut fields = fields.clone();
            strip_connection(&mut fields);
            self.sent += fields_size(&fields);
            out.trailers = header_map(&fields);
            out.invalid |= out.trailers.is_none();
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_send(cx)
    }

    /// The end of a deadline comes from the client and from the origin, whose servers say CANCEL:
    /// gRPC tells by that, and by the clock, what it was.
    fn passes_on(&mut self, error: &Error) -> bool {
        let is_cancelled =
            self.incoming.is_grpc && error.source() == Source::Upstream && was_cancelled(error);
        self.outgoing.is_cancelled |= is_cancelled;
        is_cancelled
    }

    fn can_answer(&self) -> bool {
        !self.is_reset
    }

    fn abort(&mut self) {
        // What waits may still go; `close` then resets the stream.
        self.outgoing.queue.clear();
        self.outgoing.queued = 0;
    }

    /// Bytes of bodies; of heads and trailers what they would take in HTTP/1.1, as how well they
    /// were compressed depends on what the connection carried before.
    fn transferred(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    fn is_last(&self) -> bool {
        self.shared.is_closing()
    }
}

/// Whether the origin has cancelled the stream.
fn was_cancelled(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset()
                && error.is_remote()
                && error.reason() == Some(h2::Reason::CANCEL);
        }
        cause = error.source();
    }
    false
}
