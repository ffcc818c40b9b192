use std::time::Duration;

use tokio::time::Instant;

/// How long the other side may be waited for in all before its rate counts.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// The patience with one direction of a body: a limit between two pieces, and a slowest rate over
/// all the time that was spent waiting. Time in which we were the slow side does not count.
#[derive(Default)]
pub(crate) struct Stall {
    since: Option<Instant>,
    waited: Duration,
    moved: u64,
}

impl Stall {
    /// The other side has to be waited for: until when.
    pub(crate) fn wait(&mut self, between: Option<Duration>, min_rate: u64) -> Option<Instant> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let by_rate = (min_rate > 0).then(|| {
            let earned = Duration::from_millis(self.moved.saturating_mul(1000) / min_rate);
            RATE_GRACE.max(earned).saturating_sub(self.waited)
        });
        let patience = match (between, by_rate) {
            (Some(between), Some(by_rate)) => between.min(by_rate),
            (between, by_rate) => between.or(by_rate)?,
        };
        since.checked_add(patience)
    }

    /// Bytes moved.
    pub(crate) fn progress(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        self.rest();
    }

    /// The other side had something to wait for itself: its pause begins anew.
    pub(crate) fn restart(&mut self) {
        let waits = self.since.is_some();
        self.rest();
        self.since = waits.then(Instant::now);
    }

    /// The other side is no longer waited for.
    pub(crate) fn rest(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trickle_runs_out_of_patience_though_each_pause_is_short() {
        let mut stall = Stall::default();
        let start = Instant::now();
        loop {
            let deadline = stall.wait(Some(Duration::from_secs(60)), 100).expect("a deadline");
            let next = Instant::now() + Duration::from_secs(1);
            if deadline <= next {
                break;
            }
            tokio::time::sleep_until(next).await;
            stall.progress(1);
        }
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_sender_is_only_bound_by_the_pause() {
        let mut stall = Stall::default();
        stall.progress(1 << 20);
        let deadline = stall.wait(Some(Duration::from_secs(60)), 100).expect("a deadline");
        assert_eq!(deadline - Instant::now(), Duration::from_secs(60));
    }
}
