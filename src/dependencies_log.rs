//! What the libraries beneath say of themselves by way of `tracing`: HTTP/2's does. It goes where the
//! lines of the servers go.

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Once, Weak};

use millrace_error::{Level, Value};
use parking_lot::Mutex;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::{Interest, Subscriber};
use tracing_core::{Event, LevelFilter, Metadata, callsite};

use crate::log::{LogQueue, NativeLogRecord};

/// Whether any server asked for all of it, rather than for warnings.
static DETAILED: AtomicBool = AtomicBool::new(false);
static QUEUES: Mutex<Vec<Weak<LogQueue>>> = Mutex::new(Vec::new());
/// The longest text that is taken of one event, in bytes.
const MOST: usize = 2_048;

/// From now on what the libraries say goes to this queue, too.
pub(crate) fn listen(queue: &Arc<LogQueue>) {
    static SET: Once = Once::new();
    let mut queues = QUEUES.lock();
    queues.retain(|queue| queue.strong_count() > 0);
    queues.push(Arc::downgrade(queue));
    drop(queues);
    // Somebody else in this binary may have set one: then that has it.
    SET.call_once(|| drop(tracing_core::dispatcher::set_global_default(Listener.into())));
}

/// Takes what is said for debugging, too, until the process ends.
pub(crate) fn detail() {
    if !DETAILED.swap(true, Relaxed) {
        callsite::rebuild_interest_cache();
    }
}

struct Listener;

impl Listener {
    fn most() -> LevelFilter {
        if DETAILED.load(Relaxed) { LevelFilter::DEBUG } else { LevelFilter::WARN }
    }
}

impl Subscriber for Listener {
    /// Asked once for each place in the source, so that what is off costs a load and no more.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::most())
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Self::most()
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            tracing_core::Level::ERROR => Level::Error,
            tracing_core::Level::WARN => Level::Warn,
            tracing_core::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let line = format!("{}: {}{}", metadata.target(), text.message, text.others);
        let fields = [("module", Value::Text(metadata.target()))];
        for queue in QUEUES.lock().iter().filter_map(Weak::upgrade) {
            queue.push(NativeLogRecord::new(0, level, line.clone(), &fields));
        }
    }

    // There are no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What an event says, in one line.
#[derive(Default)]
struct Text {
    message: String,
    others: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.message.len() + self.others.len() > MOST {
            return;
        }
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_are_taken_until_somebody_asks_for_more() {
        assert_eq!(Listener.max_level_hint(), Some(LevelFilter::WARN));
        detail();
        assert_eq!(Listener.max_level_hint(), Some(LevelFilter::DEBUG));
    }
}
