use std::future::poll_fn;
use std::task::{Context, Poll};

use millrace_error::Result;
use millrace_message::{Fields, strip_hop_by_hop};

use crate::upload::Upload;
use crate::upstream::{Head, Upstream};
use crate::{Body, Downstream};

/// Runs `future`; an error as soon as the client leaves.
pub(crate) async fn alive<D: Downstream, T>(
    down: &mut D,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        match down.poll_gone(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until all that was sent is with the system; an error as soon as the client leaves.
pub(crate) async fn flushed<D: Downstream>(down: &mut D) -> Result<()> {
    poll_fn(|cx| {
        if let Poll::Ready(flushed) = down.poll_flush(cx) {
            return Poll::Ready(flushed);
        }
        down.poll_gone(cx).map(Err)
    })
    .await
}

/// Who failed while request and response were under way.
pub(crate) enum Broken {
    /// The client.
    Downstream(millrace_error::Error),
    /// The origin.
    Upstream(millrace_error::Error),
}

/// Runs `future` while the request's body goes on upstream.
pub(crate) async fn uploading<D: Downstream, T>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    up.rest();
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        match poll_client(cx, down, up, upload) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Sends the request and waits for the head of its response; interim ones are passed on.
pub(crate) async fn exchange_heads<D: Downstream>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
) -> Result<(millrace_message::ResponseHead, crate::BodySize), Broken> {
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(error) = poll_client(cx, down, up, upload) {
                return Poll::Ready(Err(Broken::Downstream(error)));
            }
            if upload.is_stuck()
                && let Some(error) = upload.failure()
            {
                return Poll::Ready(Err(Broken::Upstream(error)));
            }
            match up.poll_head(cx) {
                Poll::Ready(Ok(Head::Interim(mut head))) => {
                    strip_hop_by_hop(&mut head.fields);
                    // It has no body, so that a length could only mislead.
                    head.fields.remove("content-length");
                    down.send_interim(&head);
                }
                Poll::Ready(Ok(Head::Final(head, size))) => return Poll::Ready(Ok((head, size))),
                // The first failure says more than what followed from it.
                Poll::Ready(Err(error)) => {
                    let error = upload.failure().unwrap_or(error);
                    return Poll::Ready(Err(Broken::Upstream(error)));
                }
                Poll::Pending => {
                    return match down.poll_flush(cx) {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Downstream(error))),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    })
    .await
}

/// Passes the response's body on, and what is left of the request's.
pub(crate) async fn relay_body<D: Downstream>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
    wants_trailers: bool,
) -> Result<(), Broken> {
    let mut trailers: Option<Fields> = None;
    poll_fn(|cx| {
        if let Poll::Ready(error) = poll_client(cx, down, up, upload) {
            return Poll::Ready(Err(Broken::Downstream(error)));
        }
        loop {
            match down.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Downstream(error))),
                Poll::Pending => {
                    // The client is the slow side: the origin's patience is not ours to count.
                    up.rest();
                    return Poll::Pending;
                }
            }
            match up.poll_body(cx) {
                Poll::Ready(Ok(Body::Data(data))) => down.send_data(data),
                Poll::Ready(Ok(Body::Trailers(fields))) => trailers = Some(fields),
                Poll::Ready(Ok(Body::End)) => {
                    down.finish(trailers.take().filter(|_| wants_trailers).as_ref());
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Upstream(error))),
                Poll::Pending => {
                    return match down.poll_flush(cx) {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Downstream(error))),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    })
    .await
}

/// Moves the request's body on and watches for the client leaving; ready only with its error.
fn poll_client<D: Downstream>(
    cx: &mut Context<'_>,
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
) -> Poll<millrace_error::Error> {
    if let Poll::Ready(Err(error)) = upload.poll(cx, down, up) {
        return Poll::Ready(error);
    }
    if upload.waits_for_client() && !down.expects_continue() {
        return Poll::Pending;
    }
    down.poll_gone(cx)
}
