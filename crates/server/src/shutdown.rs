use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How far a server is on its way to the end: running, then draining, then cut.
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<State>,
}

/// Moves a [`Shutdown`] on. The server has it; tests of apps make their own.
#[derive(Debug)]
pub struct ShutdownTrigger {
    shutdown: Shutdown,
}

#[derive(Default)]
struct State {
    draining: Milestone,
    cut: Milestone,
    /// Those that come as far as this one at least.
    children: Mutex<Vec<Weak<State>>>,
}

#[derive(Default)]
struct Milestone {
    reached: AtomicBool,
    notify: Arc<Notify>,
}

impl Shutdown {
    /// One that is running, and what moves it on.
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let shutdown = Shutdown { state: Arc::default() };
        (ShutdownTrigger { shutdown: shutdown.clone() }, shutdown)
    }

    /// One that can be moved on by itself, and that comes as far as this one at least.
    pub fn child(&self) -> (ShutdownTrigger, Shutdown) {
        let (trigger, shutdown) = Shutdown::new();
        {
            let mut children = self.state.children.lock();
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&shutdown.state));
        }
        // Whoever reaches one from here on sees the child; what was reached before is seen here.
        if self.is_draining() {
            trigger.drain();
        }
        if self.is_cut() {
            trigger.cut();
        }
        (trigger, shutdown)
    }

    /// Whether connections should end at the next chance: the response being sent is the last,
    /// an idle connection closes. An atomic load.
    pub fn is_draining(&self) -> bool {
        self.state.draining.reached.load(Ordering::SeqCst)
    }

    /// Whether the grace is over. An atomic load.
    pub fn is_cut(&self) -> bool {
        self.state.cut.reached.load(Ordering::SeqCst)
    }

    /// Waits for draining.
    pub fn draining(&self) -> Reached {
        Reached::new(self.clone(), |state| &state.draining)
    }

    /// Waits for the end of the grace. A connection is polled once more after it, then dropped.
    pub fn cut(&self) -> Reached {
        Reached::new(self.clone(), |state| &state.cut)
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (draining, cut) = (self.is_draining(), self.is_cut());
        f.debug_struct("Shutdown").field("draining", &draining).field("cut", &cut).finish()
    }
}

impl ShutdownTrigger {
    /// Begins to drain.
    pub fn drain(&self) {
        self.shutdown.state.reach(|state| &state.draining);
    }

    /// Ends the grace, and draining with it.
    pub fn cut(&self) {
        self.drain();
        self.shutdown.state.reach(|state| &state.cut);
    }

    /// What it moves.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

impl State {
    fn reach(&self, milestone: fn(&State) -> &Milestone) {
        milestone(self).reach();
        let children = self.children.lock().clone();
        for child in children.iter().filter_map(Weak::upgrade) {
            child.reach(milestone);
        }
    }
}

impl Milestone {
    fn reach(&self) {
        self.reached.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }
}

pin_project! {
    /// Resolves once a [`Shutdown`] has come so far. Made to be kept for the life of a
    /// connection and polled at each of its wake-ups: while the same task polls it, that costs an
    /// atomic load and takes no lock.
    pub struct Reached {
        shutdown: Shutdown,
        milestone: fn(&State) -> &Milestone,
        #[pin]
        notified: OwnedNotified,
        registered: Option<Waker>,
    }
}

impl Reached {
    fn new(shutdown: Shutdown, milestone: fn(&State) -> &Milestone) -> Self {
        let notified = milestone(&shutdown.state).notify.clone().notified_owned();
        Reached { shutdown, milestone, notified, registered: None }
    }
}

impl Future for Reached {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let reached = &(this.milestone)(&this.shutdown.state).reached;
        if reached.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if this.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        // Registers before the second look, so that no wake-up falls between the two.
        if this.notified.poll(cx).is_ready() || reached.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        *this.registered = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_reached_before_the_first_poll_is_seen() {
        let (trigger, shutdown) = Shutdown::new();
        let (draining, cut) = (shutdown.draining(), shutdown.cut());
        trigger.drain();
        draining.await;
        shutdown.draining().await;
        assert!(shutdown.is_draining() && !shutdown.is_cut());
        trigger.cut();
        cut.await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost() {
        for _ in 0..500 {
            let (trigger, shutdown) = Shutdown::new();
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move {
                        shutdown.draining().await;
                        shutdown.cut().await;
                    })
                })
                .collect();
            trigger.drain();
            trigger.cut();
            for task in tasks {
                task.await.unwrap();
            }
        }
    }

    #[test]
    fn a_child_goes_ahead_by_itself_and_never_stays_behind() {
        let (trigger, parent) = Shutdown::new();
        let (own, child) = parent.child();
        let (_other, other) = parent.child();
        own.drain();
        assert!(child.is_draining() && !parent.is_draining() && !other.is_draining());
        trigger.drain();
        assert!(other.is_draining() && !child.is_cut());
        trigger.cut();
        assert!(child.is_cut() && other.is_cut() && parent.child().1.is_cut());
        drop((other, _other));
        let _third = parent.child();
        assert_eq!(parent.state.children.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_future_that_moves_to_another_task_still_wakes() {
        let (trigger, shutdown) = Shutdown::new();
        let mut reached = Box::pin(shutdown.draining());
        assert!(reached.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let task = tokio::spawn(reached);
        tokio::task::yield_now().await;
        trigger.drain();
        task.await.unwrap();
    }
}
