use std::sync::Arc;
use std::time::Duration;

use millrace_error::{Level, Log};
use parking_lot::Mutex;
use tokio::runtime::Handle;

/// Lines that are let through in each window.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Log lines that clients can cause, and so can cause many of: [`LINES`] in each [`WINDOW`] pass, the others
/// are counted.
pub(crate) struct Complaints {
    service: String,
    log: Arc<dyn Log>,
    /// What the lines are about: connections of which this holds.
    what: &'static str,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    passed: u32,
    dropped: u64,
}

impl Complaints {
    pub(crate) fn new(service: &str, log: &Arc<dyn Log>, what: &'static str) -> Arc<Self> {
        let (service, log) = (service.to_owned(), log.clone());
        Arc::new(Complaints { service, log, what, window: Mutex::default() })
    }

    /// Logs a line about a client.
    pub(crate) fn add(self: &Arc<Self>, level: Level, client: &str, line: impl FnOnce() -> String) {
        let is_first = {
            let mut window = self.window.lock();
            if window.passed == LINES {
                window.dropped += 1;
                return;
            }
            window.passed += 1;
            window.passed == 1
        };
        // A runtime that ends drops it, and with the last of them what was counted is told.
        if is_first && let Ok(runtime) = Handle::try_current() {
            let this = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep(WINDOW).await;
                this.next();
            });
        }
        let line = format!("service {}: {}", self.service, line());
        let fields = [("service", self.service.as_str().into()), ("client", client.into())];
        self.log.log_with(level, &line, &fields);
    }

    fn next(&self) {
        let Window { dropped, .. } = std::mem::take(&mut *self.window.lock());
        if dropped > 0 {
            let (service, what) = (&self.service, self.what);
            let line =
                format!("service {service}: {dropped} more connections {what} have no line each");
            self.log.log_with(Level::Warn, &line, &[("service", self.service.as_str().into())]);
        }
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        self.next();
    }
}
