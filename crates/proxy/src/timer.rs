use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for the many deadlines of a connection. A deadline that moves away, as all of them do
/// with every request, costs nothing: the timer fires early and looks again.
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl Timer {
    /// Ready when `deadline` has passed; without one, never.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let (sleep, armed) =
            self.sleep.get_or_insert_with(|| (Box::pin(sleep_until(deadline)), deadline));
        if deadline < *armed {
            sleep.as_mut().reset(deadline);
            *armed = deadline;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
            *armed = deadline;
        }
        Poll::Pending
    }
}

pin_project! {
    /// See [`within`].
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Option<Sleep>,
    }
}

/// Runs `future` until `deadline`, if there is one; none if it was not done by then.
pub(crate) fn within<F>(deadline: Option<Instant>, future: F) -> Within<F> {
    Within { future, sleep: deadline.map(sleep_until) }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.future.poll(cx) {
            return Poll::Ready(Some(done));
        }
        match this.sleep.as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moved_away_is_kept() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let first = start + Duration::from_secs(1);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, Some(first)).is_pending())).await);
        poll_fn(|cx| timer.poll(cx, Some(start + Duration::from_secs(3)))).await;
        assert_eq!(start.elapsed().as_secs(), 3);
        poll_fn(|cx| timer.poll(cx, Some(start + Duration::from_secs(4)))).await;
        assert_eq!(start.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_nearer_deadline_moves_the_timer() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let far = start + Duration::from_secs(60);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, Some(far)).is_pending())).await);
        poll_fn(|cx| timer.poll(cx, Some(start + Duration::from_secs(1)))).await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}
