use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Wakes those who wait for a server to become quiet. Cheap to clone.
#[derive(Clone, Default)]
pub struct Bell {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    deadline: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Bell {
    /// Has those who wait look again.
    pub fn ring(&self) {
        // With the lock held, a waiter is either before its look or already asleep.
        let _deadline = self.inner.deadline.lock();
        self.inner.changed.notify_all();
    }

    /// Ends the wait after `grace`, unless it ends sooner already.
    pub(crate) fn shorten(&self, grace: Duration) {
        // What nobody lives to see, an `Instant` may not be able to hold.
        let at = Instant::now() + grace.min(Duration::from_secs(365 * 24 * 3600));
        let mut deadline = self.inner.deadline.lock();
        *deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
        self.inner.changed.notify_all();
    }

    /// Waits until `quiet` holds or the deadline has passed, and says which.
    pub(crate) fn wait(&self, quiet: impl Fn() -> bool) -> bool {
        let mut deadline = self.inner.deadline.lock();
        loop {
            if quiet() {
                return true;
            }
            match *deadline {
                Some(at) if Instant::now() >= at => return false,
                Some(at) => drop(self.inner.changed.wait_until(&mut deadline, at)),
                None => self.inner.changed.wait(&mut deadline),
            }
        }
    }

    /// The same with a limit of its own, whatever the deadline.
    pub(crate) fn wait_for(&self, limit: Duration, quiet: impl Fn() -> bool) -> bool {
        let at = Instant::now() + limit;
        let mut deadline = self.inner.deadline.lock();
        while !quiet() {
            if self.inner.changed.wait_until(&mut deadline, at).timed_out() {
                return quiet();
            }
        }
        true
    }

    /// The same without a limit: what is waited for ends by itself.
    pub(crate) fn wait_until(&self, holds: impl Fn() -> bool) {
        let mut deadline = self.inner.deadline.lock();
        while !holds() {
            self.inner.changed.wait(&mut deadline);
        }
    }

    /// What is left of the grace.
    pub(crate) fn remaining(&self) -> Duration {
        let deadline = *self.inner.deadline.lock();
        deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}
