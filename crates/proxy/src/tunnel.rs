//! After a 101: bytes go both ways as they come, until both sides have ended theirs.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use millrace_error::{Code, Error, Source};
use tokio::time::Instant;

use crate::relay::Broken;
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
    let mut timer = Timer::default();
    let mut moved = down.transferred();
    let mut last = Instant::now();
    let mut origin_ended = false;
    poll_fn(|cx| {
        let client_ended = match upload.poll(cx, down, up) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Downstream(error))),
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        if let Some(error) = upload.failure() {
            return Poll::Ready(Err(Broken::Upstream(error)));
        }
        let flushed = loop {
            let room = if origin_ended { down.poll_flush(cx) } else { down.poll_ready(cx) };
            match room {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Downstream(error))),
                Poll::Pending => break false,
                Poll::Ready(Ok(())) if origin_ended => break true,
                Poll::Ready(Ok(())) => {}
            }
            match up.poll_body(cx) {
                Poll::Ready(Ok(Body::Data(data))) => down.send_data(data),
                Poll::Ready(Ok(Body::Trailers(_))) => {}
                Poll::Ready(Ok(Body::End)) => {
                    down.finish(None);
                    origin_ended = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Upstream(error))),
                Poll::Pending => {
                    if let Poll::Ready(Err(error)) = down.poll_flush(cx) {
                        return Poll::Ready(Err(Broken::Downstream(error)));
                    }
                    break false;
                }
            }
        };
        if client_ended && flushed {
            return Poll::Ready(Ok(()));
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
