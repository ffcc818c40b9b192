//! A request's body that is made piece by piece, for requests of our own.

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use parking_lot::Mutex;

use crate::{Body, BodySize};

/// The body of a request of our own.
pub enum FeedBody {
    /// All of it is there.
    Whole(Bytes),
    /// It comes piece by piece.
    Fed(Fed),
}

/// A body that is fed.
pub struct Fed {
    feed: BodyFeed,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
}

impl From<Bytes> for FeedBody {
    fn from(body: Bytes) -> Self {
        FeedBody::Whole(body)
    }
}

impl FeedBody {
    /// One that comes piece by piece, `length` bytes in all where that is known: more or fewer fail the
    /// request.
    pub fn fed(feed: BodyFeed, length: Option<u64>) -> Self {
        if length == Some(0) {
            feed.close();
            return FeedBody::Whole(Bytes::new());
        }
        FeedBody::Fed(Fed { feed, left: length })
    }

    /// How long it is, as far as that is known.
    pub(crate) fn size(&self) -> BodySize {
        match self {
            FeedBody::Whole(body) if body.is_empty() => BodySize::None,
            FeedBody::Whole(body) => BodySize::Known(body.len() as u64),
            FeedBody::Fed(fed) => fed.left.map_or(BodySize::Unknown, BodySize::Known),
        }
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            FeedBody::Whole(body) => body.is_empty(),
            FeedBody::Fed(fed) => fed.feed.0.lock().told_end,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        match self {
            FeedBody::Whole(body) if body.is_empty() => Poll::Ready(Ok(Body::End)),
            FeedBody::Whole(body) => Poll::Ready(Ok(Body::Data(std::mem::take(body)))),
            FeedBody::Fed(fed) => fed.poll(cx),
        }
    }
}

impl Drop for FeedBody {
    fn drop(&mut self) {
        if let FeedBody::Fed(fed) = self {
            fed.feed.close();
        }
    }
}

impl Fed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        let piece = ready!(self.feed.poll(cx))?;
        if let Some(left) = &mut self.left {
            let came = if let Body::Data(data) = &piece { data.len() as u64 } else { 0 };
            let is_end = matches!(piece, Body::End);
            *left = left
                .checked_sub(came)
                .filter(|left| !is_end || *left == 0)
                .ok_or_else(wrong_length)?;
        }
        Poll::Ready(Ok(piece))
    }
}

fn wrong_length() -> Error {
    Error::new(Code::ClientAborted, "the body of the request is not as long as was said")
}

type Taken = Box<dyn FnOnce(bool) + Send>;

/// Feeds the body of a request, a piece at a time: no more is held than one. Cheap to clone.
#[derive(Clone, Default)]
pub struct BodyFeed(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    piece: Option<(Bytes, Taken)>,
    end: bool,
    told_end: bool,
    failed: bool,
    /// Nobody takes any more.
    closed: bool,
    waker: Option<Waker>,
}

impl BodyFeed {
    /// Gives the next piece. `then` is called once: with true when it has been taken, so that there is
    /// room for another; with false if nobody wants any more.
    pub fn write(&self, data: Bytes, then: impl FnOnce(bool) + Send + 'static) {
        let mut then: Option<Taken> = Some(Box::new(then));
        let earlier = {
            let mut state = self.0.lock();
            let mut earlier = None;
            if !state.closed && !data.is_empty() {
                earlier = then.take().and_then(|then| state.piece.replace((data, then)));
                wake(&mut state);
            }
            (earlier, !state.closed)
        };
        if let (Some((_, then)), _) = earlier {
            then(false);
        }
        if let Some(then) = then {
            then(earlier.1);
        }
    }

    /// All has been given.
    pub fn finish(&self) {
        let mut state = self.0.lock();
        state.end = true;
        wake(&mut state);
    }

    /// The rest will not come: the request fails.
    pub fn abort(&self) {
        let mut state = self.0.lock();
        state.failed = true;
        wake(&mut state);
    }

    fn close(&self) {
        let piece = {
            let mut state = self.0.lock();
            state.closed = true;
            state.piece.take()
        };
        if let Some((_, then)) = piece {
            then(false);
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        let (data, then) = {
            let mut state = self.0.lock();
            if state.failed {
                let message = "the body of the request failed";
                return Poll::Ready(Err(Error::new(Code::ClientAborted, message)));
            }
            match state.piece.take() {
                Some(piece) => piece,
                None if state.end => {
                    state.told_end = true;
                    return Poll::Ready(Ok(Body::End));
                }
                None => {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        then(true);
        Poll::Ready(Ok(Body::Data(data)))
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}
