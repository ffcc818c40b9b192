use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Crossing, Item, Kind, Reply};

/// Where one live request waits for its answers.
pub(crate) struct Cell {
    state: Mutex<State>,
}

struct State {
    seq: u32,
    /// When JS took the item, or reported its latest phase; none while it is queued.
    begun: Option<Instant>,
    reply: Option<Reply>,
    waker: Option<Waker>,
    /// The runtime whose router hands the answer out.
    router: usize,
}

impl Cell {
    pub(super) fn new() -> Self {
        let state = State { seq: 0, begun: None, reply: None, waker: None, router: 0 };
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
            state.reply = Some(reply);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn close(&self) {
        let seq = self.state.lock().seq;
        self.complete(seq, Reply::closed());
    }
}

/// A slot held by a request, from its first crossing to its end.
pub(crate) struct Lease {
    pub(super) slot: u32,
    pub(super) cell: Arc<Cell>,
    seq: u32,
    router: usize,
}

/// How a crossing ended.
pub(crate) enum Crossed {
    Replied(Reply),
    /// A phase took too long.
    TooSlow,
    /// JS did not begin in time.
    NeverBegun,
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

    /// Queues `item` and waits for its answer. Dropped before that, JS is told.
    pub(crate) async fn cross(
        &self,
        crossing: &Arc<Crossing>,
        mut item: Item,
        limit: Option<Duration>,
    ) -> Crossed {
        item.waiter = Some(self.cell.clone());
        let proxy = item.ints[super::item::at::PROXY] as u32;
        let mut flight = Flight { lease: self, crossing, proxy, landed: false, reason: 1 };
        if !crossing.push(item) {
            flight.landed = true;
            return Crossed::Replied(Reply::closed());
        }
        let wait = poll_fn(|cx| {
            let mut state = self.cell.state.lock();
            if let Some(reply) = state.reply.take() {
                return Poll::Ready(reply);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        });
        let Some(limit) = limit else {
            let reply = wait.await;
            flight.landed = true;
            return Crossed::Replied(reply);
        };
        let mut wait = std::pin::pin!(wait);
        let mut deadline = Instant::now() + limit;
        loop {
            if let Ok(reply) = tokio::time::timeout_at(deadline, wait.as_mut()).await {
                flight.landed = true;
                return Crossed::Replied(reply);
            }
            let begun = self.cell.state.lock().begun;
            match begun {
                Some(begun) if begun + limit > Instant::now() => deadline = begun + limit,
                Some(_) => {
                    flight.reason = 2;
                    return Crossed::TooSlow;
                }
                None => {
                    flight.reason = 2;
                    return Crossed::NeverBegun;
                }
            }
        }
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
            let Lease { slot, seq, .. } = *self.lease;
            let mut item = Item::new(slot, self.proxy, Kind::Abort, seq, 0);
            item.ints[super::item::at::FLAGS] = self.reason;
            self.crossing.push(item);
        }
    }
}
