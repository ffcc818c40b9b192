use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use millrace_error::{Code, Result};
use millrace_message::{Fields, strip_hop_by_hop};
use pin_project_lite::pin_project;

use crate::filter::Filters;
use crate::upload::Upload;
use crate::upstream::{Head, Upstream};
use crate::{Body, BodySize, Downstream, RequestBody};

pin_project! {
    /// See [`alive`].
    pub(crate) struct Alive<'a, D, F> {
        down: &'a mut D,
        hinted: bool,
        #[pin]
        future: F,
    }
}

/// Runs `future`; an error as soon as the client leaves. A type of its own, as an `async fn` would
/// hold the future twice.
pub(crate) fn alive<D, F>(down: &mut D, future: F) -> Alive<'_, D, F> {
    Alive { down, hinted: false, future }
}

impl<D: Downstream, T, F: Future<Output = Result<T>>> Future for Alive<'_, D, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match poll_phase(this.future, cx, *this.down, this.hinted) {
            Poll::Pending => this.down.poll_gone(cx).map(Err),
            done => done,
        }
    }
}

pin_project! {
    /// See [`reading`].
    pub(crate) struct Reading<'a, D, F> {
        down: &'a mut D,
        body: &'a RequestBody,
        hinted: bool,
        #[pin]
        future: F,
    }
}

/// Runs a phase, and reads the request's body while it waits for that; an error as soon as the client
/// leaves.
pub(crate) fn reading<'a, D, F>(
    down: &'a mut D,
    body: &'a RequestBody,
    future: F,
) -> Reading<'a, D, F> {
    body.forget();
    Reading { down, body, hinted: false, future }
}

impl<D: Downstream, T, F: Future<Output = Result<T>>> Future for Reading<'_, D, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let done = poll_phase(this.future.as_mut(), cx, *this.down, this.hinted);
            if let Poll::Ready(done) = done {
                return Poll::Ready(done.map_err(|error| this.body.blame(error)));
            }
            match this.body.poll_fill(cx, *this.down) {
                Poll::Ready(filled) => filled?,
                // Who reads the body sees the client leave.
                Poll::Pending if this.body.is_wanted() => return Poll::Pending,
                Poll::Pending => return this.down.poll_gone(cx).map(Err),
            }
        }
    }
}

/// Polls a phase and passes on the interim responses that it has sent; an error if they cannot be.
/// `hinted` = there have been some.
fn poll_phase<D: Downstream, T, F: Future<Output = Result<T>>>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
    down: &mut D,
    hinted: &mut bool,
) -> Poll<Result<T>> {
    let done = future.poll(cx);
    *hinted |= pass_interims(down);
    // Only then is there anything to send while a phase runs.
    if done.is_pending()
        && *hinted
        && let Poll::Ready(error) = poll_flush_error(cx, down)
    {
        return Poll::Ready(Err(error));
    }
    done
}

/// Passes on the interim responses that phases have sent: whether there were any.
fn pass_interims<D: Downstream>(down: &mut D) -> bool {
    let heads = down.interims().take();
    for head in &heads {
        down.send_interim(head);
    }
    !heads.is_empty()
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
    /// The origin, or a filter of what it sent.
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
        let done = this.future.poll(cx);
        pass_interims(*this.down);
        if let Poll::Ready(done) = done {
            return Poll::Ready(done);
        }
        if let Poll::Ready(error) = poll_client(cx, *this.down, this.up, this.upload) {
            return Poll::Ready(Err(error));
        }
        this.up.read_ahead(cx);
        poll_flush_error(cx, *this.down).map(Err)
    }
}

/// Sends on what there is, while something else is waited for; ready only with the client's error.
pub(crate) fn poll_flush_error<D: Downstream>(
    cx: &mut Context<'_>,
    down: &mut D,
) -> Poll<millrace_error::Error> {
    match down.poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(error),
        _ => Poll::Pending,
    }
}

/// The same where the error says who failed.
pub(crate) fn poll_broken_flush<D: Downstream, T>(
    cx: &mut Context<'_>,
    down: &mut D,
) -> Poll<Result<T, Broken>> {
    poll_flush_error(cx, down).map(|error| Err(Broken::Downstream(error)))
}

/// Sends the request and waits for the next head of its response.
pub(crate) async fn next_head<D: Downstream>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
) -> Result<Head, Broken> {
    poll_fn(|cx| {
        pass_interims(down);
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
                Poll::Ready(Ok(Head::Interim(head)))
            }
            Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
            // The first failure says more than what followed from it; a refusal says why.
            Poll::Ready(Err(error)) => {
                let first = upload.failure().filter(|_| error.code() != Code::TlsFailed);
                Poll::Ready(Err(Broken::Upstream(first.unwrap_or(error))))
            }
            Poll::Pending => poll_broken_flush(cx, down),
        }
    })
    .await
}

/// The response's body on its way through the filters to the client.
#[derive(Default)]
pub(crate) struct Download {
    filters: Filters,
    /// What has come out of the filters before the head has gone out.
    first: Option<Bytes>,
}

impl Download {
    pub(crate) fn new(filters: Filters) -> Self {
        Download { filters, first: None }
    }

    /// Whether the head waits for the first of the body.
    pub(crate) fn holds_head(&self) -> bool {
        self.filters.hold_head()
    }

    /// Waits for the first of the body: how long that makes it, as far as one can tell.
    pub(crate) async fn begin<D: Downstream>(
        &mut self,
        down: &mut D,
        up: &mut Upstream,
        upload: &mut Upload,
    ) -> Result<BodySize, Broken> {
        let first = poll_fn(|cx| {
            if let Poll::Ready(error) = poll_client(cx, down, up, upload) {
                return Poll::Ready(Err(Broken::Downstream(error)));
            }
            match self.poll(cx, up) {
                Poll::Ready(first) => Poll::Ready(first.map_err(Broken::Upstream)),
                Poll::Pending => poll_broken_flush(cx, down),
            }
        });
        let length = match first.await? {
            Body::Data(data) => {
                let length = data.len() as u64;
                self.first = Some(data);
                length
            }
            Body::Trailers(_) | Body::End => 0,
        };
        Ok(if self.filters.have_ended() { BodySize::Known(length) } else { BodySize::Unknown })
    }

    fn poll(&mut self, cx: &mut Context<'_>, up: &mut Upstream) -> Poll<Result<Body>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(Body::Data(first)));
        }
        let polled = self.filters.poll(cx, |cx| up.poll_body(cx));
        if polled.is_pending() && self.filters.are_running() {
            // A filter is the slow side: the origin's patience is not ours to count.
            up.rest();
        }
        polled
    }
}

/// Passes the response's body on, and what is left of the request's. Returns the trailers, when the
/// end is all that is left to send.
pub(crate) async fn relay_body<D: Downstream>(
    down: &mut D,
    up: &mut Upstream,
    upload: &mut Upload,
    download: &mut Download,
) -> Result<Option<Fields>, Broken> {
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
                    up.read_ahead(cx);
                    return Poll::Pending;
                }
            }
            match download.poll(cx, up) {
                Poll::Ready(Ok(Body::Data(data))) => down.send_data(data),
                Poll::Ready(Ok(Body::Trailers(fields))) => trailers = Some(fields),
                Poll::Ready(Ok(Body::End)) => return Poll::Ready(Ok(trailers.take())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Upstream(error))),
                Poll::Pending => {
                    return poll_broken_flush(cx, down);
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
