use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::cell::Cell;
use super::{Crossing, Reply};

/// Hands answers out on the runtime that waits for them: waking a task from another thread is dear,
/// so that JS wakes one task of each runtime, and that one wakes the others.
#[derive(Default)]
pub(crate) struct Router {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    answers: Vec<(Arc<Cell>, u32, Reply)>,
    waker: Option<Waker>,
}

impl Router {
    /// JS thread: the answers of a batch.
    pub(super) fn send(&self, answers: &mut Vec<(Arc<Cell>, u32, Reply)>) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.answers.append(answers);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The task of a runtime. `number` is this router's; a phase that takes longer than its limit is
    /// found within `tick`.
    pub(crate) async fn run(&self, crossing: &Crossing, number: usize, tick: Option<Duration>) {
        let mut answers = Vec::new();
        let mut ticks = tick.map(tokio::time::interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        poll_fn(|cx| {
            {
                let mut inner = self.inner.lock();
                std::mem::swap(&mut inner.answers, &mut answers);
                match &mut inner.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => inner.waker = Some(cx.waker().clone()),
                }
            }
            for (cell, seq, reply) in answers.drain(..) {
                cell.complete(seq, reply);
            }
            while let Some(Poll::Ready(now)) = ticks.as_mut().map(|ticks| ticks.poll_tick(cx)) {
                crossing.expire(number, now);
            }
            Poll::<()>::Pending
        })
        .await
    }
}
