use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use millrace_error::{Level, Log};
use napi::Status;
use napi::bindgen_prelude::{Function, Result};
use napi::threadsafe_function::{
    ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue,
};
use parking_lot::Mutex;

/// Lines that wait for the JS thread at most; beyond, they are counted and dropped.
const MAX_LINES: usize = 1_024;

type Logged = ThreadsafeFunction<(), UnknownReturnValue, Vec<String>, Status, false, true>;

/// Log lines on their way to the JS thread. Never blocks.
pub(crate) struct LogQueue {
    lines: Arc<Mutex<Lines>>,
    logged: Logged,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<String>,
    dropped: AtomicU64,
}

impl LogQueue {
    pub(crate) fn new(logged: Function<Vec<String>, UnknownReturnValue>) -> Result<Arc<Self>> {
        let lines: Arc<Mutex<Lines>> = Arc::default();
        let queue = lines.clone();
        let logged =
            logged.build_threadsafe_function::<()>().weak::<true>().build_callback(move |_| {
                let mut lines = queue.lock();
                let mut waiting = std::mem::take(&mut lines.waiting);
                let dropped = lines.dropped.swap(0, Relaxed);
                if dropped > 0 {
                    waiting.push(format!("warn\0\0{dropped} log lines were dropped"));
                }
                Ok(waiting)
            })?;
        Ok(Arc::new(LogQueue { lines, logged }))
    }

    fn push(&self, line: String) {
        let first = {
            let mut lines = self.lines.lock();
            if lines.waiting.len() >= MAX_LINES {
                lines.dropped.fetch_add(1, Relaxed);
                return;
            }
            lines.waiting.push(line);
            lines.waiting.len() == 1
        };
        if first {
            self.logged.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// The log of one server: its lines carry its number, so that they reach its logger.
pub(crate) struct ServerLog {
    pub(crate) queue: Arc<LogQueue>,
    pub(crate) server: u32,
}

impl Log for ServerLog {
    fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.queue.push(format!("{level}\0{}\0{line}", self.server));
    }
}
