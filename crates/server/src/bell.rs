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
    ends: Mutex<Ends>,
    changed: Condvar,
}

/// When the waits end; none while nobody has asked for an end.
#[derive(Default)]
struct Ends {
    delay: Option<Instant>,
    grace: Option<Instant>,
}

impl Bell {
    /// Has those who wait look again.
    pub fn ring(&self) {
        // With the lock held, a waiter is either before its look or already asleep.
        let _ends = self.inner.ends.lock();
        self.inner.changed.notify_all();
    }

    /// Ends the delay after `delay` and the wait a `grace` later, unless they end sooner already.
    pub(crate) fn shorten(&self, delay: Duration, grace: Duration) {
        let grace = after(delay.saturating_add(grace));
        let delay = after(delay);
        let mut ends = self.inner.ends.lock();
        ends.delay = Some(ends.delay.map_or(delay, |earlier| earlier.min(delay)));
        ends.grace = Some(ends.grace.map_or(grace, |earlier| earlier.min(grace)));
        self.inner.changed.notify_all();
    }

    /// Waits for the end of the delay.
    pub(crate) fn wait_for_delay(&self) {
        let mut ends = self.inner.ends.lock();
        while let Some(at) = ends.delay.filter(|at| Instant::now() < *at) {
            self.inner.changed.wait_until(&mut ends, at);
        }
    }

    /// Waits until `quiet` holds or the deadline, or `latest` if that is sooner, has passed, and says which.
    pub(crate) fn wait(&self, latest: Option<Instant>, quiet: impl Fn() -> bool) -> bool {
        let mut ends = self.inner.ends.lock();
        loop {
            if quiet() {
                return true;
            }
            match sooner(ends.grace, latest) {
                Some(at) if Instant::now() >= at => return false,
                Some(at) => drop(self.inner.changed.wait_until(&mut ends, at)),
                None => self.inner.changed.wait(&mut ends),
            }
        }
    }

    /// The same with a limit of its own, whatever the deadline.
    pub(crate) fn wait_for(&self, limit: Duration, quiet: impl Fn() -> bool) -> bool {
        let at = Instant::now() + limit;
        let mut ends = self.inner.ends.lock();
        while !quiet() {
            if self.inner.changed.wait_until(&mut ends, at).timed_out() {
                return quiet();
            }
        }
        true
    }

    /// The same without a limit: what is waited for ends by itself.
    pub(crate) fn wait_until(&self, holds: impl Fn() -> bool) {
        let mut ends = self.inner.ends.lock();
        while !holds() {
            self.inner.changed.wait(&mut ends);
        }
    }

    /// What is left until the deadline, or `latest` if that is sooner.
    pub(crate) fn remaining(&self, latest: Option<Instant>) -> Duration {
        let end = sooner(self.inner.ends.lock().grace, latest);
        end.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// When `wait` from now is over. What nobody lives to see, an `Instant` may not be able to hold.
pub(crate) fn after(wait: Duration) -> Instant {
    let most = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + wait.min(most)
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
