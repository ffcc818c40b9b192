use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use millrace_error::{Code, Error};

use crate::Exchange;

/// Places to count in: threads that serve count in different ones, so that they do not take the line
/// of the cache from each other. Reading adds them up.
const STRIPES: usize = 16;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// In the phases before an upstream is asked, or answered there.
    #[default]
    Filtering,
    /// An upstream is asked: chosen, connected to, sent to and waited for.
    Proxying,
    /// The head of its response has gone out.
    Responding,
}

/// What a proxy has done so far with its requests, subrequests among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestStats {
    /// Requests that have come.
    pub total: u64,
    /// Requests under way, by [`Stage`].
    pub active: [u64; 3],
    /// Requests that have ended, by the class of the status that went out; 0 = none did.
    pub ended: [u64; 6],
    /// Extra tries of an upstream, and those on another connection for one that had died.
    pub retries: u64,
    /// Requests that ended with each error, in the order of [`Code::ALL`].
    pub errors: Vec<u64>,
    /// Tries that were given up for another one because of a time-out.
    pub retried_timeouts: u64,
}

/// Counts requests. A request costs it six additions to numbers that its thread has for itself.
pub(crate) struct Counting {
    stripes: Box<[Stripe]>,
    /// These are rare.
    errors: Box<[AtomicU64]>,
    retries: AtomicU64,
    retried_timeouts: AtomicU64,
}

/// In lines of the cache of its own; processors fetch two at once.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    total: AtomicU64,
    /// A request may end on another thread than it began: only the sum of all stripes counts, in which
    /// what wraps around comes back.
    active: [AtomicU64; 3],
    ended: [AtomicU64; 6],
}

impl Default for Counting {
    fn default() -> Self {
        Counting {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            errors: Code::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            retries: AtomicU64::new(0),
            retried_timeouts: AtomicU64::new(0),
        }
    }
}

impl Counting {
    fn stripe(&self) -> &Stripe {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Relaxed) % STRIPES;
        }
        // A thread that ends may have dropped it.
        &self.stripes[MINE.try_with(|mine| *mine).unwrap_or(0)]
    }

    /// A request has come.
    pub(crate) fn begin(&self) {
        let stripe = self.stripe();
        stripe.total.fetch_add(1, Relaxed);
        stripe.active[Stage::Filtering as usize].fetch_add(1, Relaxed);
    }

    /// A request has come further.
    pub(crate) fn advance(&self, stage: &mut Stage, to: Stage) {
        if *stage != to {
            let stripe = self.stripe();
            stripe.active[*stage as usize].fetch_sub(1, Relaxed);
            stripe.active[to as usize].fetch_add(1, Relaxed);
            *stage = to;
        }
    }

    /// A request has ended.
    pub(crate) fn end(&self, ex: &Exchange, error: Option<&Error>) {
        let stripe = self.stripe();
        stripe.active[ex.stage as usize].fetch_sub(1, Relaxed);
        let status = ex.response.as_ref().filter(|_| ex.response_started).map(|head| head.status);
        let class = status.map_or(0, |status| usize::from(status / 100).min(5));
        stripe.ended[class].fetch_add(1, Relaxed);
        if let Some(count) = error.and_then(|error| self.errors.get(error.code() as usize)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Another try follows, on another connection or because of an error.
    pub(crate) fn retry(&self, error: Option<&Error>) {
        self.retries.fetch_add(1, Relaxed);
        if error.is_some_and(|error| error.code().is_timeout()) {
            self.retried_timeouts.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn read(&self) -> RequestStats {
        let mut stats = RequestStats {
            retries: self.retries.load(Relaxed),
            errors: self.errors.iter().map(|count| count.load(Relaxed)).collect(),
            retried_timeouts: self.retried_timeouts.load(Relaxed),
            ..RequestStats::default()
        };
        for stripe in &self.stripes {
            let add =
                |sum: &mut u64, count: &AtomicU64| *sum = sum.wrapping_add(count.load(Relaxed));
            add(&mut stats.total, &stripe.total);
            stats.active.iter_mut().zip(&stripe.active).for_each(|(sum, count)| add(sum, count));
            stats.ended.iter_mut().zip(&stripe.ended).for_each(|(sum, count)| add(sum, count));
        }
        // Read while others count, a stage that has been left may be seen before it was entered.
        for active in &mut stats.active {
            if *active > u64::MAX / 2 {
                *active = 0;
            }
        }
        stats
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}
