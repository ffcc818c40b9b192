//! Requests that phases make by themselves: through the same pipeline, without a client's connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use millrace_connectors::Peer;
use millrace_error::{Code, Error, Result};
use millrace_message::{Fields, Method, RequestHead, ResponseHead};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::app::Arrival;
use crate::downstream::forbids_body;
use crate::phases::ProxyHttp;
use crate::{
    Body, BodyRest, BodySize, ClientConnection, Downstream, Exchange, FeedBody, HttpProxy,
    Interims, Timings,
};

/// The most of a response's body that waits to be read, in bytes, but for one piece.
const MOST_HELD: usize = 64 * 1024;

/// A request that a phase makes.
pub struct Subrequest {
    /// Its head. Framing fields are set when it is sent, whatever is here.
    pub head: RequestHead,
    /// Its body.
    pub body: FeedBody,
    /// The connection whose request it is made for.
    pub connection: Arc<ClientConnection>,
    /// Where it goes, straight and past all phases. None: it has the phases of its own.
    pub peer: Option<Arc<Peer>>,
    /// Nobody will read the response: it is read to its end and forgotten.
    pub discard: bool,
}

/// What comes of a subrequest. Dropped before its end it cancels the request, unless that is one to
/// be discarded.
pub struct Subresponse {
    pipe: Arc<Pipe>,
}

impl Subresponse {
    /// The head of the response. Asked for once.
    pub async fn head(&self) -> Result<ResponseHead> {
        poll_fn(|cx| self.pipe.poll(cx, |state| state.head.take())).await?.ok_or_else(closed)
    }

    /// The next piece of its body; none at its end.
    pub async fn piece(&self) -> Result<Option<Bytes>> {
        poll_fn(|cx| {
            self.pipe.poll(cx, |state| {
                let piece = state.pieces.pop_front()?;
                state.held -= piece.len();
                Some(piece)
            })
        })
        .await
    }

    /// The rest is not wanted: ends the request.
    pub fn cancel(&self) {
        let mut state = self.pipe.0.lock();
        state.gone = true;
        state.pieces.clear();
        state.held = 0;
        wake(state.producer.take());
        wake(state.consumer.take());
    }
}

impl Drop for Subresponse {
    fn drop(&mut self) {
        if !self.pipe.0.lock().discard {
            self.cancel();
        }
    }
}

/// The way from the pipeline to who asked.
#[derive(Default)]
struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    head: Option<ResponseHead>,
    pieces: VecDeque<Bytes>,
    held: usize,
    ended: bool,
    failed: Option<Error>,
    /// Nobody wants it any more.
    gone: bool,
    discard: bool,
    producer: Option<Waker>,
    consumer: Option<Waker>,
}

impl Pipe {
    /// What `take` finds; none at the end.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<Result<Option<T>>> {
        let mut state = self.0.lock();
        if state.gone {
            return Poll::Ready(Err(cancelled()));
        }
        if let Some(found) = take(&mut state) {
            wake(state.producer.take());
            return Poll::Ready(Ok(Some(found)));
        }
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Err(error));
        }
        if state.ended {
            return Poll::Ready(Ok(None));
        }
        state.consumer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        wake(state.consumer.take());
    }

    fn end(&self, failed: Option<Error>) {
        self.change(|state| {
            if !std::mem::replace(&mut state.ended, true) {
                state.failed = failed;
            }
        });
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Where a method gives a body a meaning, that there is none is said (RFC 9110 §8.6): some origins refuse
/// what does not say it.
fn size_of(body: &FeedBody, method: &Method) -> BodySize {
    match body.size() {
        BodySize::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            BodySize::Known(0)
        }
        size => size,
    }
}

fn closed() -> Error {
    Error::new(Code::Internal, "the subrequest has ended")
}

fn cancelled() -> Error {
    Error::new(Code::ClientAborted, "the subrequest was cancelled")
}

impl<P: ProxyHttp> HttpProxy<P> {
    /// Makes a subrequest, on the runtime of its connection: its number as an [`Exchange`], and what
    /// will come of it. It ends with the runtime at the latest.
    pub fn subrequest(self: &Arc<Self>, sub: Subrequest, runtime: &Handle) -> (u64, Subresponse) {
        let Subrequest { head, body, connection, peer, discard } = sub;
        let pipe = Arc::new(Pipe::default());
        pipe.0.lock().discard = discard;
        let id = crate::app::next_request();
        let mut down = SubDownstream {
            pipe: pipe.clone(),
            interims: Interims::default(),
            method: head.method.clone(),
            size: size_of(&body, &head.method),
            body,
            received: 0,
            no_body: false,
            passes_errors_on: peer.is_some(),
            failure: None,
            sent: 0,
        };
        let timings = Timings::start();
        let arrival =
            Arrival { request: head, timings, conn: connection, requests: 0, refused: None };
        match peer {
            None => {
                let proxy = self.clone();
                runtime.spawn(async move { proxy.serve_as(&mut down, arrival, id).await });
            }
            Some(peer) => {
                let proxy = self.straight_to(peer);
                runtime.spawn(async move { proxy.serve_as(&mut down, arrival, id).await });
            }
        }
        (id, Subresponse { pipe })
    }

    /// The same proxy without phases, for one peer: routes and values are not for it, and it shares all else.
    fn straight_to(&self, peer: Arc<Peer>) -> HttpProxy<Straight> {
        HttpProxy {
            phases: Straight(peer),
            options: self.straight_options.clone(),
            straight_options: self.straight_options.clone(),
            connector: self.connector.clone(),
            log: self.log.clone(),
            counting: self.counting.clone(),
            successor: ArcSwapOption::empty(),
            succeeded: Notify::new(),
            serving: self.serving.clone(),
        }
    }
}

/// The phases of a subrequest that has none. Whoever made it is told of its failure.
struct Straight(Arc<Peer>);

impl ProxyHttp for Straight {
    type Ctx = ();

    fn new_ctx(&self, _ex: &Exchange) {}

    async fn upstream_peer(&self, _ex: &Exchange, _ctx: &()) -> Result<Arc<Peer>> {
        Ok(self.0.clone())
    }

    fn suppress_error_log(&self, _ex: &Exchange, _error: &Error, _ctx: &()) -> bool {
        true
    }
}

/// A client that is a phase.
struct SubDownstream {
    pipe: Arc<Pipe>,
    interims: Interims,
    method: Method,
    body: FeedBody,
    size: BodySize,
    received: u64,
    no_body: bool,
    /// Whether it is told of errors as such, not by error pages.
    passes_errors_on: bool,
    failure: Option<Error>,
    sent: u64,
}

impl Downstream for SubDownstream {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        let piece = self.body.poll(cx);
        if let Poll::Ready(Ok(Body::Data(data))) = &piece {
            self.received += data.len() as u64;
        }
        piece
    }

    fn body_done(&self) -> bool {
        self.body.is_done()
    }

    fn body_size(&self) -> BodySize {
        self.size
    }

    fn expects_continue(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.pipe.0.lock();
        if state.gone {
            return Poll::Ready(cancelled());
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn interims(&self) -> &Interims {
        &self.interims
    }

    fn send_interim(&mut self, _head: &ResponseHead) {}

    fn send_head(&mut self, head: &mut ResponseHead, size: BodySize, _rest: BodyRest) {
        self.no_body = forbids_body(&self.method, head.status);
        size.declare(head, self.no_body);
        let head = head.clone();
        self.pipe.change(|state| state.head = Some(head));
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.pipe.0.lock();
        if state.gone {
            return Poll::Ready(Err(cancelled()));
        }
        if state.held < MOST_HELD || state.discard {
            return Poll::Ready(Ok(()));
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn send_data(&mut self, data: Bytes) {
        self.sent += data.len() as u64;
        if self.no_body || data.is_empty() {
            return;
        }
        self.pipe.change(|state| {
            if !state.discard && !state.gone {
                state.held += data.len();
                state.pieces.push_back(data);
            }
        });
    }

    fn takes_trailers(&self, _request: &RequestHead) -> bool {
        false
    }

    fn finish(&mut self, _trailers: Option<&Fields>) {
        self.pipe.end(None);
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn passes_on(&mut self, error: &Error) -> bool {
        self.failure = Some(error.again());
        self.passes_errors_on
    }

    fn abort(&mut self) {
        let error = self.failure.take().unwrap_or_else(closed);
        self.pipe.end(Some(error));
    }

    fn transferred(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    fn is_last(&self) -> bool {
        false
    }
}

/// A task that ends with its runtime leaves nobody waiting.
impl Drop for SubDownstream {
    fn drop(&mut self) {
        let over = || Error::new(Code::ServerClosed, "the server stopped");
        self.pipe.end(Some(self.failure.take().unwrap_or_else(over)));
    }
}
