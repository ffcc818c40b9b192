//! A request's body, a piece at a time, for who answers the request.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use millrace_error::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Body, BodyRest, Downstream};

/// The body of one request as it comes. Nothing is read ahead: the client is asked for as much as is
/// asked for here. Cheap to clone; what one clone was given, no other gets.
#[derive(Clone, Default)]
pub struct RequestPieces(Arc<Mutex<State>>);

/// A piece of a body, which is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPiece {
    /// Its bytes.
    pub data: Bytes,
    /// Nothing comes behind it, as far as that is known: the end may have to be asked for all the same.
    pub is_last: bool,
}

/// Called with a piece, with none at the end, or with what went wrong.
type Then = Box<dyn FnOnce(Result<Option<RequestPiece>>) + Send>;

#[derive(Default)]
struct State {
    then: Option<Then>,
    /// Of the task that reads.
    waker: Option<Waker>,
    asked: bool,
    over: Option<Over>,
}

enum Over {
    End,
    Failed(Error),
}

impl Over {
    fn outcome(&self) -> Result<Option<RequestPiece>> {
        match self {
            Over::End => Ok(None),
            Over::Failed(error) => Err(error.again()),
        }
    }
}

impl RequestPieces {
    /// That of a request without a body.
    pub(crate) fn empty() -> Self {
        let pieces = RequestPieces::default();
        pieces.0.lock().over = Some(Over::End);
        pieces
    }

    /// Asks for the next piece. `then` is called once, here or on the runtime of the request, which
    /// it must not block: with a piece that is not empty, with none at the end, or with an error, after
    /// which there are only more of it. Asked for again before that, the earlier one gets an error.
    pub fn ask(&self, then: impl FnOnce(Result<Option<RequestPiece>>) + Send + 'static) {
        let mut then: Option<Then> = Some(Box::new(then));
        let (outcome, earlier, waker) = {
            let mut state = self.0.lock();
            state.asked = true;
            let earlier = state.then.take();
            match &state.over {
                Some(over) => (Some(over.outcome()), earlier, None),
                None => {
                    state.then = then.take();
                    (None, earlier, state.waker.take())
                }
            }
        };
        if let Some(earlier) = earlier {
            earlier(Err(Error::new(Code::Internal, "the body was asked for twice at once")));
        }
        if let (Some(outcome), Some(then)) = (outcome, then) {
            then(outcome);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next piece; none at the end. See [`RequestPieces::ask`].
    pub async fn next(&self) -> Result<Option<RequestPiece>> {
        let (give, piece) = oneshot::channel();
        self.ask(move |outcome| drop(give.send(outcome)));
        piece.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Hands out the end to who waits for more.
    fn settle(&self) {
        let (outcome, then) = {
            let mut state = self.0.lock();
            let Some(over) = &state.over else { return };
            (over.outcome(), state.then.take())
        };
        if let Some(then) = then {
            then(outcome);
        }
    }

    fn end(&self, over: Over) {
        self.0.lock().over.get_or_insert(over);
        self.settle();
    }

    /// The request is over.
    pub(crate) fn close(&self) {
        self.end(Over::Failed(closed()));
    }

    /// Whether a piece is waited for.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.lock().then.is_some()
    }

    /// What may become of what is left.
    pub(crate) fn rest(&self) -> BodyRest {
        let state = self.0.lock();
        match (state.over.is_some(), state.asked) {
            (true, _) => BodyRest::Unwanted,
            (false, true) => BodyRest::Asked,
            (false, false) => BodyRest::MayBeAsked,
        }
    }

    /// Reads on as long as somebody waits for a piece. Ready with what went wrong.
    pub(crate) fn poll_fill<D: Downstream>(
        &self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Error> {
        loop {
            {
                let mut state = self.0.lock();
                if state.then.is_none() {
                    // With the lock held: who asks from now on finds it.
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            match std::task::ready!(down.poll_body(cx)) {
                Ok(Body::Data(data)) => {
                    let is_last = down.body_done();
                    let then = {
                        let mut state = self.0.lock();
                        if is_last {
                            state.over.get_or_insert(Over::End);
                        }
                        state.then.take()
                    };
                    if let Some(then) = then {
                        then(Ok(Some(RequestPiece { data, is_last })));
                    }
                }
                Ok(Body::Trailers(_)) => {}
                Ok(Body::End) => self.end(Over::End),
                Err(error) => {
                    self.end(Over::Failed(error.again()));
                    return Poll::Ready(error);
                }
            }
        }
    }
}

fn closed() -> Error {
    Error::new(Code::Internal, "the request is over")
}
