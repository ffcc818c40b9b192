use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets a line through at most once each second: what many clients can cause must not fill a log.
#[derive(Debug, Default)]
pub struct OnceASecond(Mutex<Option<Instant>>);

impl OnceASecond {
    /// Whether it is time for one.
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1));
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}
