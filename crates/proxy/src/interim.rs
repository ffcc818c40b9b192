//! Interim responses of our own (RFC 9110 §15.2), such as 103 Early Hints, which phases send while
//! the final one is still being made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_message::ResponseHead;
use parking_lot::Mutex;

/// How many of them a request may send; further ones are dropped.
const MAX_OWN: u32 = 16;

/// The interim responses that wait for the task of a connection or stream, one request at a time.
#[derive(Clone, Default)]
pub struct Interims(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    any: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Which request they belong to: those of an earlier one on the connection come too late.
    request: u64,
    sent: u32,
    heads: Vec<ResponseHead>,
}

impl Interims {
    /// Begins with another request.
    pub(crate) fn begin(&self) -> InterimSender {
        let mut queue = self.0.queue.lock();
        queue.request += 1;
        queue.sent = 0;
        queue.heads.clear();
        InterimSender { waiting: self.0.clone(), request: queue.request }
    }

    /// What has been sent since it was last asked for.
    pub(crate) fn take(&self) -> Vec<ResponseHead> {
        // Asked for whenever a request gets on, and there is hardly ever one.
        if !self.0.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.0.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.0.queue.lock().heads)
    }
}

/// Sends interim responses to the client of one request.
#[derive(Clone)]
pub struct InterimSender {
    waiting: Arc<Waiting>,
    request: u64,
}

impl InterimSender {
    /// Sends one, as soon as the request's task runs; a client of HTTP/1.0 gets none. Whether it may
    /// still be of use: not once the final response has begun, nor where the request is over, nor
    /// after 16 of them.
    pub fn send(&self, head: ResponseHead) -> bool {
        let mut queue = self.waiting.queue.lock();
        if queue.request != self.request || queue.sent >= MAX_OWN || !head.is_interim() {
            return false;
        }
        queue.sent += 1;
        queue.heads.push(head);
        self.waiting.any.store(true, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_request_sends_comes_too_late() {
        let interims = Interims::default();
        let first = interims.begin();
        assert!(first.send(ResponseHead::new(103)));
        let second = interims.begin();
        assert!(!first.send(ResponseHead::new(103)));
        assert!(interims.take().is_empty());
        assert!(second.send(ResponseHead::new(103)));
        assert_eq!(interims.take().len(), 1);
    }

    #[test]
    fn a_request_sends_so_many_and_only_such() {
        let interims = Interims::default();
        let sender = interims.begin();
        assert!(!sender.send(ResponseHead::new(200)) && !sender.send(ResponseHead::new(101)));
        let sent = (0..100).filter(|_| sender.send(ResponseHead::new(103))).count();
        assert_eq!((sent, interims.take().len()), (MAX_OWN as usize, MAX_OWN as usize));
    }
}
