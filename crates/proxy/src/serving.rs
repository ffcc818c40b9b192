//! Connections that speak HTTP, in whatever version, and the apps that serve their requests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use millrace_error::Log;
use millrace_server::{ConnInfo, Reached, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::time::Instant;

use crate::app::Arrival;
use crate::forwarding::ClientConnection;
use crate::h1::{Arrived, H1Connection, Wait};
use crate::h2::Unread;
use crate::preface::{Spoken, listen};
use crate::{Downstream, ProxyOptions};

/// What all connections of an app have in common.
#[derive(Clone)]
pub struct HttpServing {
    pub(crate) options: Arc<ProxyOptions>,
    pub(crate) log: Arc<dyn Log>,
    /// What the app holds of its clients' requests over HTTP/2.
    pub(crate) unread: Arc<Unread>,
}

impl HttpServing {
    /// Of the options those that concern clients hold.
    pub fn new(options: ProxyOptions, log: Arc<dyn Log>) -> Self {
        let unread = Unread::new(options.http2.max_unread_bytes);
        HttpServing { options: Arc::new(options), log, unread }
    }
}

/// An app that speaks HTTP: it is given requests, one by one in whatever version their client chose,
/// and writes a response to each. [`HttpServer`] makes it what a service runs; [`crate::HttpProxy`]
/// is one by itself.
pub trait HttpServerApp: Send + Sync + 'static {
    /// What its connections have in common: the same each time.
    fn serving(&self) -> &HttpServing;

    /// Serves one request, to the last byte of its response. Of one that was refused, `arrival`
    /// says why; it wants an answer too. What it leaves unfinished its client gets to know.
    fn process_request<D: Downstream>(
        &self,
        down: &mut D,
        arrival: Arrival,
    ) -> impl Future<Output = ()> + Send;

    /// A request was refused and nothing can be done about it any more: so many bytes of it had
    /// come. Default: nothing.
    fn process_refused(&self, arrival: Arrival, received: u64) {
        let _ = (arrival, received);
    }

    /// As [`ServerApp::cleanup`].
    fn cleanup(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// As [`ServerApp::on_runtime_start`].
    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        let _ = runtime;
    }
}

/// Makes of an app that speaks HTTP one that is given connections.
pub struct HttpServer<A>(Arc<A>);

impl<A: HttpServerApp> HttpServer<A> {
    /// One for this app.
    pub fn new(app: A) -> Self {
        HttpServer(Arc::new(app))
    }

    /// The app.
    pub fn app(&self) -> &Arc<A> {
        &self.0
    }
}

impl<A: HttpServerApp> ServerApp for HttpServer<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        serve_http(&self.0, stream, conn, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.0.cleanup().await;
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        self.0.on_runtime_start(runtime);
    }
}

/// Serves a connection of HTTP to its end, in the version that its client chose.
pub async fn serve_http<A: HttpServerApp>(
    app: &Arc<A>,
    mut stream: Stream,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) {
    let options = &app.serving().options;
    let spoken = match &conn.tls {
        // What was agreed on is final.
        Some(tls) if tls.is_h2() => Spoken::Http2(BytesMut::new()),
        Some(_) => Spoken::Http1(BytesMut::new()),
        None if !options.h2c => Spoken::Http1(BytesMut::new()),
        None => listen(&mut stream, options, conn, shutdown).await,
    };
    match spoken {
        Spoken::Http1(input) => serve_http1(app, stream, input, conn, shutdown).await,
        // Boxed, so that connections of HTTP/1.1 do not carry its size.
        Spoken::Http2(input) => {
            Box::pin(crate::h2::serve_connection(app, stream, input, conn, shutdown)).await;
        }
        Spoken::Nothing => {}
    }
}

/// How long a connection without a request keeps the room for one.
const LINGER: Duration = Duration::from_millis(250);

/// What becomes of a connection after a row of requests.
enum After {
    /// It waits, since then.
    Rest(Instant),
    Close,
    /// The client has ended it.
    End,
}

/// Serves a connection of HTTP/1.1. `input` is what has been read of it.
async fn serve_http1<A: HttpServerApp>(
    app: &Arc<A>,
    stream: Stream,
    input: BytesMut,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) {
    let options = app.serving().options.clone();
    let conn = Arc::new(ClientConnection::new(conn, &options.forwarding).until(shutdown));
    let mut draining = std::pin::pin!(shutdown.draining());
    let mut down = H1Connection::new(stream, input, options, conn.clone(), shutdown.clone());
    let mut wait = Wait::begin();
    loop {
        let first = down.next(wait, draining.as_mut()).await;
        // Boxed, so that a connection that waits is small. One box for all that follow closely: to
        // make one costs a copy of it.
        match Box::pin(serve_row(&**app, &mut down, &conn, first, draining.as_mut())).await {
            After::Rest(since) => wait = Wait::go_on(since),
            After::Close => return down.close().await,
            After::End => return,
        }
    }
}

/// Serves requests of HTTP/1.1 for as long as they follow closely on each other.
async fn serve_row<A: HttpServerApp>(
    app: &A,
    down: &mut H1Connection,
    conn: &Arc<ClientConnection>,
    first: Arrived,
    mut draining: Pin<&mut Reached>,
) -> After {
    let mut arrived = first;
    loop {
        let (request, timings, refused) = match arrived {
            Arrived::Request(request, timings) => (request, timings, None),
            Arrived::Refused(refused) => (refused.request, refused.timings, Some(refused.error)),
            Arrived::Nothing(since) => return After::Rest(since),
            Arrived::End => return After::End,
        };
        let (conn, requests) = (conn.clone(), down.requests());
        app.process_request(down, Arrival { request, timings, conn, requests, refused }).await;
        if !down.can_go_on().await {
            return After::Close;
        }
        arrived = down.next(Wait::at_most(LINGER), draining.as_mut()).await;
    }
}
