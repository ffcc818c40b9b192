use std::sync::Arc;

use millrace_error::{Level, Log};
use napi::bindgen_prelude::{Function, Result};
use napi::threadsafe_function::UnknownReturnValue;

use crate::mailbox::Mailbox;

/// Lines that wait for the JS thread at most; beyond, they are counted and dropped.
const MAX_LINES: usize = 1_024;

/// Log lines on their way to the JS thread. Never blocks.
pub(crate) struct LogQueue {
    lines: Arc<Mailbox<String>>,
}

impl LogQueue {
    pub(crate) fn new(logged: Function<Vec<String>, UnknownReturnValue>) -> Result<Arc<Self>> {
        let told = |dropped| format!("warn\0\0{dropped} log lines were dropped");
        Ok(Arc::new(LogQueue { lines: Mailbox::new(logged, MAX_LINES, told)? }))
    }

    fn push(&self, line: String) {
        self.lines.push(line);
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
