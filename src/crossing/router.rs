use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::Reply;
use super::cell::Cell;

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

    /// A task of the runtime.
    pub(crate) async fn run(&self) {
        let mut answers = Vec::new();
        poll_fn(|cx| {
            {
                let mut inner = self.inner.lock();
                std::mem::swap(&mut inner.answers, &mut answers);
                inner.waker = Some(cx.waker().clone());
            }
            for (cell, seq, reply) in answers.drain(..) {
                cell.complete(seq, reply);
            }
            Poll::<()>::Pending
        })
        .await
    }
}
