//! What a service holds of its clients' requests over HTTP/2, and how much that may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What each connection may hold however little there is for all: less would stop requests that are
/// no burden.
const SMALLEST_SHARE: u64 = 16 * 1024;

/// Bytes that the clients of a service have sent and nobody has taken yet.
pub(crate) struct Unread {
    most: u64,
    held: AtomicU64,
    connections: AtomicUsize,
}

impl Unread {
    pub(crate) fn new(most: u64) -> Arc<Self> {
        let (held, connections) = (AtomicU64::new(0), AtomicUsize::new(0));
        Arc::new(Unread { most, held, connections })
    }

    /// Bytes held now, by all connections.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// A connection's part of it.
pub(super) struct Held {
    unread: Arc<Unread>,
    own: u64,
}

impl Held {
    pub(super) fn new(unread: Arc<Unread>) -> Self {
        unread.connections.fetch_add(1, Ordering::Relaxed);
        Held { unread, own: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.own += bytes;
        self.unread.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&mut self, bytes: u64) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.unread.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether all hold more than they may, and this one more than its equal share of that: those who
    /// hold little do not wait for those who hold much. Only when all hold twice as much, because the
    /// first came when there were fewer to share with, do others wait too.
    pub(super) fn is_too_much(&self) -> bool {
        self.is_too_much_beside(0)
    }

    /// The same without so many bytes of what this one holds.
    pub(super) fn is_too_much_beside(&self, bytes: u64) -> bool {
        let own = self.own.saturating_sub(bytes);
        let Unread { most, held, connections } = &*self.unread;
        let held = held.load(Ordering::Relaxed);
        if held <= *most || own <= SMALLEST_SHARE {
            return false;
        }
        let share = most / (connections.load(Ordering::Relaxed).max(1) as u64);
        own > share || held > most.saturating_mul(2)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sub(self.own);
        self.unread.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_with_more_than_their_share_wait_and_only_while_it_is_too_much() {
        let unread = Unread::new(100 * 1024);
        let [mut large, mut small] = [0; 2].map(|_| Held::new(unread.clone()));
        small.add(50 * 1024);
        large.add(50 * 1024);
        assert!(!large.is_too_much() && !small.is_too_much());
        large.add(1);
        assert!(large.is_too_much() && !small.is_too_much());
        large.sub(1);
        assert!(!large.is_too_much());
        small.add(20 * 1024);
        assert!(small.is_too_much() && !large.is_too_much());
        drop(small);
        large.add(50 * 1024);
        assert!(!large.is_too_much());
        large.add(1);
        assert!(large.is_too_much());
        drop(large);
        assert_eq!(unread.held(), 0);
    }

    #[test]
    fn those_who_came_first_leave_no_more_than_as_much_again() {
        let unread = Unread::new(1000 * 1024);
        let mut all: Vec<Held> = Vec::new();
        for _ in 0..100 {
            let mut held = Held::new(unread.clone());
            while !held.is_too_much() && held.own < 1000 * 1024 {
                held.add(1024);
            }
            all.push(held);
        }
        let most = 2 * 1000 * 1024 + 100 * (SMALLEST_SHARE + 1024);
        assert!(unread.held() <= most, "{}", unread.held());
    }

    #[test]
    fn a_connection_may_always_hold_a_little() {
        let unread = Unread::new(0);
        let mut held = Held::new(unread);
        held.add(SMALLEST_SHARE);
        assert!(!held.is_too_much());
        held.add(1);
        assert!(held.is_too_much());
    }
}
