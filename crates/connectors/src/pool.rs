use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use millrace_transport::Quiet;
use tokio::time::Instant;

use crate::dial::Dialled;
use crate::shard::{Idle, Shard};
use crate::stats::{OpenGuard, PoolStats, ShardStats, Totals};
use crate::{Connection, Peer, PeerKey};

/// How often a shard is looked through for what has expired or was closed.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// The idle connections of a service: a bound and counters for all, a shard for each runtime.
/// No two shards are ever locked at once, and no socket is closed under a lock.
pub(crate) struct Pool {
    shards: Box<[Shard]>,
    totals: Arc<Totals>,
    size: usize,
}

impl Pool {
    pub(crate) fn new(size: usize, shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Shard::default()).collect();
        Pool { shards, totals: Arc::default(), size }
    }

    fn shard(&self, index: usize) -> &Shard {
        &self.shards[self.index(index)]
    }

    pub(crate) fn index(&self, index: usize) -> usize {
        index % self.shards.len()
    }

    /// A new connection, counted.
    pub(crate) fn adopt(&self, shard: usize, key: PeerKey, dialled: Dialled) -> Connection {
        let Dialled { stream, remote, tls } = dialled;
        Connection {
            stream,
            buf: BytesMut::new(),
            remote,
            tls,
            created: Instant::now(),
            reuses: 0,
            shard: self.index(shard),
            key,
            open: OpenGuard::new(&self.totals),
        }
    }

    pub(crate) fn take(&self, shard: usize, peer: &Peer, careful: bool) -> Option<Connection> {
        if peer.options.idle_timeout.is_zero() {
            return None;
        }
        let shard = self.shard(shard);
        let mut connection = self.take_live(shard, &peer.key, careful)?;
        connection.reuses = connection.reuses.saturating_add(1);
        add(&shard.stats.reused, 1);
        Some(connection)
    }

    /// Another shard's connection, moved to the caller's runtime; only from a pool that is full,
    /// where a new connection would have to drive out another. One over TLS cannot move.
    pub(crate) fn borrow(&self, shard: usize, peer: &Peer) -> Option<Connection> {
        if peer.options.tls.is_some() {
            return None;
        }
        if peer.options.idle_timeout.is_zero() || self.size == 0 || !self.is_full() {
            return None;
        }
        let own = self.index(shard);
        for other in self.others(own) {
            while let Some(connection) = self.take_live(other, &peer.key, true) {
                // Fails where this process has no resources left; the next may do no better,
                // but each ends one way or the other.
                if let Ok(mut connection) = connection.moved_to(own) {
                    connection.reuses = connection.reuses.saturating_add(1);
                    add(&self.shard(own).stats.reused, 1);
                    return Some(connection);
                }
            }
        }
        None
    }

    pub(crate) fn put(&self, mut connection: Connection, idle_for: Duration) {
        if idle_for.is_zero() || !connection.buf.is_empty() || self.size == 0 {
            return;
        }
        if connection.stream.try_quiet() != Quiet::Alive {
            add(&self.shard(connection.shard).stats.closed_by_origin, 1);
            return;
        }
        if !self.admit(connection.shard) {
            return;
        }
        let now = Instant::now();
        // A day is as good as forever, and cannot overflow.
        let until = now + idle_for.min(Duration::from_secs(86_400));
        self.shard(connection.shard).push(Idle::new(connection, now, until));
    }

    /// Counts one more idle connection, if there is room or room can be made.
    pub(crate) fn admit(&self, shard: usize) -> bool {
        // Counted first, so that the bound holds at every moment, by driving out another.
        let fits = self.totals.idle.fetch_add(1, Ordering::Relaxed) < self.size;
        let admitted = fits || self.evict(shard);
        if !admitted {
            self.leave();
        }
        admitted
    }

    /// Counts one idle connection less.
    pub(crate) fn leave(&self) {
        self.totals.idle.fetch_sub(1, Ordering::Relaxed);
    }

    /// The counters of a shard.
    pub(crate) fn counters(&self, shard: usize) -> &ShardStats {
        &self.shard(shard).stats
    }

    /// Looks after a shard for as long as it is polled; sleeps while there is nothing to do.
    pub(crate) async fn sweep(&self, shard: usize) {
        let shard = self.shard(shard);
        loop {
            shard.filled.notified().await;
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let now = Instant::now();
                let swept = shard.sweep(now, last);
                last = now;
                let (expired, closed) = (swept.expired.len(), swept.closed.len());
                self.totals.idle.fetch_sub(expired + closed, Ordering::Relaxed);
                add(&shard.stats.expired, expired as u64);
                add(&shard.stats.closed_by_origin, closed as u64);
                if swept.empty {
                    break;
                }
            }
        }
    }

    /// Ends those that are idle for this key.
    pub(crate) fn forget(&self, key: &PeerKey) {
        for shard in &self.shards {
            while shard.pop(key).is_some() {
                self.totals.idle.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all = shard.take_all();
            self.totals.idle.fetch_sub(all.len(), Ordering::Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats {
            open: self.totals.open.load(Ordering::Relaxed),
            idle: self.totals.idle.load(Ordering::Relaxed),
            created: self.totals.created.load(Ordering::Relaxed),
            ..PoolStats::default()
        };
        for shard in &self.shards {
            shard.stats.add_to(&mut stats);
        }
        stats
    }

    fn is_full(&self) -> bool {
        self.totals.idle.load(Ordering::Relaxed) >= self.size
    }

    fn others(&self, own: usize) -> impl Iterator<Item = &Shard> {
        (1..self.shards.len()).map(move |step| self.shard(own + step))
    }

    /// The newest connection of a shard that is still good; drops those that are not.
    fn take_live(&self, shard: &Shard, key: &PeerKey, careful: bool) -> Option<Connection> {
        loop {
            let mut idle = shard.pop(key)?;
            self.totals.idle.fetch_sub(1, Ordering::Relaxed);
            if idle.is_expired(Instant::now()) {
                add(&shard.stats.expired, 1);
                continue;
            }
            let stream = &mut idle.connection.stream;
            match if careful { stream.is_quiet() } else { stream.try_quiet() } {
                Quiet::Alive => return Some(idle.connection),
                Quiet::Closed | Quiet::Data => add(&shard.stats.closed_by_origin, 1),
            }
        }
    }

    /// Drops the connection that has waited longest, of this shard if it has any.
    fn evict(&self, own: usize) -> bool {
        let mut shards = std::iter::once(self.shard(own)).chain(self.others(own));
        let Some((shard, _idle)) = shards.find_map(|shard| Some((shard, shard.pop_oldest()?)))
        else {
            return false;
        };
        self.totals.idle.fetch_sub(1, Ordering::Relaxed);
        add(&shard.stats.evicted, 1);
        true
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
