use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millrace_error::{Level, Log};
use millrace_listeners::{Admission, FirstLook, Refusal};
use millrace_tls::ServerTls;
use millrace_transport::Stream;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::accept::Acceptors;
use crate::counters::OpenConnection;
use crate::{ConnInfo, Reached, ServerApp, Shutdown};

/// How long a handshake that has begun may go on once the server drains.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// What has been settled of a connection when it comes in.
pub(crate) struct Entry {
    /// How its handshake is to be done, if there is to be one.
    pub(crate) tls: Option<ServerTls>,
    /// Who may connect, if not everybody.
    pub(crate) admission: Option<Arc<Admission>>,
    /// What the first look at it came to.
    pub(crate) look: FirstLook,
    /// How far its endpoint is on its way to the end.
    pub(crate) shutdown: Shutdown,
}

/// The task of one connection: lets it in, does its handshake if there is to be one, serves it, and keeps
/// its panics to itself.
pub(crate) async fn serve<A: ServerApp>(
    acceptors: &Acceptors<A>,
    stream: Stream,
    entry: Entry,
    mut conn: ConnInfo,
    mut open: OpenConnection,
) {
    let Entry { tls, admission, look, shutdown } = entry;
    let log = &*acceptors.log;
    let work = async {
        let mut stream = stream;
        if let Some(admission) = admission {
            // Boxed, like the handshake, so that a connection is small once it has been let in.
            let admitted = admit(acceptors, &admission, look, &mut stream, &mut conn, &mut open);
            match until_drained(&shutdown, Box::pin(admitted)).await {
                Some(true) => {}
                Some(false) => return,
                // It was not served, and nobody knows whether it would have been.
                None => return open.refused(),
            }
        }
        open.accepted();
        let stream = match tls {
            None => Some(stream),
            Some(tls) => Box::pin(handshake(tls, stream, &mut conn, &shutdown, log)).await,
        };
        process(&acceptors.app, stream, &conn, &shutdown).await;
    };
    let ended = Contained { work, cut: shutdown.cut() }.await;
    match ended {
        Ended::Cut => {}
        Ended::Done => open.finished(),
        Ended::Panicked(payload) => {
            open.finished();
            conn.report_panic(payload, log);
        }
    }
}

/// Whether a connection is taken, once its client is known.
async fn admit<A: ServerApp>(
    acceptors: &Acceptors<A>,
    admission: &Admission,
    look: FirstLook,
    stream: &mut Stream,
    conn: &mut ConnInfo,
    open: &mut OpenConnection,
) -> bool {
    let proxy = conn.remote.clone();
    let asked = async {
        if look == FirstLook::Proxy {
            if let Some(said) = admission.read_header(stream).await? {
                (conn.remote, conn.local) = (said.client, said.server);
            }
            admission.filter.look_up(&conn.remote)?;
            if !acceptors.seat(open, &conn.remote) {
                return Ok(false);
            }
        }
        if let Some(unsaid) = admission.filter.check(&conn.remote, &conn.local).await? {
            acceptors.note_unsaid(&conn.remote, unsaid, true);
        }
        conn.accepted = Instant::now();
        Ok(true)
    };
    asked.await.unwrap_or_else(|refusal: Refusal| {
        open.refused();
        if let Refusal::Unchecked(unsaid) = refusal {
            acceptors.note_unsaid(&conn.remote, unsaid, false);
        }
        acceptors
            .note_refusal(if look == FirstLook::Proxy { &proxy } else { &conn.remote }, &refusal);
        false
    })
}

/// What the work comes to, if it does so before the server drains or shortly after.
async fn until_drained<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    let last_chance = async {
        shutdown.draining().await;
        tokio::time::sleep(LAST_HANDSHAKE).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = last_chance => None,
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
    let reason = match until_drained(shutdown, tls.accept(stream)).await {
        Some(Ok((stream, info))) => {
            conn.tls = Some(Arc::new(info));
            conn.accepted = Instant::now();
            return Some(stream);
        }
        Some(Err(error)) => error.to_string(),
        None => "the server is draining".to_owned(),
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
