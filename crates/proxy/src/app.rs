use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use millrace_connectors::{Connector, ConnectorOptions, Dialer};
use millrace_error::{Code, Error, Level, Log, Result};
use millrace_message::RequestHead;
use millrace_server::{ConnInfo, Reached, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::time::Instant;

use crate::forwarding::{Chain, ClientConnection};
use crate::h1::{Arrived, H1Connection, Wait};
use crate::h2::Unread;
use crate::phases::ProxyHttp;
use crate::preface::{Spoken, listen};
use crate::timer::within;
use crate::{Downstream, Exchange, Interims, ProxyOptions, RequestBody, Routing, Timings};

/// An app that speaks HTTP: is given a connection and serves its requests in whatever version the
/// client chose.
pub trait HttpServerApp: Send + Sync + 'static {
    /// Serves the requests of an HTTP/1.1 connection. `input` is what has been read of it.
    fn process_http1(
        self: &Arc<Self>,
        stream: Stream,
        input: BytesMut,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> + Send;

    /// Serves the requests of an HTTP/2 connection. `input` is what has been read of it.
    fn process_http2(
        self: &Arc<Self>,
        stream: Stream,
        input: BytesMut,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> + Send;
}

/// A proxy: phases, options, and the connections to its upstreams.
pub struct HttpProxy<P> {
    pub(crate) phases: P,
    pub(crate) options: Arc<ProxyOptions>,
    /// The same without routes and values: for subrequests that go straight to a peer.
    pub(crate) straight_options: Arc<ProxyOptions>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) log: Arc<dyn Log>,
    /// What it holds of its clients' requests over HTTP/2.
    pub(crate) unread: Arc<Unread>,
    /// The one that serves new requests in its place.
    pub(crate) successor: ArcSwapOption<HttpProxy<P>>,
}

/// A request as it came in: what is known of it before its first phase.
pub(crate) struct Arrival {
    pub(crate) request: RequestHead,
    pub(crate) timings: Timings,
    pub(crate) conn: Arc<ClientConnection>,
    /// How many requests the connection has carried, this one included.
    pub(crate) requests: u32,
    /// Why it is answered with an error before any phase.
    pub(crate) refused: Option<Error>,
}

impl Arrival {
    /// One that is refused with what is known of it.
    pub(crate) fn refused(
        request: RequestHead,
        conn: Arc<ClientConnection>,
        requests: u32,
        error: Error,
    ) -> Self {
        Arrival { request, timings: Timings::start(), conn, requests, refused: Some(error) }
    }

    fn begin(
        mut self,
        id: u64,
        options: &ProxyOptions,
        interims: &Interims,
    ) -> (Exchange, Option<Error>) {
        let chain = Chain::find(&self.conn, &self.request.fields, &options.forwarding);
        let mut found = None;
        if let (Some(routing), None) = (&options.routing, &self.refused) {
            match routing.find(&self.request, &self.conn, chain.as_deref()) {
                Ok(rule) => found = Some(rule),
                Err(error) => self.refused = Some(error),
            }
        }
        let exchange = Exchange {
            id,
            request: self.request,
            body: RequestBody::default(),
            client: Chain::client(chain.as_deref(), &self.conn),
            chain,
            found,
            connection: self.conn,
            connection_requests: self.requests,
            upstream: None,
            response: None,
            response_started: false,
            attempt: 0,
            timings: self.timings,
            received: 0,
            sent: 0,
            last_of_connection: false,
            interims: interims.begin(),
        };
        (exchange, self.refused)
    }
}

impl<P: ProxyHttp> HttpProxy<P> {
    /// A proxy for a service of `runtimes` runtimes.
    pub fn new(phases: P, options: ProxyOptions, runtimes: usize, log: Arc<dyn Log>) -> Self {
        let connector = Connector::new(connector_options(&options, runtimes));
        Self::with_connector(phases, options, connector, log)
    }

    /// A proxy on one runtime whose connections to origins `dialer` makes in the place of the network.
    pub fn dialled_by(
        phases: P,
        options: ProxyOptions,
        log: Arc<dyn Log>,
        dialer: Arc<dyn Dialer>,
    ) -> Self {
        let connector = Connector::new(connector_options(&options, 1)).dialled_by(dialer);
        Self::with_connector(phases, options, connector, log)
    }

    fn with_connector(
        phases: P,
        options: ProxyOptions,
        connector: Connector,
        log: Arc<dyn Log>,
    ) -> Self {
        let unread = Unread::new(options.http2.max_unread_bytes);
        HttpProxy {
            phases,
            unread,
            straight_options: Arc::new(ProxyOptions { routing: None, ..options.clone() }),
            options: Arc::new(options),
            connector: Arc::new(connector),
            log,
            successor: ArcSwapOption::empty(),
        }
    }

    /// Serves requests that begin from now on with other phases and rules. Those that are under way go on
    /// with theirs, which are dropped with the last of them. Returns what serves them: its subrequests have
    /// the same phases.
    pub fn replace(&self, phases: P, routing: Option<Arc<Routing>>) -> Arc<HttpProxy<P>> {
        let successor = Arc::new(HttpProxy {
            phases,
            options: Arc::new(ProxyOptions { routing, ..(*self.options).clone() }),
            straight_options: self.straight_options.clone(),
            connector: self.connector.clone(),
            log: self.log.clone(),
            unread: self.unread.clone(),
            successor: ArcSwapOption::empty(),
        });
        self.successor.store(Some(successor.clone()));
        successor
    }

    /// The connections to upstreams: their numbers can be read here.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Bytes of requests over HTTP/2 that are held now; see
    /// [`crate::Http2Options::max_unread_bytes`].
    pub fn unread_bytes(&self) -> u64 {
        self.unread.held()
    }

    /// The phases.
    pub fn phases(&self) -> &P {
        &self.phases
    }

    /// Serves one request, whatever version it came in, from its first phase to `logging`.
    pub(crate) async fn serve<D: Downstream>(&self, down: &mut D, arrival: Arrival) {
        // Held for as long as the request is under way.
        let successor = self.successor.load_full();
        let proxy = successor.as_deref().unwrap_or(self);
        proxy.serve_as(down, arrival, next_request()).await;
    }

    /// The same for a request that has its number already.
    pub(crate) async fn serve_as<D: Downstream>(&self, down: &mut D, arrival: Arrival, id: u64) {
        let shard = arrival.conn.runtime;
        let (mut ex, refused) = arrival.begin(id, &self.options, down.interims());
        // What follows a CONNECT is the tunnel's.
        if !ex.is_connect() && !down.body_done() {
            ex.body = RequestBody::new(down.body_size());
        }
        let ctx = self.phases.new_ctx(&ex);
        let mut record = Record { proxy: self, down, ex, ctx, logged: false, is_cut: false };
        let asks_phase = refused.is_none();
        let outcome = match refused {
            Some(error) => Err(error),
            None => self.bounded(shard, &mut record).await,
        };
        let error = outcome.err();
        if let Some(error) = &error {
            let Record { down, ex, ctx, .. } = &mut record;
            self.fail(*down, ex, ctx, error, asks_phase).await;
        }
        record.ex.last_of_connection = record.down.is_last();
        record.log(error.as_ref());
    }

    /// The request with `request_timeout` around it, if there is one.
    async fn bounded<D: Downstream>(
        &self,
        shard: usize,
        record: &mut Record<'_, P, D>,
    ) -> Result<()> {
        let Record { down, ex, ctx, .. } = record;
        let start = ex.timings.start;
        let end = self.options.request_timeout.and_then(|limit| start.checked_add(limit));
        within(end, self.request(shard, *down, ex, ctx))
            .await
            .unwrap_or_else(|| Err(Error::new(Code::RequestExpired, "the request took too long")))
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

impl<P: ProxyHttp> HttpProxy<P> {
    /// Serves requests of HTTP/1.1 for as long as they follow closely on each other.
    async fn serve_row(
        &self,
        down: &mut H1Connection,
        conn: &Arc<ClientConnection>,
        first: Arrived,
        mut draining: Pin<&mut Reached>,
    ) -> After {
        let mut arrived = first;
        loop {
            let (request, timings, refused) = match arrived {
                Arrived::Request(request, timings) => (request, timings, None),
                Arrived::Refused(refused) => {
                    (refused.request, refused.timings, Some(refused.error))
                }
                Arrived::Nothing(since) => return After::Rest(since),
                Arrived::End => return After::End,
            };
            let (conn, requests) = (conn.clone(), down.requests());
            self.serve(down, Arrival { request, timings, conn, requests, refused }).await;
            if !down.can_go_on().await {
                return After::Close;
            }
            arrived = down.next(Wait::at_most(LINGER), draining.as_mut()).await;
        }
    }

    /// Logs what was refused where nothing could be done about it any more, after so many bytes.
    pub(crate) fn refused(&self, arrival: Arrival, received: u64) {
        let nobody = Interims::default();
        let successor = self.successor.load_full();
        let proxy = successor.as_deref().unwrap_or(self);
        let (mut ex, error) = arrival.begin(next_request(), &proxy.options, &nobody);
        let ctx = proxy.phases.new_ctx(&ex);
        ex.received = received;
        proxy.tell(&mut ex, error.as_ref(), &ctx);
    }

    /// The end of a request: a line in the log if it failed, and the last phase.
    fn tell(&self, ex: &mut Exchange, error: Option<&Error>, ctx: &P::Ctx) {
        ex.timings.total = Some(ex.timings.start.elapsed());
        // That clients leave is nothing to warn of.
        let level = |error: &Error| match error.code() {
            Code::ClientAborted => Level::Info,
            _ => Level::Warn,
        };
        if let Some(error) = error
            && self.log.enabled(level(error))
            && !self.phases.suppress_error_log(ex, error, ctx)
        {
            let summary = self.phases.request_summary(ex, ctx);
            let (status, client) = (error.status(), &ex.client);
            let line = format!("{status} {summary}, client {client}: {error}");
            self.log.log(level(error), &line);
        }
        self.phases.logging(ex, error, ctx);
    }
}

/// Sees to it that each request is logged once, even one whose connection is cut.
struct Record<'a, P: ProxyHttp, D: Downstream> {
    proxy: &'a HttpProxy<P>,
    down: &'a mut D,
    ex: Exchange,
    ctx: P::Ctx,
    logged: bool,
    is_cut: bool,
}

impl<P: ProxyHttp, D: Downstream> Record<'_, P, D> {
    fn log(&mut self, error: Option<&Error>) {
        if std::mem::replace(&mut self.logged, true) {
            return;
        }
        (self.ex.received, self.ex.sent) = self.down.transferred();
        self.ex.connection.counters.request_ended(self.is_cut);
        self.proxy.tell(&mut self.ex, error, &self.ctx);
    }
}

impl<P: ProxyHttp, D: Downstream> Drop for Record<'_, P, D> {
    fn drop(&mut self) {
        if self.logged {
            return;
        }
        let error = if std::thread::panicking() {
            Error::new(Code::Internal, "a panic")
        } else {
            self.is_cut = true;
            Error::new(Code::ServerClosed, "the server stopped")
        };
        self.ex.last_of_connection = true;
        // A panic that leaves a drop while another unwinds would take the process down. Nobody
        // uses what it leaves behind: all of it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| self.log(Some(&error))));
    }
}

impl<P: ProxyHttp> HttpServerApp for HttpProxy<P> {
    async fn process_http1(
        self: &Arc<Self>,
        stream: Stream,
        input: BytesMut,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) {
        let conn = Arc::new(ClientConnection::new(conn, &self.options.forwarding));
        let mut draining = std::pin::pin!(shutdown.draining());
        let options = self.options.clone();
        let mut down = H1Connection::new(stream, input, options, conn.clone(), shutdown.clone());
        let mut wait = Wait::begin();
        loop {
            let first = down.next(wait, draining.as_mut()).await;
            // Boxed, so that a connection that waits is small. One box for all that follow closely: to
            // make one costs a copy of it.
            match Box::pin(self.serve_row(&mut down, &conn, first, draining.as_mut())).await {
                After::Rest(since) => wait = Wait::go_on(since),
                After::Close => return down.close().await,
                After::End => return,
            }
        }
    }

    async fn process_http2(
        self: &Arc<Self>,
        stream: Stream,
        input: BytesMut,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) {
        crate::h2::serve_connection(self, stream, input, conn, shutdown).await;
    }
}

impl<P: ProxyHttp> ServerApp for HttpProxy<P> {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let spoken = match &conn.tls {
            // What was agreed on is final.
            Some(tls) if tls.is_h2() => Spoken::Http2(BytesMut::new()),
            Some(_) => Spoken::Http1(BytesMut::new()),
            None if !self.options.h2c => Spoken::Http1(BytesMut::new()),
            None => listen(&mut stream, &self.options, conn, shutdown).await,
        };
        match spoken {
            Spoken::Http1(input) => self.process_http1(stream, input, conn, shutdown).await,
            // Boxed, so that connections of HTTP/1.1 do not carry its size.
            Spoken::Http2(input) => {
                Box::pin(self.process_http2(stream, input, conn, shutdown)).await;
            }
            Spoken::Nothing => {}
        }
        None
    }

    async fn cleanup(&self) {
        self.connector.clear();
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        let connector = self.connector.clone();
        tokio::spawn(async move { connector.sweep(runtime).await });
    }
}

fn connector_options(options: &ProxyOptions, shards: usize) -> ConnectorOptions {
    // As HTTP/2 counts: 32 bytes more for each field.
    let list = options.limits.max_bytes.saturating_add(32 * options.limits.max_fields);
    let max_header_list = list.try_into().unwrap_or(u32::MAX);
    ConnectorOptions { pool_size: options.pool_size, shards, max_header_list }
}

/// The number of another request.
pub(crate) fn next_request() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
