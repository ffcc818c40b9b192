use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use millrace_error::Error;
use millrace_message::ResponseHead;
use millrace_proxy::{ClientConnection, InterimSender, RequestPiece, RequestPieces};
use millrace_transport::TlsInfo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Crossing, Item, Kind, Outcome, Reply, Section};

/// Where one live request waits for its answers.
pub(crate) struct Cell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seq: u32,
    /// When JS took the item, or reported its latest phase; none while it is queued.
    begun: Option<Instant>,
    /// How long each phase may take; none if nobody waits.
    waiting: Option<Duration>,
    /// When an item was first seen in the queue by [`Cell::expire`], as asking for the time is dear.
    noticed: Option<Instant>,
    reply: Option<Reply>,
    waker: Option<Waker>,
    /// The runtime whose router hands the answer out.
    router: usize,
    /// Of the connection of the request that has the slot.
    tls: Option<Arc<TlsInfo>>,
    /// The phase waits for the body of its request, of at most so many bytes.
    wanted: Option<u32>,
    /// The phase waits for the client, whose time is not its own.
    paused: Option<Paused>,
    /// The body that it got.
    body: Option<Bytes>,
    /// The way to the client of that request, until it is over.
    interims: Option<InterimSender>,
    connection: Option<Arc<ClientConnection>>,
    /// When the time of that request is up.
    ends: Option<Instant>,
    /// When that of the try is that the crossing belongs to.
    try_ends: Option<Instant>,
    /// The body of that request, for an app.
    pieces: Option<RequestPieces>,
}

/// The time of a phase while it stands still.
struct Paused {
    limit: Duration,
    /// What the phase had taken before.
    spent: Duration,
}

impl State {
    fn pause(&mut self) {
        if let Some(limit) = self.waiting.take() {
            let spent = self.begun.map(|begun| begun.elapsed()).unwrap_or_default();
            self.paused = Some(Paused { limit, spent });
        }
    }

    fn go_on(&mut self) {
        if let Some(Paused { limit, spent }) = self.paused.take() {
            let now = Instant::now();
            self.waiting = Some(limit);
            self.begun = Some(now.checked_sub(spent).unwrap_or(now));
        }
    }
}

impl Cell {
    pub(super) fn new() -> Self {
        Cell { state: Mutex::default() }
    }

    /// JS has taken the item, or begun the next of its phases.
    pub(super) fn begin(&self, seq: u32, now: Instant) {
        let mut state = self.state.lock();
        if state.seq == seq {
            state.begun = Some(now);
        }
    }

    /// The router an answer to `seq` goes through; none if nobody waits for it.
    pub(super) fn router(&self, seq: u32) -> Option<usize> {
        let state = self.state.lock();
        (state.seq == seq).then_some(state.router)
    }

    pub(super) fn complete(&self, seq: u32, reply: Reply) {
        let waker = {
            let mut state = self.state.lock();
            if state.seq != seq {
                return;
            }
            state.waiting = None;
            state.reply = Some(reply);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the wait if it has been too long. Asked by the router of the runtime, now and then: a
    /// timer for each crossing would cost more than the crossing.
    pub(super) fn expire(&self, router: usize, now: Instant) {
        let (seq, outcome) = {
            let mut state = self.state.lock();
            let Some(limit) = state.waiting.filter(|_| state.router == router) else {
                return;
            };
            let since = state.begun.unwrap_or_else(|| *state.noticed.get_or_insert(now));
            if since + limit > now {
                return;
            }
            let begun = state.begun.is_some();
            (state.seq, if begun { Outcome::TooSlow } else { Outcome::NeverBegun })
        };
        self.complete(seq, Reply::without_words(outcome));
    }

    /// What the handshake of the client came to, if there was one.
    pub(super) fn tls(&self) -> Option<Arc<TlsInfo>> {
        self.state.lock().tls.clone()
    }

    /// The phase waits for the body of its request, and is not timed until it has it.
    pub(super) fn want_body(&self, seq: u32, most: u32) {
        let waker = {
            let mut state = self.state.lock();
            // Once there is a reply nobody would look.
            if state.seq != seq || state.reply.is_some() {
                return;
            }
            state.wanted = Some(most);
            state.pause();
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sends the client an interim response, if there is still somebody to get it.
    pub(super) fn interim(&self, head: ResponseHead) {
        let waker = {
            let state = self.state.lock();
            let sent = state.interims.as_ref().is_some_and(|interims| interims.send(head));
            state.waker.clone().filter(|_| sent)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks for the next piece of the request's body. Who waits for the client is not timed meanwhile.
    pub(super) fn ask_piece(
        self: &Arc<Self>,
        then: impl FnOnce(Result<Option<RequestPiece>, Error>) + Send + 'static,
    ) {
        let (pieces, seq) = {
            let mut state = self.state.lock();
            let Some(pieces) = state.pieces.clone() else {
                drop(state);
                return then(Err(over()));
            };
            if state.reply.is_none() {
                state.pause();
            }
            (pieces, state.seq)
        };
        let cell = self.clone();
        pieces.ask(move |outcome| {
            cell.resume(seq);
            then(outcome);
        });
    }

    fn resume(&self, seq: u32) {
        let mut state = self.state.lock();
        if state.seq == seq && state.reply.is_none() {
            state.go_on();
        }
    }

    pub(super) fn body(&self) -> Option<Bytes> {
        self.state.lock().body.clone()
    }

    /// The request is over, for JS too.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        (state.body, state.tls) = (None, None);
    }

    /// The connection of the client, until its request is over.
    pub(super) fn connection(&self) -> Option<Arc<ClientConnection>> {
        self.state.lock().connection.clone()
    }

    pub(super) fn close(&self) {
        let seq = self.state.lock().seq;
        self.complete(seq, Reply::without_words(Outcome::Closed));
    }
}

/// What there is of the body of a request that has ended.
pub(super) fn over() -> Error {
    Error::new(millrace_error::Code::Internal, "the request is over")
}

/// What a slot has of the client whose request it is.
#[derive(Default)]
pub(crate) struct Client {
    /// What the handshake came to.
    pub(crate) tls: Option<Arc<TlsInfo>>,
    pub(crate) interims: Option<InterimSender>,
    pub(crate) connection: Option<Arc<ClientConnection>>,
    /// When its time is up.
    pub(crate) ends: Option<Instant>,
    pub(crate) pieces: Option<RequestPieces>,
}

/// A slot held by a request, from its first crossing to its end.
pub(crate) struct Lease {
    pub(super) slot: u32,
    pub(super) cell: Arc<Cell>,
    seq: u32,
    router: usize,
}

impl Lease {
    pub(super) fn new(slot: u32, cell: Arc<Cell>, router: usize, client: Client) -> Self {
        let seq = {
            let mut state = cell.state.lock();
            state.tls = client.tls;
            state.interims = client.interims;
            state.connection = client.connection;
            state.ends = client.ends;
            state.pieces = client.pieces;
            state.router = router;
            state.reply = None;
            state.begun = None;
            state.seq
        };
        Lease { slot, cell, seq, router }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// The number of the next crossing: answers to those before are dropped. `try_ends`: when the
    /// time of its try is up, if it belongs to one.
    pub(crate) fn next_seq(&mut self, try_ends: Option<Instant>) -> u32 {
        let mut state = self.cell.state.lock();
        state.try_ends = try_ends;
        state.seq = state.seq.wrapping_add(1);
        state.reply = None;
        state.begun = None;
        state.noticed = None;
        (state.wanted, state.paused) = (None, None);
        state.router = self.router;
        self.seq = state.seq;
        self.seq
    }

    /// Queues `item`; what is returned waits for its answer. If it is not waited for to the end, JS is
    /// told.
    pub(crate) fn cross<C: Borrow<Arc<Crossing>>>(
        self,
        crossing: C,
        mut item: Item,
        limit: Option<Duration>,
    ) -> Flight<C> {
        item.head.waiter = Some(self.cell.clone());
        let proxy = item.head.ints[super::item::at::PROXY] as u32;
        self.cell.state.lock().waiting = limit;
        let queued = crossing.borrow().push(item);
        Flight { lease: Some(self), crossing, proxy, queued, landed: !queued, is_slow: false }
    }
}

/// What JS sends from now on would reach the next request of the connection.
impl Drop for Lease {
    fn drop(&mut self) {
        let _connection = {
            let mut state = self.cell.state.lock();
            state.interims = None;
            state.pieces = None;
            // Dropped without the lock: the last one to hold it queues an item.
            state.connection.take()
        };
    }
}

/// A crossing under way.
pub(crate) struct Flight<C: Borrow<Arc<Crossing>>> {
    lease: Option<Lease>,
    crossing: C,
    proxy: u32,
    queued: bool,
    landed: bool,
    /// A phase took too long.
    is_slow: bool,
}

/// Why a crossing is void; JS knows them too.
mod reason {
    pub(super) const LEFT: i32 = 1;
    pub(super) const TOO_SLOW: i32 = 2;
    pub(super) const EXPIRED: i32 = 3;
    pub(super) const CUT: i32 = 4;
    pub(super) const TRY_EXPIRED: i32 = 5;
}

impl State {
    /// Why nobody waits for a phase any more that has not taken too long.
    fn given_up(&self) -> i32 {
        let is_over = |ends: Option<Instant>| ends.is_some_and(|ends| ends <= Instant::now());
        if self.connection.as_ref().is_some_and(|connection| connection.is_cut()) {
            reason::CUT
        } else if is_over(self.ends) {
            reason::EXPIRED
        } else if is_over(self.try_ends) {
            reason::TRY_EXPIRED
        } else {
            reason::LEFT
        }
    }
}

impl<C: Borrow<Arc<Crossing>>> Flight<C> {
    /// Ends it, whether its answer is here or not; the lease goes on.
    pub(crate) fn end(&mut self) -> Option<Lease> {
        let lease = self.lease.take()?;
        if !std::mem::replace(&mut self.landed, true) {
            let given_up = {
                let mut state = lease.cell.state.lock();
                state.waiting = None;
                state.given_up()
            };
            let mut item = Item::new(lease.slot, self.proxy, Kind::Abort, lease.seq, 0);
            item.head.ints[super::item::at::FLAGS] =
                if self.is_slow { reason::TOO_SLOW } else { given_up };
            self.crossing.borrow().push(item);
        }
        Some(lease)
    }
}

impl<C: Borrow<Arc<Crossing>>> Flight<C> {
    /// What the phase wants of the body of its request, if it waits for that: at most so many bytes.
    pub(crate) fn take_wanted(&self) -> Option<usize> {
        let wanted = self.lease.as_ref()?.cell.state.lock().wanted.take();
        wanted.map(|most| most as usize)
    }

    /// The phase has what it waited for, and is timed again.
    pub(crate) fn give_body(&self, body: Result<Bytes, Error>) {
        let Some(lease) = &self.lease else { return };
        let mut item = Item::new(lease.slot, self.proxy, Kind::Read, lease.seq, 0);
        {
            let mut state = lease.cell.state.lock();
            state.go_on();
            match body {
                Ok(body) => state.body = Some(body),
                Err(error) => item.error(&error),
            }
        }
        self.crossing.borrow().push(item);
    }
}

impl<C: Borrow<Arc<Crossing>> + Unpin> Future for Flight<C> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let Some(lease) = self.lease.as_ref().filter(|_| self.queued) else {
            return Poll::Ready(Reply::without_words(Outcome::Closed));
        };
        let reply = {
            let mut state = lease.cell.state.lock();
            let Some(reply) = state.reply.take() else {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => state.waker = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            };
            reply
        };
        self.is_slow = matches!(reply.outcome, Outcome::TooSlow | Outcome::NeverBegun);
        self.landed = !self.is_slow;
        Poll::Ready(reply)
    }
}

impl<C: Borrow<Arc<Crossing>>> Drop for Flight<C> {
    fn drop(&mut self) {
        self.end();
    }
}
