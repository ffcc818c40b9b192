use std::net::SocketAddr;
use std::sync::Arc;

use millrace_connectors::PoolStats;
use millrace_demo_origin::DemoOrigin;
use millrace_listeners::Endpoint;
use millrace_proxy::HttpProxy;
use millrace_server::{
    CloseReport, Ends, ListeningService, RuntimeOptions, Server, ServerApp, ServerOptions, Service,
    StartError,
};
use millrace_tcp::{StreamServer, TcpProxy};
use napi::bindgen_prelude::{Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;

use crate::app::ProxyApp;
use crate::crossing::NativeCrossing;
use crate::log::ServerLog;
use crate::options::{NativeOriginOptions, NativeProxyOptions, NativeSocketOptions, length};
use crate::streams::JsStreams;
use crate::tcp::{NativeTcpOptions, NativeTraffic};
use crate::tls::NativeTls;

/// A server and its services.
#[napi]
pub struct NativeServer {
    server: Arc<Server>,
    log: Arc<ServerLog>,
    services: Mutex<Vec<Planned>>,
    batch_js_thread: bool,
}

/// A service until it starts, and what can be read of it afterwards.
struct Planned {
    name: String,
    app: App,
    runtime: RuntimeOptions,
    max_connections: usize,
    endpoints: Vec<Endpoint>,
}

/// The app of a service.
enum App {
    Proxy(Arc<ProxyApp>),
    Origin(Arc<DemoOrigin>),
    TcpProxy(Arc<TcpProxy>),
    Streams(Arc<StreamServer<JsStreams>>),
}

impl Planned {
    fn service(&self) -> Box<dyn Service> {
        match &self.app {
            App::Proxy(app) => self.serving(app),
            App::Origin(app) => self.serving(app),
            App::TcpProxy(app) => self.serving(app),
            App::Streams(app) => self.serving(app),
        }
    }

    fn serving<A: ServerApp>(&self, app: &Arc<A>) -> Box<dyn Service> {
        let (name, endpoints) = (self.name.clone(), self.endpoints.clone());
        let service = ListeningService::new(name, app.clone(), endpoints, self.runtime.clone());
        Box::new(service.max_connections(Some(self.max_connections)))
    }

    fn pool(&self) -> NativePoolStats {
        match &self.app {
            App::Proxy(app) => app.proxy.connector().stats().into(),
            App::TcpProxy(app) => app.connector().stats().into(),
            App::Origin(_) | App::Streams(_) => NativePoolStats::default(),
        }
    }

    fn traffic(&self) -> Option<NativeTraffic> {
        match &self.app {
            App::TcpProxy(app) => Some(app.traffic().into()),
            App::Streams(app) => Some(app.traffic().into()),
            App::Proxy(_) | App::Origin(_) => None,
        }
    }
}

/// The options of a server.
#[napi(object, object_to_js = false)]
pub struct NativeServerOptions {
    /// Its number in this environment, which its log lines carry.
    pub server_id: u32,
    pub grace_ms: u32,
    /// Whether the JS thread becomes a batch thread at the start.
    pub batch_js_thread: bool,
}

/// What became of a start: the bound addresses by service and endpoint, or why there are none.
#[napi(object, object_from_js = false)]
pub struct NativeStarted {
    pub addresses: Vec<Vec<String>>,
    /// `ADDRESS_IN_USE`, `BIND_FAILED`, `SERVER_CLOSED` or `START_FAILED`.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// How many ended by themselves, and how many were cut.
#[napi(object, object_from_js = false)]
pub struct NativeEnds {
    pub finished: f64,
    pub cut: f64,
}

/// What became of the work of a server since it began to drain.
#[napi(object, object_from_js = false)]
pub struct NativeClosed {
    pub requests: NativeEnds,
    pub connections: NativeEnds,
}

/// The connections of a service to its upstreams.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativePoolStats {
    pub open: u32,
    pub idle: u32,
    pub reused: f64,
    pub created: f64,
}

impl From<PoolStats> for NativePoolStats {
    fn from(pool: PoolStats) -> Self {
        NativePoolStats {
            open: pool.open as u32,
            idle: pool.idle as u32,
            reused: pool.reused as f64,
            created: pool.created as f64,
        }
    }
}

/// Numbers of a service.
#[napi(object, object_from_js = false)]
pub struct NativeServiceStats {
    pub name: String,
    /// Connections of clients that are open.
    pub connections: u32,
    pub pool: NativePoolStats,
    /// Of a service that passes on bytes.
    pub traffic: Option<NativeTraffic>,
}

#[napi]
impl NativeServer {
    #[napi(constructor, catch_unwind)]
    pub fn new(crossing: &NativeCrossing, options: NativeServerOptions) -> Result<Self> {
        let log = Arc::new(ServerLog { queue: crossing.log.clone(), server: options.server_id });
        let grace = length(options.grace_ms);
        let server = Arc::new(Server::new(ServerOptions { grace, log: log.clone() }));
        crossing.watch(&server);
        Ok(NativeServer {
            server,
            log,
            services: Mutex::default(),
            batch_js_thread: options.batch_js_thread,
        })
    }

    /// Adds a proxy service; its number.
    #[napi(catch_unwind)]
    pub fn add_proxy(&self, crossing: &NativeCrossing, options: NativeProxyOptions) -> Result<u32> {
        let (runtimes, log) = (options.runtimes(), self.log.clone());
        let made = options.proxy()?;
        let app =
            ProxyApp::new(crossing, &options, |phases| HttpProxy::new(phases, made, runtimes, log));
        Ok(self.plan(App::Proxy(app), options.runtime(), options.max_connections, options.name))
    }

    /// Adds a service with the demo's origin; its number.
    #[napi(catch_unwind)]
    pub fn add_demo_origin(&self, options: NativeOriginOptions) -> u32 {
        let app = App::Origin(Arc::new(DemoOrigin::new(options.origin())));
        self.plan(app, options.runtime(), options.max_connections, options.name)
    }

    /// Adds a service that passes connections on to a peer; its number.
    #[napi(catch_unwind)]
    pub fn add_tcp_proxy(&self, peer: u32, options: NativeTcpOptions) -> Result<u32> {
        let peer = crate::peers::peer(peer)
            .ok_or_else(|| Error::new(Status::InvalidArg, "no such peer".to_owned()))?;
        let (runtime, log) = (options.runtime(), self.log.clone());
        let made = options.proxy();
        let app = App::TcpProxy(Arc::new(TcpProxy::new(peer, made, options.runtimes(), log)));
        Ok(self.plan(app, runtime, options.max_connections, options.name))
    }

    /// Adds a service whose connections go to the app of this number; its number.
    #[napi(catch_unwind)]
    pub fn add_tcp_app(
        &self,
        crossing: &NativeCrossing,
        app: u32,
        max_queued: u32,
        options: NativeTcpOptions,
    ) -> u32 {
        let max_queued = max_queued as usize;
        let streams = JsStreams { crossing: crossing.inner.clone(), app, max_queued };
        let app = App::Streams(Arc::new(StreamServer::new(streams, options.app())));
        self.plan(app, options.runtime(), options.max_connections, options.name)
    }

    /// Adds an endpoint to a service, with TLS if there are certificates; its number within it.
    #[napi(catch_unwind)]
    pub fn add_tcp(
        &self,
        service: u32,
        address: String,
        options: NativeSocketOptions,
        tls: Option<&NativeTls>,
    ) -> Result<u32> {
        let invalid = |_| Error::new(Status::InvalidArg, format!("not an address: {address}"));
        let address: SocketAddr = address.parse().map_err(invalid)?;
        let mut services = self.services.lock();
        let Some(service) = services.get_mut(service as usize) else {
            return Err(Error::new(Status::InvalidArg, "no such service".to_owned()));
        };
        let endpoint = options.endpoint(address);
        service.endpoints.push(match tls {
            Some(tls) => endpoint.tls(tls.tls.clone()),
            None => endpoint,
        });
        Ok((service.endpoints.len() - 1) as u32)
    }

    /// Binds every endpoint and starts every service. Never rejects: a failure is in the result.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeStarted>")]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        if self.batch_js_thread {
            crate::scheduling::batch();
        }
        let (deferred, promise) = env.create_deferred()?;
        let mut added = Ok(());
        for planned in self.services.lock().iter() {
            added = added.and_then(|()| self.server.add_service(planned.service()));
        }
        let server = self.server.clone();
        in_background("millrace-start", move || {
            let started = added.and_then(|()| server.start());
            deferred.resolve(move |_| Ok(NativeStarted::from(started)));
        })?;
        Ok(promise)
    }

    /// Ends every service after a delay; settles when all has ended.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeClosed>")]
    pub fn close<'env>(
        &self,
        env: &'env Env,
        grace_ms: u32,
        delay_ms: u32,
    ) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let server = self.server.clone();
        in_background("millrace-close", move || {
            let report = server.close_after(length(delay_ms), length(grace_ms));
            deferred.resolve(move |_| Ok(NativeClosed::from(report)));
        })?;
        Ok(promise)
    }

    /// Numbers of each service.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Vec<NativeServiceStats> {
        let counters = self.server.counters();
        let services = self.services.lock();
        let of_service = |(service, open): (&Planned, u64)| NativeServiceStats {
            name: service.name.clone(),
            connections: open as u32,
            pool: service.pool(),
            traffic: service.traffic(),
        };
        let open = counters.iter().map(|(_, counters)| counters.open() as u64);
        services.iter().zip(open.chain(std::iter::repeat(0))).map(of_service).collect()
    }
}

impl NativeServer {
    fn plan(&self, app: App, runtime: RuntimeOptions, max_connections: u32, name: String) -> u32 {
        let max_connections = max_connections as usize;
        let planned = Planned { name, app, runtime, max_connections, endpoints: Vec::new() };
        let mut services = self.services.lock();
        services.push(planned);
        (services.len() - 1) as u32
    }
}

impl From<std::result::Result<Vec<Vec<millrace_transport::Address>>, StartError>>
    for NativeStarted
{
    fn from(
        started: std::result::Result<Vec<Vec<millrace_transport::Address>>, StartError>,
    ) -> Self {
        match started {
            Ok(services) => {
                let addresses = services
                    .iter()
                    .map(|service| service.iter().map(ToString::to_string).collect())
                    .collect();
                NativeStarted { addresses, code: None, message: None }
            }
            Err(error) => {
                let code = match &error {
                    StartError::Bind(bind) if bind.io.kind() == std::io::ErrorKind::AddrInUse => {
                        "ADDRESS_IN_USE"
                    }
                    StartError::Bind(_) => "BIND_FAILED",
                    StartError::Closed => "SERVER_CLOSED",
                    _ => "START_FAILED",
                };
                let message = error.to_string();
                NativeStarted {
                    addresses: Vec::new(),
                    code: Some(code.to_owned()),
                    message: Some(message),
                }
            }
        }
    }
}

impl From<CloseReport> for NativeClosed {
    fn from(CloseReport { requests, connections }: CloseReport) -> Self {
        let ends = |ends: Ends| NativeEnds { finished: ends.finished as f64, cut: ends.cut as f64 };
        NativeClosed { requests: ends(requests), connections: ends(connections) }
    }
}

/// Starting and closing block; neither the JS thread nor one of the few threads it shares.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(|| {
            crate::scheduling::usual();
            work();
        })
        .map(drop)
        .map_err(|error| Error::from_reason(format!("no thread: {error}")))
}
