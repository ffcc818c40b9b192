use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millrace_error::{Level, Log};
use millrace_tls::ServerTls;
use millrace_transport::Stream;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::counters::OpenConnection;
use crate::{ConnInfo, Reached, ServerApp, Shutdown};

/// How long a handshake that has begun may go on once the server drains.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// The task of one connection: does its handshake if there is to be one, serves it, and keeps its
/// panics to itself.
pub(crate) async fn serve<A: ServerApp>(
    app: Arc<A>,
    stream: Stream,
    tls: Option<ServerTls>,
    mut conn: ConnInfo,
    mut open: OpenConnection,
    log: Arc<dyn Log>,
) {
    let shutdown = open.tally().shutdown.clone();
    let work = async {
        let stream = match tls {
            None => Some(stream),
            // Boxed, so that a connection is small once its handshake is done.
            Some(tls) => Box::pin(handshake(tls, stream, &mut conn, &shutdown, &*log)).await,
        };
        process(&app, stream, &conn, &shutdown).await;
    };
    let ended = Contained { work, cut: shutdown.cut() }.await;
    match ended {
        Ended::Cut => {}
        Ended::Done => open.finished(),
        Ended::Panicked(payload) => {
            open.finished();
            conn.report_panic(payload, &*log);
        }
    }
}

/// The connection with its handshake done; none if it came to nothing. That is a line for those who
/// look for a fault: whoever scans addresses would fill the log.
async fn handshake(
    tls: ServerTls,
    stream: Stream,
    conn: &mut ConnInfo,
    shutdown: &Shutdown,
    log: &dyn Log,
) -> Option<Stream> {
    let last_chance = async {
        shutdown.draining().await;
        tokio::time::sleep(LAST_HANDSHAKE).await;
    };
    let reason = tokio::select! {
        done = tls.accept(stream) => match done {
            Ok((stream, info)) => {
                conn.tls = Some(Arc::new(info));
                conn.accepted = Instant::now();
                return Some(stream);
            }
            Err(error) => error.to_string(),
        },
        () = last_chance => "the server is draining".to_owned(),
    };
    if log.enabled(Level::Debug) {
        let line = format!("TLS handshake with {} failed: {reason}", conn.remote);
        let (id, client) = (conn.id.to_string(), conn.remote.to_string());
        let fields = [("connection", id.as_str().into()), ("client", client.as_str().into())];
        log.log_with(Level::Debug, &line, &fields);
    }
    None
}

async fn process<A: ServerApp>(
    app: &Arc<A>,
    mut next: Option<Stream>,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) {
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
    Panicked(Box<dyn Any + Send>),
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
            Err(payload) => Poll::Ready(Ended::Panicked(payload)),
        }
    }
}
