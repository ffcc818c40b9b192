use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The pool in figures, over all shards. The totals count from the connector's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections that are open now, idle ones among them.
    pub open: usize,
    /// Connections that wait in the pool now; of HTTP/2 those without streams.
    pub idle: usize,
    /// Connections made.
    pub created: u64,
    /// Times that a connection was taken from the pool; of HTTP/2 one that had served before.
    pub reused: u64,
    /// Idle connections that the origin closed, or spoilt with bytes that nobody had asked for.
    pub closed_by_origin: u64,
    /// Idle connections dropped because their time was up.
    pub expired: u64,
    /// Idle connections dropped because the pool was full.
    pub evicted: u64,
}

/// Counters of a whole service.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) open: AtomicUsize,
    pub(crate) idle: AtomicUsize,
    pub(crate) created: AtomicU64,
}

/// Counters of one shard: apart from the others', so that runtimes do not share a cache line.
#[derive(Default)]
pub(crate) struct ShardStats {
    pub(crate) reused: AtomicU64,
    pub(crate) closed_by_origin: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) evicted: AtomicU64,
}

impl ShardStats {
    pub(crate) fn add_to(&self, stats: &mut PoolStats) {
        stats.reused += self.reused.load(Ordering::Relaxed);
        stats.closed_by_origin += self.closed_by_origin.load(Ordering::Relaxed);
        stats.expired += self.expired.load(Ordering::Relaxed);
        stats.evicted += self.evicted.load(Ordering::Relaxed);
    }
}

/// Counts one open connection for as long as it lives.
pub(crate) struct OpenGuard(Arc<Totals>);

impl OpenGuard {
    pub(crate) fn new(totals: &Arc<Totals>) -> Self {
        totals.open.fetch_add(1, Ordering::Relaxed);
        totals.created.fetch_add(1, Ordering::Relaxed);
        OpenGuard(Arc::clone(totals))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
