use tokio::time::Instant;

/// What one token is worth in bytes of data.
const BYTES: u64 = 1024;

/// Tokens that are taken one by one and come back with time.
pub(super) struct Bucket {
    most: u64,
    per_second: u64,
    left: u64,
    /// Up to when tokens were given.
    since: Instant,
    /// Bytes that make no whole token yet.
    bytes: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(most: u32, per_second: u32) -> Self {
        let most = u64::from(most);
        let since = Instant::now();
        Bucket { most, per_second: u64::from(per_second), left: most, since, bytes: 0 }
    }

    /// Takes one; false if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            let seconds = now.saturating_duration_since(self.since).as_millis();
            let earned = u64::try_from(seconds).unwrap_or(u64::MAX).saturating_mul(self.per_second);
            if earned < 1000 {
                return false;
            }
            self.left = (earned / 1000).min(self.most);
            self.since = now;
        }
        self.left -= 1;
        true
    }

    /// Gives some back for bytes that moved.
    pub(super) fn give(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.left = self.left.saturating_add(self.bytes / BYTES).min(self.most);
        self.bytes %= BYTES;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back_with_time_and_never_more_than_there_were() {
        let mut bucket = Bucket::new(3, 2);
        let take_all = |bucket: &mut Bucket| {
            let now = Instant::now();
            std::iter::from_fn(|| bucket.take(now).then_some(())).count()
        };
        assert_eq!(take_all(&mut bucket), 3);
        tokio::time::advance(Duration::from_millis(1100)).await;
        assert_eq!(take_all(&mut bucket), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(take_all(&mut bucket), 3);
        bucket.give(1023);
        assert_eq!(take_all(&mut bucket), 0);
        bucket.give(1025);
        assert_eq!(take_all(&mut bucket), 2);
    }
}
