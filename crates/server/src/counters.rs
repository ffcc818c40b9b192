use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clients::Seat;
use crate::{Bell, Ends, Shutdown};

/// What a service has done so far. Readable at any time, also after its end.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    acceptors: AtomicUsize,
    accepted: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    panicked: AtomicU64,
    shutdown: OnceLock<Shutdown>,
    finished: AtomicU64,
    cut: AtomicU64,
    requests_finished: AtomicU64,
    requests_cut: AtomicU64,
}

impl Counters {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections accepted and served.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed at once because too many were open.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Connections closed before they were served, because of who their clients are, of how many the client
    /// has, of what a proxy said of them, or because their app took no more.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Panics that were kept to a connection, which ended with it, or to one request of several on a
    /// connection.
    pub fn panicked(&self) -> u64 {
        self.panicked.load(Ordering::Relaxed)
    }

    /// How connections ended since the server began to drain.
    pub fn connections(&self) -> Ends {
        let (finished, cut) = (&self.finished, &self.cut);
        Ends { finished: finished.load(Ordering::SeqCst), cut: cut.load(Ordering::SeqCst) }
    }

    /// How requests ended since the server began to drain.
    pub fn requests(&self) -> Ends {
        let (finished, cut) = (&self.requests_finished, &self.requests_cut);
        Ends { finished: finished.load(Ordering::SeqCst), cut: cut.load(Ordering::SeqCst) }
    }

    /// For apps that serve requests: one has ended, by itself or `cut` with its connection. Before
    /// the server drains that costs a load. [`OpenRequest`] does it by itself.
    pub fn request_ended(&self, cut: bool) {
        if self.shutdown.get().is_some_and(Shutdown::is_draining) {
            let count = if cut { &self.requests_cut } else { &self.requests_finished };
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Which server's end is the one to count from.
    pub(crate) fn follow(&self, shutdown: &Shutdown) {
        // A service is started by one server, if perhaps more than once.
        let _ = self.shutdown.set(shutdown.clone());
    }

    /// Whether nothing is served and nothing more will be accepted once draining has begun.
    pub(crate) fn is_quiet(&self) -> bool {
        // An acceptor opens its connections before it ends: looked at in this order, none of
        // them can slip between the two.
        self.acceptors.load(Ordering::SeqCst) == 0 && self.open() == 0
    }

    /// Counts a connection whose app has refused it.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts for one service and tells the server when it becomes quiet.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Shutdown,
    pub(crate) bell: Bell,
}

impl Tally {
    /// Counts a connection in, unless `limit` are open.
    pub(crate) fn open(&self, limit: usize) -> Option<OpenConnection> {
        let before = self.counters.open.fetch_add(1, Ordering::SeqCst);
        // Dropped on the way out, this counts it back.
        let mut open = OpenConnection { tally: self.clone(), end: End::Rejected, seat: None };
        if before >= limit {
            return None;
        }
        open.end = End::Cut;
        Some(open)
    }

    pub(crate) fn acceptor(&self) -> Acceptor {
        self.counters.acceptors.fetch_add(1, Ordering::SeqCst);
        Acceptor { tally: self.clone() }
    }

    fn ring_if_draining(&self) {
        // Before draining nobody waits. Both this load and the decrement before it are
        // sequentially consistent, as are the trigger's store and the waiter's look.
        if self.shutdown.is_draining() {
            self.bell.ring();
        }
    }
}

enum End {
    Rejected,
    Refused,
    Cut,
    Finished,
}

/// Counts a connection as open until it is dropped, which counts it as cut unless it finished.
pub(crate) struct OpenConnection {
    tally: Tally,
    end: End,
    /// Its place among those of its client.
    pub(crate) seat: Option<Seat>,
}

impl OpenConnection {
    /// It is served from now on.
    pub(crate) fn accepted(&self) {
        self.tally.counters.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&mut self) {
        self.end = End::Refused;
    }

    /// It ended by itself; what has been refused stays so.
    pub(crate) fn finished(&mut self) {
        if !matches!(self.end, End::Refused) {
            self.end = End::Finished;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Tally { counters, shutdown, .. } = &self.tally;
        match self.end {
            End::Rejected => counters.rejected.fetch_add(1, Ordering::Relaxed),
            End::Refused => counters.refused.fetch_add(1, Ordering::Relaxed),
            End::Cut => counters.cut.fetch_add(1, Ordering::SeqCst),
            End::Finished if shutdown.is_draining() => {
                counters.finished.fetch_add(1, Ordering::SeqCst)
            }
            End::Finished => 0,
        };
        if counters.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tally.ring_if_draining();
        }
    }
}

/// A request being served, of an app that has requests. Dropped before it has finished, it counts as
/// cut with its connection.
#[derive(Debug)]
pub struct OpenRequest {
    counters: Arc<Counters>,
    is_cut: bool,
}

impl OpenRequest {
    /// One of a service that counts here.
    pub fn new(counters: &Arc<Counters>) -> Self {
        OpenRequest { counters: counters.clone(), is_cut: true }
    }

    /// It has ended by itself, well or not.
    pub fn finish(mut self) {
        self.is_cut = false;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.counters.request_ended(self.is_cut);
    }
}

/// Counts an endpoint on one runtime as accepting until it is dropped.
pub(crate) struct Acceptor {
    tally: Tally,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if self.tally.counters.acceptors.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tally.ring_if_draining();
        }
    }
}
