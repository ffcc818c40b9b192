use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use millrace_message::Fields;
use tokio::time::Instant;

use crate::filter::Filter;
use crate::timer::Timer;
use crate::upstream::Upstream;
use crate::{Body, BodyFilter, BodySize, Downstream};

/// What is kept of a request's body for another try.
const REPLAY: usize = 64 * 1024;
/// How long an origin is given to say 100 before the body is asked for anyway (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The request's body on its way upstream, over all tries.
pub(crate) struct Upload {
    /// The body so far. One copy of it: the pieces share memory with the buffers they came in, and
    /// may be as small as a byte.
    kept: Vec<u8>,
    /// More was read than is kept: the body cannot be sent again.
    overflowed: bool,
    /// How many of the kept bytes this try has sent.
    cursor: usize,
    trailers: Option<Fields>,
    /// The client has sent all of it.
    read: bool,
    /// This try has queued all of it.
    sent: bool,
    /// Writing failed in this try; an answer may still come.
    failure: Option<Error>,
    continue_by: Option<Instant>,
    timer: Timer,
    waits_for_client: bool,
    /// What each piece passes once, however often it is sent.
    filter: Option<Filter>,
}

impl Upload {
    /// A body, `empty` if there is none: then there is nothing to filter.
    pub(crate) fn new(empty: bool, filter: Option<Box<dyn BodyFilter>>) -> Self {
        Upload {
            kept: Vec::new(),
            overflowed: false,
            cursor: 0,
            trailers: None,
            read: empty,
            sent: false,
            failure: None,
            continue_by: None,
            timer: Timer::default(),
            waits_for_client: false,
            filter: filter.filter(|_| !empty).map(Filter::new),
        }
    }

    /// Whether the body can be sent from its start.
    pub(crate) fn can_replay(&self) -> bool {
        !self.overflowed
    }

    /// How long the body that goes upstream is, where the client's is this long.
    pub(crate) fn size(&self, client: BodySize) -> BodySize {
        if self.filter.is_some() { BodySize::Unknown } else { client }
    }

    /// Another try begins.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
        self.sent = false;
        self.failure = None;
    }

    /// The connection is a tunnel now: whatever the client sends goes on, and is kept nowhere.
    pub(crate) fn become_tunnel(&mut self) {
        (self.read, self.sent, self.overflowed) = (false, false, true);
        (self.kept, self.cursor, self.trailers, self.filter) = (Vec::new(), 0, None, None);
    }

    /// Whether the client is what holds it up, so that its leaving is noticed here.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// Whether the origin took nothing for too long: no answer is waited for then.
    pub(crate) fn is_stuck(&self) -> bool {
        self.failure.as_ref().is_some_and(|error| error.code() == Code::WriteTimeout)
    }

    /// Why writing failed, if it did.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Moves the body as far as it goes. Errors are the client's; the origin's are kept aside.
    pub(crate) fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        up: &mut Upstream,
    ) -> Poll<Result<()>> {
        self.waits_for_client = false;
        if self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let room = if self.sent { up.poll_flush(cx) } else { up.poll_ready(cx) };
            if let Err(error) = ready!(room) {
                self.failure = Some(error);
                return Poll::Ready(Ok(()));
            }
            if self.sent {
                return Poll::Ready(Ok(()));
            }
            if self.cursor < self.kept.len() {
                up.send_data(Bytes::copy_from_slice(&self.kept[self.cursor..]));
                self.cursor = self.kept.len();
                continue;
            }
            if self.read {
                up.finish(self.trailers.as_ref());
                self.sent = true;
                continue;
            }
            match self.poll_piece(cx, down)? {
                Poll::Ready(Some(data)) => up.send_data(data),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    self.waits_for_client = !self.filter.as_ref().is_some_and(Filter::is_running);
                    if let Poll::Ready(Err(error)) = up.poll_flush(cx) {
                        self.failure = Some(error);
                        return Poll::Ready(Ok(()));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_piece<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Result<Option<Bytes>>> {
        if down.expects_continue() {
            let by = *self.continue_by.get_or_insert_with(|| Instant::now() + CONTINUE_WAIT);
            ready!(self.timer.poll(cx, Some(by)));
        }
        let piece = match &mut self.filter {
            Some(filter) => filter.poll(cx, |cx| down.poll_body(cx)),
            None => down.poll_body(cx),
        };
        match ready!(piece)? {
            Body::Data(data) => {
                self.keep(&data);
                Poll::Ready(Ok(Some(data)))
            }
            Body::Trailers(trailers) => {
                self.trailers = Some(trailers);
                Poll::Ready(Ok(None))
            }
            Body::End => {
                self.read = true;
                Poll::Ready(Ok(None))
            }
        }
    }

    fn keep(&mut self, data: &Bytes) {
        if self.overflowed {
            return;
        }
        if self.kept.len() + data.len() > REPLAY {
            self.overflowed = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(data);
        }
        self.cursor = self.kept.len();
    }
}
