use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Says when nothing has happened for too long. The timer is set anew only when it rings, as what
/// happens is frequent and its ringing rare.
pub(crate) struct Idle {
    limit: Option<Duration>,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Idle { limit, last: Instant::now(), sleep: None }
    }

    /// Something has happened.
    pub(crate) fn touch(&mut self) {
        self.last = Instant::now();
    }

    /// Waits no longer than this from now on.
    pub(crate) fn shorten(&mut self, limit: Duration) {
        self.limit = Some(self.limit.map_or(limit, |set| set.min(limit)));
        self.sleep = None;
        self.touch();
    }

    /// Ready when nothing has happened for as long as the limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        loop {
            let Some(end) = self.last.checked_add(limit) else { return Poll::Pending };
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => sleep.as_mut().reset(end),
            }
        }
    }
}
