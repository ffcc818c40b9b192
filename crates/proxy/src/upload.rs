use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use millrace_message::Fields;
use tokio::time::Instant;

use crate::filter::Filter;
use crate::kept::Kept;
use crate::request_body::Early;
use crate::timer::Timer;
use crate::upstream::Upstream;
use crate::{Body, BodyFilter, BodySize, Downstream};

/// How long an origin is given to say 100 before the body is asked for anyway (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The request's body on its way upstream, over all tries.
pub(crate) struct Upload {
    kept: Kept,
    /// What a phase read, and the filter has not seen yet.
    early: Early,
    /// A phase read all of it, and nothing changes it: its length is known.
    has_length: bool,
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
            kept: Kept::default(),
            early: Early::default(),
            has_length: false,
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

    /// What was read of the body before the first try. That is kept, whatever its size.
    pub(crate) fn begin(&mut self, mut early: Early) {
        let mut first = Bytes::new();
        if self.filter.is_none() {
            first = std::mem::take(&mut early.data);
            (self.read, self.trailers) = (self.read || early.is_whole, early.trailers.take());
            self.has_length = early.is_whole && self.trailers.is_none();
        }
        self.kept.start(first, early.most);
        self.early = early;
    }

    /// Whether the body can be sent from its start.
    pub(crate) fn can_replay(&self) -> bool {
        self.kept.can_replay()
    }

    /// How long the body that goes upstream is, where the client's is this long.
    pub(crate) fn size(&self, client: BodySize) -> BodySize {
        match &self.filter {
            Some(_) => BodySize::Unknown,
            None if self.has_length => BodySize::Known(self.kept.early_length()),
            None => client,
        }
    }

    /// Another try begins.
    pub(crate) fn rewind(&mut self) {
        self.kept.rewind();
        self.sent = false;
        self.failure = None;
    }

    /// The connection is a tunnel now: whatever the client sends goes on, and is kept nowhere.
    pub(crate) fn become_tunnel(&mut self) {
        (self.read, self.sent) = (false, false);
        (self.early, self.trailers, self.filter) = (Early::default(), None, None);
        self.kept.overflow();
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
            if let Some(data) = self.kept.next() {
                up.send_data(data);
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
        let early = &mut self.early;
        let piece = match &mut self.filter {
            Some(filter) => filter.poll(cx, |cx| early.poll_body(cx, down)),
            None => early.poll_body(cx, down),
        };
        match ready!(piece)? {
            Body::Data(data) => {
                self.kept.add(&data);
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
}
