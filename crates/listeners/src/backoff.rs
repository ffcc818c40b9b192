use std::io::{self, ErrorKind};
use std::time::Duration;

/// Failures of single connections that may follow each other at once.
const AT_ONCE: u32 = 16;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// How long to wait after a failed `accept`. The listening socket stays ready while descriptors
/// are short, so trying again at once would spin.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The time to wait; `None` where the failure took its connection with it.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if is_of_one_connection(error) && self.failures <= AT_ONCE {
            return None;
        }
        let doublings = (self.failures - 1).min(10);
        Some((SHORTEST * (1 << doublings)).min(LONGEST))
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_waited_out_longer_each_time_up_to_a_bound() {
        let (mut backoff, shortage) = (Backoff::default(), io::Error::from(ErrorKind::Other));
        let waits: Vec<_> = (0..9).filter_map(|_| backoff.failed(&shortage)).collect();
        assert_eq!(waits[..3], [10, 20, 40].map(Duration::from_millis));
        assert_eq!(waits[8], LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.failed(&shortage), Some(SHORTEST));
    }

    #[test]
    fn an_aborted_connection_costs_no_time_unless_they_never_end() {
        let (mut backoff, aborted) =
            (Backoff::default(), io::Error::from(ErrorKind::ConnectionAborted));
        assert!((0..AT_ONCE).all(|_| backoff.failed(&aborted).is_none()));
        assert_eq!(backoff.failed(&aborted), Some(LONGEST));
    }
}
