use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::PATIENCE;

/// Something that happens again and again, waited for on other threads.
#[derive(Clone, Default)]
pub struct Ticks(Arc<(Mutex<usize>, Condvar)>);

impl Ticks {
    /// It has happened once more.
    pub fn tick(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    /// Waits until it has happened so often.
    #[track_caller]
    pub fn wait(&self, count: usize) {
        assert!(self.has_come(count, PATIENCE), "it is not {count} yet");
    }

    /// Waits for the end of a test, which may take a while, or fail.
    pub fn wait_for_end(&self) {
        self.has_come(1, 10 * PATIENCE);
    }

    fn has_come(&self, count: usize, limit: Duration) -> bool {
        let (ticks, told) = &*self.0;
        let before = |ticks: &mut usize| *ticks < count;
        let waited = told.wait_timeout_while(ticks.lock().unwrap(), limit, before).unwrap();
        !waited.1.timed_out()
    }
}
