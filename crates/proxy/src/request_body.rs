//! The request's body, for phases that want all of it before an upstream is chosen, and for those who
//! answer the request themselves.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use millrace_error::{Code, Error, Result, Source};
use millrace_message::Fields;
use parking_lot::Mutex;

use crate::h1::too_large;
use crate::pieces::RequestPieces;
use crate::{Body, BodyRest, BodySize, Downstream};

/// The body of one request. A phase before the upstream may wait for all of it; it goes upstream all
/// the same, and may be sent again.
#[derive(Default)]
pub struct RequestBody {
    /// None if there is no body.
    size: Option<BodySize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What a phase waits for, at most so many bytes of it.
    wanted: Option<usize>,
    waker: Option<Waker>,
    read: Early,
    /// It goes upstream: what was not read by now never will be.
    is_closed: bool,
    /// What the phases were told instead of a body.
    told: Option<Code>,
    /// Somebody may take it piece by piece.
    pieces: Option<RequestPieces>,
}

/// What was read of a body before its upstream was chosen.
#[derive(Default)]
pub(crate) struct Early {
    /// As it grows; all of it is in `data` then.
    growing: Vec<u8>,
    pub(crate) data: Bytes,
    pub(crate) trailers: Option<Fields>,
    /// All of it was.
    pub(crate) is_whole: bool,
    /// Why no more can be.
    failed: Option<Error>,
    /// The most that a phase asked for.
    pub(crate) most: usize,
}

impl RequestBody {
    /// A body of this size.
    pub(crate) fn new(size: BodySize) -> Self {
        RequestBody { size: Some(size), state: Mutex::default() }
    }

    /// Whether there is one, even of no bytes.
    pub fn exists(&self) -> bool {
        self.size.is_some()
    }

    /// All of it, once the client has sent it: at once if there is no body, or if it was read before.
    /// Nothing is read for a body whose head already says that it is too long; one that turns out to be
    /// can still be asked for with a larger limit, or go upstream unread.
    ///
    /// # Errors
    ///
    /// `BodyTooLarge` for a body of more than `most` bytes; what went wrong in reading; `Internal`
    /// once it is on its way upstream and was not read before.
    pub async fn read(&self, most: usize) -> Result<Bytes> {
        poll_fn(|cx| self.poll_read(cx, most)).await
    }

    fn poll_read(&self, cx: &mut Context<'_>, most: usize) -> Poll<Result<Bytes>> {
        let Some(size) = self.size else { return Poll::Ready(Ok(Bytes::new())) };
        let mut state = self.state.lock();
        let state = &mut *state;
        let limit = most as u64;
        let is_too_long = matches!(size, BodySize::Known(length) if length > limit);
        let error = if is_too_long || state.read.len() > most {
            too_large(limit)
        } else if state.read.is_whole {
            return Poll::Ready(Ok(state.read.data.clone()));
        } else if let Some(failed) = &state.read.failed {
            failed.again()
        } else if state.is_closed {
            Error::new(Code::Internal, "the body is on its way upstream")
        } else {
            state.wanted = Some(most);
            state.read.most = state.read.most.max(most);
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        state.told = Some(error.code());
        Poll::Ready(Err(error))
    }

    /// The body as it comes, for a phase that answers the request: it can be asked for while the phase
    /// runs, and while the answer's own body is sent. What is not asked for is not read.
    pub fn pieces(&self) -> RequestPieces {
        if !self.exists() {
            return RequestPieces::empty();
        }
        self.state.lock().pieces.get_or_insert_default().clone()
    }

    /// What may become of what is left of it while an answer is sent.
    pub(crate) fn rest(&self) -> BodyRest {
        if !self.exists() {
            return BodyRest::Unwanted;
        }
        self.state.lock().pieces.as_ref().map_or(BodyRest::Unwanted, RequestPieces::rest)
    }

    /// No phase waits for it any more.
    pub(crate) fn forget(&self) {
        if self.exists() {
            self.state.lock().wanted = None;
        }
    }

    /// Whether a phase waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        if !self.exists() {
            return false;
        }
        let state = self.state.lock();
        state.wanted.is_some() || state.pieces.as_ref().is_some_and(RequestPieces::is_wanted)
    }

    /// Reads on for the phase that waits. Ready when it has something to go on with; with an error
    /// when the client has left, so that there is nobody to go on for.
    pub(crate) fn poll_fill<D: Downstream>(
        &self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Result<()>> {
        if !self.exists() {
            return Poll::Pending;
        }
        let (wanted, pieces) = {
            let state = self.state.lock();
            (state.wanted, state.pieces.clone())
        };
        let Some(most) = wanted else {
            let Some(pieces) = pieces else { return Poll::Pending };
            let failed = ready!(pieces.poll_fill(cx, down));
            if failed.code() == Code::ClientAborted {
                return Poll::Ready(Err(failed));
            }
            self.state.lock().told = Some(failed.code());
            return Poll::Ready(Ok(()));
        };
        loop {
            let piece = ready!(down.poll_body(cx));
            let mut state = self.state.lock();
            match piece {
                Ok(Body::Data(data)) => {
                    state.read.growing.extend_from_slice(&data);
                    if state.read.len() <= most {
                        continue;
                    }
                }
                Ok(Body::Trailers(trailers)) => {
                    state.read.trailers = Some(trailers);
                    continue;
                }
                Ok(Body::End) => {
                    state.read.is_whole = true;
                    state.read.settle();
                }
                Err(error) if error.code() == Code::ClientAborted => {
                    return Poll::Ready(Err(error));
                }
                Err(error) => state.read.failed = Some(error),
            }
            state.wanted = None;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// The error of a phase, or of what makes an answer's body: where it is what that was told of this
    /// body, the client is to blame.
    pub(crate) fn blame(&self, error: Error) -> Error {
        if error.source() != Source::Internal || !self.exists() {
            return error;
        }
        match self.state.lock().told {
            Some(code) if code == error.code() && code != Code::Internal => {
                error.from_source(Source::Downstream)
            }
            _ => error,
        }
    }

    /// The body goes upstream: what was read of it. All of it can still be asked for, a part cannot.
    pub(crate) fn close(&self) -> Early {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_closed, true) || !self.exists() {
            return Early::default();
        }
        let read = &mut state.read;
        if read.is_whole {
            let (data, trailers) = (read.data.clone(), read.trailers.take());
            return Early { data, trailers, is_whole: true, most: read.most, ..Early::default() };
        }
        read.settle();
        std::mem::take(read)
    }
}

impl Early {
    fn len(&self) -> usize {
        self.growing.len() + self.data.len()
    }

    fn settle(&mut self) {
        self.data = std::mem::take(&mut self.growing).into_boxed_slice().into();
    }

    /// The body from its start: what was read of it, and then the rest.
    pub(crate) fn poll_body<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Result<Body>> {
        if !self.data.is_empty() {
            return Poll::Ready(Ok(Body::Data(std::mem::take(&mut self.data))));
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.is_whole {
            return Poll::Ready(Ok(match self.trailers.take() {
                Some(trailers) => Body::Trailers(trailers),
                None => Body::End,
            }));
        }
        down.poll_body(cx)
    }
}

/// Nobody waits for what will not come any more.
impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(pieces) = self.state.get_mut().pieces.take() {
            pieces.close();
        }
    }
}
