use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Crossing, Item, Kind, Outcome, Reply};

/// Where one live request waits for its answers.
pub(crate) struct Cell {
    state: Mutex<State>,
}

struct State {
    seq: u32,
    /// When JS took the item, or reported its latest phase; none while it is queued.
    begun: Option<Instant>,
    /// When the item was queued, and how long each phase may take; none if nobody waits.
    waiting: Option<(Instant, Duration)>,
    reply: Option<Reply>,
    waker: Option<Waker>,
    /// The runtime whose router hands the answer out.
    router: usize,
}

impl Cell {
    pub(super) fn new() -> Self {
        let state =
            State { seq: 0, begun: None, waiting: None, reply: None, waker: None, router: 0 };
        Cell { state: Mutex::new(state) }
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
            let state = self.state.lock();
            let Some((queued, limit)) = state.waiting.filter(|_| state.router == router) else {
                return;
            };
            if state.begun.unwrap_or(queued) + limit > now {
                return;
            }
            let begun = state.begun.is_some();
            (state.seq, if begun { Outcome::TooSlow } else { Outcome::NeverBegun })
        };
        self.complete(seq, Reply::without_words(outcome));
    }

    pub(super) fn close(&self) {
        let seq = self.state.lock().seq;
        self.complete(seq, Reply::without_words(Outcome::Closed));
    }
}

/// A slot held by a request, from its first crossing to its end.
pub(crate) struct Lease {
    pub(super) slot: u32,
    pub(super) cell: Arc<Cell>,
    seq: u32,
    router: usize,
}

impl Lease {
    pub(super) fn new(slot: u32, cell: Arc<Cell>, router: usize) -> Self {
        let seq = {
            let mut state = cell.state.lock();
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

    /// The number of the next crossing: answers to those before are dropped.
    pub(crate) fn next_seq(&mut self) -> u32 {
        let mut state = self.cell.state.lock();
        state.seq = state.seq.wrapping_add(1);
        state.reply = None;
        state.begun = None;
        state.router = self.router;
        self.seq = state.seq;
        self.seq
    }

    /// Queues `item` and waits for its answer. If it is not waited for to the end, JS is told.
    pub(crate) async fn cross(
        &self,
        crossing: &Arc<Crossing>,
        mut item: Item,
        limit: Option<Duration>,
    ) -> Reply {
        item.waiter = Some(self.cell.clone());
        let proxy = item.ints[super::item::at::PROXY] as u32;
        self.cell.state.lock().waiting = limit.map(|limit| (Instant::now(), limit));
        let mut flight = Flight { lease: self, crossing, proxy, landed: false, reason: 1 };
        if !crossing.push(item) {
            flight.landed = true;
            return Reply::without_words(Outcome::Closed);
        }
        let reply = poll_fn(|cx| {
            let mut state = self.cell.state.lock();
            if let Some(reply) = state.reply.take() {
                return Poll::Ready(reply);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
        flight.landed = !matches!(reply.outcome, Outcome::TooSlow | Outcome::NeverBegun);
        flight.reason = 2;
        reply
    }
}

/// A crossing under way; tells JS if nobody waits for it any more.
struct Flight<'a> {
    lease: &'a Lease,
    crossing: &'a Arc<Crossing>,
    proxy: u32,
    landed: bool,
    reason: i32,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.lease.cell.state.lock().waiting = None;
            let Lease { slot, seq, .. } = *self.lease;
            let mut item = Item::new(slot, self.proxy, Kind::Abort, seq, 0);
            item.ints[super::item::at::FLAGS] = self.reason;
            self.crossing.push(item);
        }
    }
}
