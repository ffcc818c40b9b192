//! The one place where errors and answers of our own become responses.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use millrace_error::{Code, Error, Level, Result, Source};
use millrace_message::{Method, ResponseHead};

use crate::downstream::{forbids_body, opens_tunnel};
use crate::filter::Filter;
use crate::phases::ProxyHttp;
use crate::relay::{alive, flushed, poll_flush_error};
use crate::stats::Stage;
use crate::{
    Answer, Body, BodyFilter, BodyRest, BodySize, Downstream, Exchange, HttpProxy, RequestBody,
};

impl<P: ProxyHttp> HttpProxy<P> {
    /// Sends an answer of our own.
    pub(crate) async fn answer<D: Downstream>(
        &self,
        down: &mut D,
        ex: &mut Exchange,
        ctx: &P::Ctx,
        mut answer: Answer,
    ) -> Result<()> {
        if self.options.filter_own_responses {
            let filter = self.phases.response_filter(ex, &mut answer.head, ctx);
            if let Some(other) = alive(down, filter).await? {
                answer = other;
            }
        }
        self.send(down, ex, answer).await
    }

    /// Sends an answer that no filter sees.
    pub(crate) async fn send<D: Downstream>(
        &self,
        down: &mut D,
        ex: &mut Exchange,
        mut answer: Answer,
    ) -> Result<()> {
        check_answer(ex, answer.head.status)?;
        if let Some(routing) = &self.options.routing {
            routing.complete(ex, &mut answer.head.fields);
        }
        let (head, rest) = begin(down, &ex.request.method, &ex.body, answer);
        ex.response = Some(head);
        ex.response_started = true;
        self.counting.advance(&mut ex.stage, Stage::Responding);
        rest.send(down, &ex.body).await
    }

    /// The request failed: answers what can be answered.
    pub(crate) async fn fail<D: Downstream>(
        &self,
        down: &mut D,
        ex: &mut Exchange,
        ctx: &P::Ctx,
        error: &Error,
        asks_phase: bool,
    ) {
        let unreachable = error.source() == Source::Downstream
            && matches!(error.code(), Code::ClientAborted | Code::WriteTimeout);
        let passes_on = down.passes_on(error);
        if ex.response_started || unreachable || !down.can_answer() {
            down.abort();
            return;
        }
        let mut answer = None;
        if asks_phase {
            // A failure of this phase leaves the plain page; the first error is that of the request.
            let asked = alive(down, self.phases.fail_to_proxy(ex, error, ctx)).await;
            answer = asked.unwrap_or_else(|failure| {
                self.tell_failed_page(&failure);
                None
            });
        }
        let answer = answer.filter(|answer| check_answer(ex, answer.head.status).is_ok());
        if answer.is_none() && passes_on {
            down.abort();
            return;
        }
        let status = if check_answer(ex, error.status()).is_ok() { error.status() } else { 500 };
        let mut answer = answer.unwrap_or_else(|| Answer::plain(status));
        if status == 405 && !answer.head.fields.contains("allow") {
            answer
                .head
                .fields
                .push_unchecked(b"allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        }
        if let Err(failure) = self.send(down, ex, answer).await {
            self.tell_failed_page(&failure);
            down.abort();
        }
    }

    /// A line of its own, as the request fails for another reason.
    fn tell_failed_page(&self, failure: &Error) {
        if failure.source() != Source::Downstream {
            self.log
                .log(Level::Error, &format!("the answer to a failed request failed: {failure}"));
        }
    }
}

/// What the head of an answer says of its length.
fn declared(head: &ResponseHead) -> Option<u64> {
    std::str::from_utf8(head.fields.get("content-length")?).ok()?.parse().ok()
}

fn wrong_length(length: u64) -> Error {
    let message = format!("the body of the answer has not the {length} bytes that its head says");
    Error::new(Code::PhaseReturn, message)
}

/// Sends an answer to a request with this method, to its last byte: for apps that serve requests by
/// themselves.
///
/// # Errors
///
/// That the client left or is too slow; that the answer is none, or its body not as long as it says.
/// Once the head is out nothing else can be sent, but for [`Downstream::abort`].
pub async fn respond<D: Downstream>(down: &mut D, method: &Method, answer: Answer) -> Result<()> {
    check_status(answer.head.status)?;
    let nobody = RequestBody::default();
    let (_, rest) = begin(down, method, &nobody, answer);
    rest.send(down, &nobody).await
}

/// An answer whose head is out.
struct Rest {
    size: BodySize,
    body: Bytes,
    stream: Option<Box<dyn BodyFilter>>,
}

/// Sends the head of an answer.
fn begin<D: Downstream>(
    down: &mut D,
    method: &Method,
    request: &RequestBody,
    answer: Answer,
) -> (ResponseHead, Rest) {
    let Answer { mut head, body, stream } = answer;
    let stream = stream.filter(|_| !forbids_body(method, head.status));
    // Where there is never a body, nobody knows how long it would be (RFC 9110 §8.6).
    let bodiless = head.status == 304 || *method == Method::HEAD;
    let size = if stream.is_some() {
        declared(&head).map_or(BodySize::Unknown, BodySize::Known)
    } else if bodiless && body.is_empty() {
        BodySize::None
    } else {
        BodySize::Known(body.len() as u64)
    };
    // Who makes the body may still read that of the request.
    let rest = if stream.is_some() { request.rest() } else { BodyRest::Unwanted };
    down.send_head(&mut head, size, rest);
    (head, Rest { size, body, stream })
}

impl Rest {
    async fn send<D: Downstream>(self, down: &mut D, request: &RequestBody) -> Result<()> {
        let Rest { size, body, stream } = self;
        let mut sent = body.len() as u64;
        if !body.is_empty() {
            down.send_data(body);
        }
        if let Some(stream) = stream {
            let most = if let BodySize::Known(length) = size { length } else { u64::MAX };
            sent += drained(down, request, stream, most).await?;
        }
        if let BodySize::Known(length) = size
            && length != sent
        {
            return Err(wrong_length(length));
        }
        down.finish(None);
        flushed(down).await
    }
}

/// Sends what a stream makes, as fast as the client takes it: how many bytes that is. Reads the
/// request's body on meanwhile, where that is asked for.
async fn drained<D: Downstream>(
    down: &mut D,
    request: &RequestBody,
    stream: Box<dyn BodyFilter>,
    most: u64,
) -> Result<u64> {
    let mut stream = Filter::source(stream);
    let mut sent = 0;
    poll_fn(|cx| {
        loop {
            if down.poll_ready(cx)?.is_pending() {
                break;
            }
            let made = stream.poll(cx, |_| Poll::Ready(Ok(Body::End)));
            match made.map_err(|error| request.blame(error))? {
                Poll::Ready(Body::Data(data)) => {
                    sent += data.len() as u64;
                    if sent > most {
                        return Poll::Ready(Err(wrong_length(most)));
                    }
                    down.send_data(data);
                }
                Poll::Ready(_) => return Poll::Ready(Ok(sent)),
                Poll::Pending => {
                    if let Poll::Ready(error) = poll_flush_error(cx, down) {
                        return Poll::Ready(Err(error));
                    }
                    break;
                }
            }
        }
        loop {
            match request.poll_fill(cx, down) {
                Poll::Ready(filled) => filled?,
                // Who reads the body sees the client leave.
                Poll::Pending if request.is_wanted() => return Poll::Pending,
                Poll::Pending => return down.poll_gone(cx).map(Err),
            }
        }
    })
    .await
}

/// Refuses a status of our own that says what is not so: of a CONNECT, that there is a tunnel.
fn check_answer(ex: &Exchange, status: u16) -> Result<()> {
    if opens_tunnel(&ex.request.method, status) {
        let message = format!("{status} would say that there is a tunnel");
        return Err(Error::new(Code::PhaseReturn, message));
    }
    check_status(status)
}

/// Refuses a status that does not end a request, or is none: the client would wait for another, or
/// take the connection for a tunnel.
pub(crate) fn check_status(status: u16) -> Result<()> {
    match status {
        200..=999 => Ok(()),
        _ => Err(Error::new(Code::PhaseReturn, format!("{status} is not the status of an answer"))),
    }
}
