//! Threads of JavaScript beside the one that has the server. That one makes the way to such a thread
//! first, so that requests can wait for it; the thread takes it when it has loaded its module.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use napi::Status;
use napi::bindgen_prelude::{Error, Result};
use napi_derive::napi;
use parking_lot::Mutex;

use crate::crossing::{Crossing, CrossingStats};
use crate::subrequests::Proxies;

/// The ways to threads, by their numbers, for as long as their handles are there.
static THREADS: LazyLock<Mutex<HashMap<u32, Wiring>>> = LazyLock::new(Mutex::default);

/// The way to the phases in a thread, and back from their subrequests.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) crossing: Arc<Crossing>,
    pub(crate) proxies: Proxies,
}

impl Wiring {
    /// `may_end`: a thread that ends while the server goes on.
    pub(crate) fn new(may_end: bool) -> Self {
        Wiring { crossing: Crossing::new(may_end), proxies: Proxies::default() }
    }

    /// That of the thread with this number.
    pub(crate) fn find(thread: u32) -> Result<Self> {
        let found = THREADS.lock().get(&thread).cloned();
        found.ok_or_else(|| Error::new(Status::InvalidArg, format!("no thread {thread}")))
    }
}

/// A thread of JavaScript, before, while and after it runs.
#[napi]
pub struct NativeThread {
    number: u32,
    wiring: Wiring,
}

#[napi]
impl NativeThread {
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let (number, wiring) = (NEXT.fetch_add(1, Relaxed), Wiring::new(true));
        THREADS.lock().insert(number, wiring.clone());
        NativeThread { number, wiring }
    }

    /// Its number, by which the thread finds it.
    #[napi(getter, catch_unwind)]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Counters of the way to it.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> CrossingStats {
        CrossingStats::of(&self.wiring.crossing, 0)
    }

    /// The thread has ended, or is given up: whoever waits for it is told, and no request comes to it.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.wiring.crossing.close();
    }
}

impl Drop for NativeThread {
    fn drop(&mut self) {
        THREADS.lock().remove(&self.number);
    }
}

/// Makes the calling thread one that the system does not hurry to switch to, as the server's option
/// `batchJsThread` has it.
#[napi(catch_unwind)]
pub fn batch_thread() {
    crate::scheduling::batch();
}
