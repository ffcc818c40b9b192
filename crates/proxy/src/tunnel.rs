//! After a 101, or the 200 to a CONNECT: bytes go both ways as they come, until both sides have ended
//! theirs.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use millrace_error::{Code, Error, Source};
use tokio::time::Instant;

use crate::relay::{Broken, poll_broken_flush};
use crate::timer::Timer;
use crate::upload::Upload;
use crate::upstream::Upstream;
use crate::{Body, Downstream};

/// Passes bytes on in both directions. An error if nothing comes through for as long as `idle`.
pub(crate) async fn tunnel<D: Downstream>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
    idle: Option<Duration>,
) -> Result<(), Broken> {
    upload.become_tunnel();
    let mut far = FarEnd { up, ended: false, whole: false };
    let mut timer = Timer::default();
    let mut moved = down.transferred();
    let mut last = Instant::now();
    poll_fn(|cx| {
        let sent = match upload.poll(cx, down, far.up) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Downstream(error))),
            sent => sent.is_ready(),
        };
        if let Some(error) = upload.failure() {
            return Poll::Ready(Err(Broken::Upstream(error)));
        }
        let received = match far.poll(cx, down) {
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
            received => received.is_ready(),
        };
        if sent && received {
            far.whole = true;
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(error) = down.poll_gone(cx) {
            return Poll::Ready(Err(Broken::Downstream(error)));
        }
        let now_moved = down.transferred();
        if now_moved != moved {
            (moved, last) = (now_moved, Instant::now());
        }
        let deadline = idle.and_then(|idle| last.checked_add(idle));
        timer.poll(cx, deadline).map(|()| {
            let error = Error::new(Code::ReadTimeout, "nothing came through the tunnel");
            Err(Broken::Upstream(error.from_source(Source::Internal)))
        })
    })
    .await
}

/// The origin's end of a tunnel. Dropped before both sides have ended, whether the client broke or
/// the server stopped, it is reset, so that what came through is not taken for all.
struct FarEnd<'a> {
    up: &'a mut Upstream,
    /// The origin has sent all.
    ended: bool,
    /// Both sides have ended.
    whole: bool,
}

impl FarEnd<'_> {
    /// Moves what the origin sends as far as it goes; ready when the client has all of it.
    fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Result<(), Broken>> {
        while !self.ended {
            match down.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Downstream(error))),
                Poll::Pending => return Poll::Pending,
            }
            match self.up.poll_body(cx) {
                Poll::Ready(Ok(Body::Data(data))) => down.send_data(data),
                Poll::Ready(Ok(Body::Trailers(_))) => {}
                Poll::Ready(Ok(Body::End)) => {
                    down.finish(None);
                    self.ended = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Upstream(error))),
                Poll::Pending => {
                    // Nothing is held back while the origin is silent.
                    return poll_broken_flush(cx, down);
                }
            }
        }
        down.poll_flush(cx).map_err(Broken::Downstream)
    }
}

impl Drop for FarEnd<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.up.abort();
        }
    }
}
