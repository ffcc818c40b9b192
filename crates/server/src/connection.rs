use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use millrace_error::{Level, Log};
use millrace_transport::Stream;
use pin_project_lite::pin_project;

use crate::counters::OpenConnection;
use crate::{ConnInfo, Reached, ServerApp, Shutdown};

/// The task of one connection: serves it, and keeps its panics to itself.
pub(crate) async fn serve<A: ServerApp>(
    app: Arc<A>,
    stream: Stream,
    conn: ConnInfo,
    mut open: OpenConnection,
    log: Arc<dyn Log>,
) {
    let shutdown = open.tally().shutdown.clone();
    let work = process(&app, stream, &conn, &shutdown);
    match (Contained { work, cut: shutdown.cut() }).await {
        Ended::Cut => {}
        Ended::Done => open.finished(),
        Ended::Panicked(what) => {
            open.finished();
            open.tally().counters.count_panic();
            let line = format!("connection {} from {}: panic: {what}", conn.id, conn.remote);
            log.log(Level::Error, &line);
        }
    }
}

async fn process<A: ServerApp>(app: &Arc<A>, stream: Stream, conn: &ConnInfo, shutdown: &Shutdown) {
    let mut next = Some(stream);
    while let Some(stream) = next {
        next = app.process_new(stream, conn, shutdown).await;
        if shutdown.is_draining() {
            break;
        }
    }
}

enum Ended {
    Done,
    Cut,
    Panicked(String),
}

pin_project! {
    /// Runs `work` until it is done, panics or is cut. It is polled before the cut is looked at,
    /// so that it has one more chance to say goodbye.
    struct Contained<F> {
        #[pin]
        work: F,
        #[pin]
        cut: Reached,
    }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.project();
        // Nothing looks at the work again after a panic: it is only dropped.
        match catch_unwind(AssertUnwindSafe(|| this.work.poll(cx))) {
            Ok(Poll::Ready(())) => Poll::Ready(Ended::Done),
            Ok(Poll::Pending) => this.cut.poll(cx).map(|()| Ended::Cut),
            Err(payload) => Poll::Ready(Ended::Panicked(text_of(payload))),
        }
    }
}

fn text_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("unknown").to_owned(),
    }
}
