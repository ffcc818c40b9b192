use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use millrace_error::Result;
use millrace_message::{Fields, strip_hop_by_hop};
use pin_project_lite::pin_project;

use crate::upload::Upload;
use crate::upstream::{Head, Upstream};
use crate::{Body, Downstream};

pin_project! {
    /// See [`alive`].
    pub(crate) struct Alive<'a, D, F> {
        down: &'a mut D,
        #[pin]
        future: F,
    }
}

/// Runs `future`; an error as soon as the client leaves. A type of its own, as an `async fn` would
/// hold the future twice.
pub(crate) fn alive<D, F>(down: &mut D, future: F) -> Alive<'_, D, F> {
    Alive { down, future }
}

impl<D: Downstream, T, F: Future<Output = Result<T>>> Future for Alive<'_, D, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.future.poll(cx) {
            return Poll::Ready(done);
        }
        this.down.poll_gone(cx).map(Err)
    }
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

pin_project! {
    /// See [`uploading`].
    pub(crate) struct Uploading<'a, D, F> {
        down: &'a mut D,
        up: &'a mut Upstream,
        upload: &'a mut Upload,
        #[pin]
        future: F,
    }
}

/// Runs `future` while the request's body goes on upstream, and interim answers to the client; an
/// error as soon as the client leaves.
pub(crate) fn uploading<'a, D, F>(
    down: &'a mut D,
    up: &'a mut Upstream,
    upload: &'a mut Upload,
    future: F,
) -> Uploading<'a, D, F> {
    up.rest();
    Uploading { down, up, upload, future }
}

impl<D: Downstream, T, F: Future<Output = Result<T>>> Future for Uploading<'_, D, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.future.poll(cx) {
            return Poll::Ready(done);
        }
        if let Poll::Ready(error) = poll_client(cx, *this.down, this.up, this.upload) {
            return Poll::Ready(Err(error));
        }
        match this.down.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }
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
    takes_trailers: bool,
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
                    down.finish(trailers.take().filter(|_| takes_trailers).as_ref());
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
