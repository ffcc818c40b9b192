use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Http2Options;
use super::bucket::Bucket;

/// What the streams of a connection and the connection tell each other.
pub(super) struct Shared {
    /// No more requests are taken: those that are served are the last.
    is_closing: AtomicBool,
    /// The client has reset more streams than it may.
    is_abused: AtomicBool,
    resets: Mutex<Resets>,
}

struct Resets {
    bucket: Bucket,
    connection: Option<Waker>,
}

impl Shared {
    pub(super) fn new(options: &Http2Options) -> Arc<Self> {
        let bucket = Bucket::new(options.max_resets, options.resets_per_second);
        Arc::new(Shared {
            is_closing: AtomicBool::new(false),
            is_abused: AtomicBool::new(false),
            resets: Mutex::new(Resets { bucket, connection: None }),
        })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// A stream ended before its time, by the client's doing.
    pub(super) fn count_reset(&self) {
        let mut resets = self.resets.lock();
        if !resets.bucket.take(Instant::now()) {
            self.is_abused.store(true, Ordering::Relaxed);
            if let Some(connection) = resets.connection.take() {
                connection.wake();
            }
        }
    }

    /// Whether the client resets too much. Wakes `waker` when it begins to.
    pub(super) fn is_abused(&self, waker: &Waker) -> bool {
        let mut resets = self.resets.lock();
        if !resets.connection.as_ref().is_some_and(|known| known.will_wake(waker)) {
            resets.connection = Some(waker.clone());
        }
        self.is_abused.load(Ordering::Relaxed)
    }
}
