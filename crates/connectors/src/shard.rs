use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use bytes::BytesMut;
use millrace_transport::Quiet;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::KeyHasher;
use crate::stats::ShardStats;
use crate::{Connection, PeerKey};

/// The idle connections of one runtime.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    // The newest at the back. A peer stays with an empty queue until the next sweep, so that a
    // busy one does not allocate for each request.
    idle: Mutex<HashMap<PeerKey, VecDeque<Idle>, BuildHasherDefault<KeyHasher>>>,
    /// Told when the map stops being empty.
    pub(crate) filled: Notify,
    pub(crate) stats: ShardStats,
}

/// A connection that waits.
pub(crate) struct Idle {
    pub(crate) connection: Connection,
    since: Instant,
    until: Instant,
}

/// What a sweep took out.
#[derive(Default)]
pub(crate) struct Swept {
    pub(crate) expired: Vec<Idle>,
    pub(crate) closed: Vec<Idle>,
    /// Whether there is nothing left to look after.
    pub(crate) empty: bool,
}

impl Idle {
    pub(crate) fn new(connection: Connection, since: Instant, until: Instant) -> Self {
        Idle { connection, since, until }
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl Shard {
    pub(crate) fn push(&self, idle: Idle) {
        let mut map = self.idle.lock();
        let was_empty = map.is_empty();
        match map.get_mut(&idle.connection.key) {
            Some(queue) => queue.push_back(idle),
            None => {
                map.insert(idle.connection.key.clone(), VecDeque::from([idle]));
            }
        }
        drop(map);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// The newest for a key: the one least likely to have been closed.
    pub(crate) fn pop(&self, key: &PeerKey) -> Option<Idle> {
        self.idle.lock().get_mut(key)?.pop_back()
    }

    /// The one that has waited longest. Looks at every peer: only for a pool that is full.
    pub(crate) fn pop_oldest(&self) -> Option<Idle> {
        let mut map = self.idle.lock();
        let queues = map.values_mut().filter(|queue| !queue.is_empty());
        let queue = queues.min_by_key(|queue| queue.front().map(|idle| idle.since))?;
        let idle = queue.pop_front()?;
        // Where peers come and go that fast, those that have gone must not slow the next look.
        if queue.is_empty() {
            map.remove(&idle.connection.key);
        }
        Some(idle)
    }

    /// Takes out what has expired or is closed, and frees the buffers of those that have waited
    /// since the last time or longer.
    pub(crate) fn sweep(&self, now: Instant, last: Instant) -> Swept {
        let mut swept = Swept::default();
        let mut map = self.idle.lock();
        map.retain(|_, queue| {
            let mut at = 0;
            while let Some(idle) = queue.get_mut(at) {
                let out = if idle.is_expired(now) {
                    &mut swept.expired
                } else if idle.connection.stream.try_quiet() != Quiet::Alive {
                    &mut swept.closed
                } else {
                    if idle.since <= last {
                        idle.connection.buf = BytesMut::new();
                    }
                    at += 1;
                    continue;
                };
                out.extend(queue.remove(at));
            }
            !queue.is_empty()
        });
        swept.empty = map.is_empty();
        swept
    }

    pub(crate) fn take_all(&self) -> Vec<Idle> {
        let map = std::mem::take(&mut *self.idle.lock());
        map.into_values().flatten().collect()
    }
}
