use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use millrace_error::{Fields, Level, Log, Value};
use napi::bindgen_prelude::{Either, Function, Result};
use napi::threadsafe_function::UnknownReturnValue;
use napi_derive::napi;

use crate::mailbox::Mailbox;

/// Records that wait for the JS thread at most; beyond, they are counted and dropped.
const MAX_RECORDS: usize = 1_024;

/// A line of the log with what it says.
#[napi(object, object_from_js = false)]
pub struct NativeLogRecord {
    /// The number of its server; 0: it is of none in particular.
    pub server: u32,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// When, in ms since 1970.
    pub time: f64,
    pub message: String,
    /// The names of the fields.
    pub names: Vec<&'static str>,
    /// Their values, in the same order.
    pub values: Vec<Either<String, f64>>,
}

impl NativeLogRecord {
    pub(crate) fn new(server: u32, level: Level, message: String, fields: Fields<'_>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let value = |value: &Value<'_>| match value {
            Value::Text(text) => Either::A((*text).to_owned()),
            Value::Number(number) => Either::B(*number),
        };
        NativeLogRecord {
            server,
            level: level.as_str(),
            time: (since.as_micros() / 1000) as f64,
            message,
            names: fields.iter().map(|(name, _)| *name).collect(),
            values: fields.iter().map(|(_, each)| value(each)).collect(),
        }
    }
}

/// Records on their way to the JS thread. Never blocks.
pub(crate) struct LogQueue {
    records: Arc<Mailbox<NativeLogRecord>>,
    dropped: Arc<AtomicU64>,
}

impl LogQueue {
    pub(crate) fn new(
        logged: Function<Vec<NativeLogRecord>, UnknownReturnValue>,
    ) -> Result<Arc<Self>> {
        let dropped: Arc<AtomicU64> = Arc::default();
        let total = dropped.clone();
        let told = move |dropped| {
            total.fetch_add(dropped, Relaxed);
            let line = format!("{dropped} log lines were dropped");
            let fields = [("dropped", Value::Number(dropped as f64))];
            NativeLogRecord::new(0, Level::Warn, line, &fields)
        };
        let records = Mailbox::new(logged, MAX_RECORDS, told)?;
        let queue = Arc::new(LogQueue { records, dropped });
        crate::dependencies_log::listen(&queue);
        Ok(queue)
    }

    pub(crate) fn push(&self, record: NativeLogRecord) {
        self.records.push(record);
    }

    /// Records that were dropped so far, of those that JavaScript has been told of.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// The log of one server, or of a service of it: its records carry its number, so that they reach its
/// logger.
#[derive(Clone)]
pub(crate) struct ServerLog {
    pub(crate) queue: Arc<LogQueue>,
    pub(crate) server: u32,
    /// The least level that is wanted; none: nothing is.
    pub(crate) least: Option<Level>,
    /// Said by each of its records.
    pub(crate) service: Option<String>,
}

impl ServerLog {
    /// The same for a service.
    pub(crate) fn of(&self, service: &str) -> Arc<Self> {
        Arc::new(ServerLog { service: Some(service.to_owned()), ..self.clone() })
    }
}

impl Log for ServerLog {
    fn log(&self, level: Level, line: &str) {
        self.log_with(level, line, &[]);
    }

    fn log_with(&self, level: Level, line: &str, fields: Fields<'_>) {
        if !self.enabled(level) {
            return;
        }
        let mut record = NativeLogRecord::new(self.server, level, line.to_owned(), fields);
        if let Some(service) = &self.service {
            record.names.push("service");
            record.values.push(Either::A(service.clone()));
        }
        self.queue.push(record);
    }

    fn enabled(&self, level: Level) -> bool {
        self.least.is_some_and(|least| level >= least)
    }
}

/// A level as it crosses: 0 is all of it, 4 nothing.
pub(crate) fn least(level: u32) -> Option<Level> {
    [Level::Debug, Level::Info, Level::Warn, Level::Error].get(level as usize).copied()
}
