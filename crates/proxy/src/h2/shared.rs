use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::Http2Options;
use super::bucket::Bucket;
use super::frames::Frames;

/// What the streams of a connection and the connection tell each other.
pub(super) struct Shared {
    /// What was seen of the connection's frames.
    pub(super) frames: Mutex<Frames>,
    /// No more requests are taken: those that are served are the last.
    is_closing: AtomicBool,
    /// The server has stopped: whatever is open ends.
    is_cut: AtomicBool,
    /// The client has reset more streams than it may.
    is_abused: AtomicBool,
    resets: Mutex<Resets>,
    /// The client has ended its side, and still waits for answers.
    input_ended: AtomicBool,
    tell_input_ended: Arc<Notify>,
}

/// Waits for the end of the client's side.
pub(super) type InputEnd = Pin<Box<OwnedNotified>>;

struct Resets {
    bucket: Bucket,
    connection: Option<Waker>,
}

impl Shared {
    pub(super) fn new(options: &Http2Options, frames: Frames) -> Arc<Self> {
        let bucket = Bucket::new(options.max_resets, options.resets_per_second);
        Arc::new(Shared {
            frames: Mutex::new(frames),
            is_closing: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            is_abused: AtomicBool::new(false),
            resets: Mutex::new(Resets { bucket, connection: None }),
            input_ended: AtomicBool::new(false),
            tell_input_ended: Arc::default(),
        })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
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

    /// Whether the client was found to reset too much.
    pub(super) fn was_abused(&self) -> bool {
        self.is_abused.load(Ordering::Relaxed)
    }

    /// Whether the client resets too much. Wakes `waker` when it begins to.
    pub(super) fn is_abused(&self, waker: &Waker) -> bool {
        let mut resets = self.resets.lock();
        if !resets.connection.as_ref().is_some_and(|known| known.will_wake(waker)) {
            resets.connection = Some(waker.clone());
        }
        self.was_abused()
    }

    pub(super) fn input_ended(&self) -> bool {
        self.input_ended.load(Ordering::SeqCst)
    }

    /// The client has ended its side: what it has not sent by now will not come.
    pub(super) fn end_input(&self) {
        self.input_ended.store(true, Ordering::SeqCst);
        self.tell_input_ended.notify_waiters();
    }

    /// Ready when the client has ended its side. `waiting` is kept between polls.
    pub(super) fn poll_input_end(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Option<InputEnd>,
    ) -> Poll<()> {
        let notified =
            waiting.get_or_insert_with(|| Box::pin(self.tell_input_ended.clone().notified_owned()));
        // Registers before it looks, so that no wake-up falls between the two.
        let notified = notified.as_mut().poll(cx);
        if notified.is_ready() || self.input_ended() { Poll::Ready(()) } else { Poll::Pending }
    }
}
