use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use millrace_connectors::{Connector, ConnectorOptions, Dialer};
use millrace_error::{Code, Error, Level, Log, Result};
use millrace_message::RequestHead;
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::exchange::clipped;
use crate::forwarding::{Chain, ClientConnection};
use crate::phases::ProxyHttp;
use crate::serving::serve_http;
use crate::stats::{Counting, Stage};
use crate::timer::within;
use crate::{
    Downstream, Exchange, HttpServerApp, HttpServing, Interims, ProxyOptions, RequestBody,
    RequestStats, Routing, Timings,
};

/// A proxy: phases, options, and the connections to its upstreams.
pub struct HttpProxy<P> {
    pub(crate) phases: P,
    pub(crate) options: Arc<ProxyOptions>,
    /// The same without routes and values: for subrequests that go straight to a peer.
    pub(crate) straight_options: Arc<ProxyOptions>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) counting: Arc<Counting>,
    /// The one that serves new requests in its place.
    pub(crate) successor: ArcSwapOption<HttpProxy<P>>,
    /// Told when that changes.
    pub(crate) succeeded: Notify,
    pub(crate) serving: HttpServing,
}

/// A request as it came in: what is known of it before its first phase.
pub struct Arrival {
    /// Its head, as the client sent it; of a refused one what could be read.
    pub request: RequestHead,
    /// Its clock, which runs.
    pub timings: Timings,
    /// The connection it came on.
    pub conn: Arc<ClientConnection>,
    /// How many requests the connection has carried, this one included.
    pub requests: u32,
    /// Why it is answered with an error and not served.
    pub refused: Option<Error>,
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
            stage: Stage::default(),
            attempt: 0,
            try_ends: None,
            ends: options.request_timeout.and_then(|limit| self.timings.start.checked_add(limit)),
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
        let straight_options = Arc::new(ProxyOptions { routing: None, ..options.clone() });
        let serving = HttpServing::new(options, log.clone());
        HttpProxy {
            phases,
            straight_options,
            options: serving.options.clone(),
            serving,
            connector: Arc::new(connector),
            log,
            successor: ArcSwapOption::empty(),
            succeeded: Notify::new(),
            counting: Arc::default(),
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
            serving: self.serving.clone(),
            counting: self.counting.clone(),
            successor: ArcSwapOption::empty(),
            succeeded: Notify::new(),
        });
        self.successor.store(Some(successor.clone()));
        self.succeeded.notify_waiters();
        successor
    }

    /// What serves a request that begins now, where that is not this one. Where its phases are lost it
    /// waits for those that take their place.
    async fn current(&self) -> Option<Arc<HttpProxy<P>>> {
        let mut deadline = None;
        loop {
            let succeeded = self.succeeded.notified();
            let successor = self.successor.load_full();
            let now = successor.as_deref().unwrap_or(self);
            let Some(patience) = now.phases.are_lost() else { return successor };
            let end = *deadline.get_or_insert_with(|| Instant::now() + patience);
            if timeout_at(end, succeeded).await.is_err() {
                return successor;
            }
        }
    }

    /// The connections to upstreams: their numbers can be read here.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Bytes of requests over HTTP/2 that are held now; see
    /// [`crate::Http2Options::max_unread_bytes`].
    pub fn unread_bytes(&self) -> u64 {
        self.serving.unread.held()
    }

    /// What it has done so far with its requests.
    pub fn stats(&self) -> RequestStats {
        self.counting.read()
    }

    /// The phases.
    pub fn phases(&self) -> &P {
        &self.phases
    }

    /// Serves one request, whatever version it came in, from its first phase to `logging`.
    pub(crate) async fn serve_as<D: Downstream>(&self, down: &mut D, arrival: Arrival, id: u64) {
        let shard = arrival.conn.runtime;
        let (mut ex, refused) = arrival.begin(id, &self.options, down.interims());
        // What follows a CONNECT is the tunnel's.
        if !ex.is_connect() && !down.body_done() {
            ex.body = RequestBody::new(down.body_size());
        }
        let ctx = self.phases.new_ctx(&ex);
        self.counting.begin();
        let mut record = Record { proxy: self, down, ex, ctx, logged: false, is_cut: false };
        let asks_phase = refused.is_none();
        let outcome = match refused {
            Some(error) => Err(error),
            None => self.bounded(shard, &mut record).await,
        };
        let error = outcome.err();
        record.is_cut = error.as_ref().is_some_and(|error| error.code() == Code::ServerClosed);
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
        within(ex.ends, self.request(shard, *down, ex, ctx))
            .await
            .unwrap_or_else(|| Err(Error::new(Code::RequestExpired, "the request took too long")))
    }

    /// Logs what was refused where nothing could be done about it any more, after so many bytes.
    fn refused(&self, arrival: Arrival, received: u64) {
        let nobody = Interims::default();
        let successor = self.successor.load_full();
        let proxy = successor.as_deref().unwrap_or(self);
        let (mut ex, error) = arrival.begin(next_request(), &proxy.options, &nobody);
        let ctx = proxy.phases.new_ctx(&ex);
        self.counting.begin();
        ex.received = received;
        proxy.tell(&mut ex, error.as_ref(), &ctx);
    }

    /// The end of a request: a line in the log if it failed, and the last phase.
    fn tell(&self, ex: &mut Exchange, error: Option<&Error>, ctx: &P::Ctx) {
        ex.timings.total = Some(ex.timings.start.elapsed());
        self.counting.end(ex, error);
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
            self.tell_failure(level(error), ex, error, &summary);
        }
        self.phases.logging(ex, error, ctx);
    }

    fn tell_failure(&self, level: Level, ex: &Exchange, error: &Error, summary: &str) {
        let (status, client) = (error.status(), ex.client.to_string());
        let line = format!("{status} {summary}, client {client}: {error}");
        let (request, connection) = (ex.id.to_string(), ex.connection.id.to_string());
        let (target, host) = (clipped(&ex.request.target), clipped(ex.request.host().as_bytes()));
        let method = clipped(ex.request.method.as_str().as_bytes());
        let peer = ex.upstream.as_ref().map(|upstream| upstream.address.to_string());
        let fields = [
            ("request", request.as_str().into()),
            ("connection", connection.as_str().into()),
            ("client", client.as_str().into()),
            ("method", method.as_str().into()),
            ("target", target.as_str().into()),
            ("host", host.as_str().into()),
            ("status", u32::from(status).into()),
            ("code", error.code().as_str().into()),
            ("source", error.source().as_str().into()),
            ("attempt", ex.attempt.into()),
            ("upstream", peer.as_deref().unwrap_or_default().into()),
        ];
        // Last, so that it can be left out where there was none.
        let known = if peer.is_some() { &fields[..] } else { &fields[..fields.len() - 1] };
        self.log.log_with(level, &line, known);
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
    fn serving(&self) -> &HttpServing {
        &self.serving
    }

    async fn process_request<D: Downstream>(&self, down: &mut D, arrival: Arrival) {
        // Held for as long as the request is under way.
        let successor = self.current().await;
        let proxy = successor.as_deref().unwrap_or(self);
        proxy.serve_as(down, arrival, next_request()).await;
    }

    fn process_refused(&self, arrival: Arrival, received: u64) {
        self.refused(arrival, received);
    }

    async fn cleanup(&self) {
        self.connector.clear();
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        let connector = self.connector.clone();
        tokio::spawn(async move { connector.sweep(runtime).await });
    }
}

impl<P: ProxyHttp> ServerApp for HttpProxy<P> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        serve_http(self, stream, conn, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        HttpServerApp::cleanup(self).await;
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        HttpServerApp::on_runtime_start(self, runtime);
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
