//! What the origin sends: heads, and the body of the last of them.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use millrace_error::{Code, Error, Result};
use millrace_http1::{
    BodyDecoder, Decoded, Framing, ParseError, announces_forbidden_body, head_may_end,
    parse_response, response_framing,
};
use millrace_message::{Fields, ResponseHead, accepts_upgrade, is_persistent, list_items};
use millrace_transport::is_handshake_refusal;

use super::H1Exchange;
use crate::upstream::{Head, closed};
use crate::wire::poll_read;
use crate::{Body, BodySize};

/// Interim responses before the response itself, at most.
const MAX_INTERIM: u32 = 1000;

/// The final response, once its head is there.
pub(super) struct Incoming {
    pub(super) body: BodyDecoder,
    pub(super) persistent: bool,
    pub(super) idle_hint: Option<Duration>,
}

impl H1Exchange {
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
            if self.upgrade.as_ref().is_some_and(|asked| accepts_upgrade(&head.fields, asked)) {
                self.become_tunnel();
                return Ok(Head::Final(head, BodySize::Unknown));
            }
            return Err(Error::new(Code::UpstreamInvalid, "a 101 that was not asked for"));
        }
        self.doubtful |= announces_forbidden_body(&head);
        if head.is_interim() {
            self.interim += 1;
            return match self.interim {
                0..=MAX_INTERIM => Ok(Head::Interim(head)),
                _ => Err(Error::new(Code::UpstreamInvalid, "more interim responses than any use")),
            };
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
        let size = bulk.then_some(&mut self.read_size);
        match poll_read(&mut connection.stream, &mut connection.buf, size, cx) {
            Poll::Ready(Ok(count)) => {
                self.read_stall.rest();
                self.got_any |= count > 0;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.read_failed(error))),
            Poll::Pending => {
                // Nothing is expected of an origin that has not got the whole request; unless it
                // will not get it, then an answer is all that is left to wait for.
                // In a tunnel either side may be silent as long as it likes.
                let waits = self.broken || (self.request_done && self.out.is_empty());
                if !waits || self.tunnel {
                    self.read_stall.rest();
                    return Poll::Pending;
                }
                let deadline = self.read_stall.wait(self.read_timeout, 0);
                ready!(self.read_timer.poll(cx, deadline));
                Poll::Ready(Err(Error::new(Code::ReadTimeout, "the origin sent nothing")))
            }
        }
    }

    fn read_failed(&self, error: io::Error) -> Error {
        let is_first = !self.got_any && !self.is_reused();
        if is_first && is_handshake_refusal(&error) {
            let refused = Error::new(Code::TlsFailed, "the origin refused the handshake");
            return refused.because(error).retry(true);
        }
        closed("while it answered", error)
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

fn invalid(error: ParseError) -> Error {
    Error::new(Code::UpstreamInvalid, error.message())
}
