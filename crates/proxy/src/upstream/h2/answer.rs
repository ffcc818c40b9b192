//! What the origin sends: heads, and the body of the last of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use millrace_error::{Code, Error, Result};

use super::{End, H2Exchange, response};
use crate::upstream::Head;
use crate::{Body, BodySize};

impl H2Exchange {
    /// The next head of an answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(Error::new(Code::Internal, "a head was read twice")));
        };
        // Asked first, and waited for alone: looking for the response would drop those before it.
        let head = match response.poll_informational(cx) {
            Poll::Ready(Some(interim)) => interim.map(|head| Head::interim(head, &self.limits)),
            Poll::Ready(None) => match Pin::new(response).poll(cx) {
                Poll::Ready(Ok(answer)) => Ok(self.take_head(answer)),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => return self.poll_patience(cx).map(Err),
            },
            Poll::Pending => return self.poll_patience(cx).map(Err),
        };
        self.read_stall.rest();
        Poll::Ready(match head {
            Ok(head) => {
                self.got_any = true;
                head
            }
            Err(error) => Err(self.failed(error)),
        })
    }

    fn take_head(&mut self, answer: http::Response<::h2::RecvStream>) -> Result<Head> {
        let (parts, body) = answer.into_parts();
        self.response = None;
        let head = response::convert(&parts, &self.limits)?;
        self.no_body = response::has_no_body(&self.method, head.status);
        let size = match response::length(&head)? {
            _ if self.no_body => BodySize::None,
            Some(0) | None if body.is_end_stream() => BodySize::None,
            Some(length) => BodySize::Known(length),
            None => BodySize::Unknown,
        };
        self.body = Some(body);
        Ok(Head::Final(head, size))
    }

    /// Takes what has come of the body while there is no room for it. It fills the stream's window
    /// until it is asked for.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        let Some(body) = self.body.as_mut().filter(|_| !self.no_body) else { return };
        // An end or an error is found again by whoever asks for more.
        while let Poll::Ready(Some(Ok(data))) = body.poll_data(cx) {
            self.ahead.push(data);
        }
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(Error::new(Code::Internal, "a body before its head")));
        };
        if let Some(data) = self.ahead.pop() {
            let _ = body.flow_control().release_capacity(data.len());
            return Poll::Ready(Ok(Body::Data(data)));
        }
        let piece = loop {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // Read is consumed: it is only asked for where the client has room.
                    let _ = body.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        break Ok(Body::Data(data));
                    }
                }
                Poll::Ready(Some(Err(error))) => break Err(error),
                Poll::Ready(None) => match body.poll_trailers(cx) {
                    Poll::Ready(Ok(Some(trailers))) => {
                        break Ok(Body::Trailers(response::trailers(&trailers)));
                    }
                    Poll::Ready(Ok(None)) => break Ok(Body::End),
                    Poll::Ready(Err(error)) => break Err(error),
                    Poll::Pending => return self.poll_patience(cx).map(Err),
                },
                Poll::Pending => return self.poll_patience(cx).map(Err),
            }
        };
        self.read_stall.rest();
        Poll::Ready(match piece {
            Ok(Body::Data(_)) if self.no_body => {
                Err(Error::new(Code::UpstreamInvalid, "a body where there may be none"))
            }
            Ok(piece) => Ok(piece),
            // Content-Length says there what the body would be, and h2 misses it.
            Err(error) if self.no_body && error.is_reset() && error.is_library() => Ok(Body::End),
            Err(error) => Err(self.failed(error)),
        })
    }

    /// Ready with an error when the origin has been waited for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        // Nothing is expected of an origin that has not got the whole request; unless it will not
        // get it, then an answer is all that is left to wait for.
        if !self.broken && !matches!(self.end, End::Sent) {
            self.read_stall.rest();
            return Poll::Pending;
        }
        let deadline = self.read_stall.wait(self.read_timeout, 0);
        ready!(self.read_timer.poll(cx, deadline));
        Poll::Ready(Error::new(Code::ReadTimeout, "the origin sent nothing"))
    }
}
