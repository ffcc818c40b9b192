//! The one place where errors and answers of our own become responses.

use millrace_error::{Code, Error, Result, Source};
use millrace_message::Method;

use crate::downstream::opens_tunnel;
use crate::phases::ProxyHttp;
use crate::relay::{alive, flushed};
use crate::{Answer, BodySize, Downstream, Exchange, HttpProxy};

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
        answer: Answer,
    ) -> Result<()> {
        check_answer(ex, answer.head.status)?;
        let Answer { mut head, body } = answer;
        // Where there is never a body, nobody knows how long it would be (RFC 9110 §8.6).
        let bodiless = head.status == 304 || ex.request.method == Method::HEAD;
        let size = if bodiless && body.is_empty() {
            BodySize::None
        } else {
            BodySize::Known(body.len() as u64)
        };
        down.send_head(&mut head, size, false);
        ex.response = Some(head);
        ex.response_started = true;
        if !body.is_empty() {
            down.send_data(body);
        }
        down.finish(None);
        flushed(down).await
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
            // A failure of this phase leaves the plain page; the first error is the one to log.
            answer = alive(down, self.phases.fail_to_proxy(ex, error, ctx)).await.unwrap_or(None);
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
        if self.send(down, ex, answer).await.is_err() {
            down.abort();
        }
    }
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
