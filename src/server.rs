use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_listeners::Endpoint;
use millrace_proxy::HttpProxy;
use millrace_server::{ListeningService, Server, ServerOptions, StartError};
use napi::bindgen_prelude::{Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;

use crate::app::ProxyApp;
use crate::crossing::NativeCrossing;
use crate::log::ServerLog;
use crate::options::{NativeProxyOptions, NativeSocketOptions};
use crate::phases::JsPhases;

/// A server and its services.
#[napi]
pub struct NativeServer {
    server: Arc<Server>,
    log: Arc<ServerLog>,
    services: Mutex<Vec<Planned>>,
}

/// A service until it starts, and what can be read of it afterwards.
struct Planned {
    options: NativeProxyOptions,
    app: Arc<ProxyApp>,
    endpoints: Vec<Endpoint>,
}

/// The options of a server.
#[napi(object, object_to_js = false)]
pub struct NativeServerOptions {
    /// Its number in this environment, which its log lines carry.
    pub server_id: u32,
    pub grace_ms: u32,
}

/// What became of a start: the bound addresses by service and endpoint, or why there are none.
#[napi(object, object_from_js = false)]
pub struct NativeStarted {
    pub addresses: Vec<Vec<String>>,
    /// `ADDRESS_IN_USE`, `BIND_FAILED`, `SERVER_CLOSED` or `START_FAILED`.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// How the connections of a server ended.
#[napi(object, object_from_js = false)]
pub struct NativeClosed {
    /// Connections that ended by themselves.
    pub finished: f64,
    /// Connections that were cut.
    pub cut: f64,
}

/// The connections of a service to its upstreams.
#[napi(object, object_from_js = false)]
pub struct NativePoolStats {
    pub open: u32,
    pub idle: u32,
    pub reused: f64,
    pub created: f64,
}

/// Numbers of a service.
#[napi(object, object_from_js = false)]
pub struct NativeServiceStats {
    pub name: String,
    /// Connections of clients that are open.
    pub connections: u32,
    pub pool: NativePoolStats,
}

#[napi]
impl NativeServer {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, crossing: &NativeCrossing, options: NativeServerOptions) -> Result<Self> {
        let log = Arc::new(ServerLog { queue: crossing.log.clone(), server: options.server_id });
        let grace = Duration::from_millis(u64::from(options.grace_ms));
        let server = Arc::new(Server::new(ServerOptions { grace, log: log.clone() }));
        let weak = Arc::downgrade(&server);
        env.add_env_cleanup_hook(weak, |server| {
            // The environment ends with the server still up: nobody will run its phases.
            if let Some(server) = server.upgrade() {
                server.close(Duration::ZERO);
            }
        })?;
        Ok(NativeServer { server, log, services: Mutex::default() })
    }

    /// Adds a proxy service; its number.
    #[napi(catch_unwind)]
    pub fn add_proxy(&self, crossing: &NativeCrossing, options: NativeProxyOptions) -> Result<u32> {
        let crossing = crossing.inner.clone();
        let (numbers, routers): (Vec<_>, Vec<_>) =
            (0..options.runtimes()).map(|_| crossing.add_router()).unzip();
        let phases = JsPhases {
            crossing,
            proxy: options.proxy_id,
            mask: options.phases,
            fixed_peer: crate::peers::peer(options.fixed_peer),
            limit: crate::options::limit(options.callback_timeout_ms),
            max_queued: options.max_queued as usize,
            routers: numbers,
        };
        let proxy = HttpProxy::new(phases, options.proxy(), options.runtimes(), self.log.clone());
        let app = Arc::new(ProxyApp {
            proxy: Arc::new(proxy),
            routers: Mutex::new(routers.into_iter().map(Some).collect()),
        });
        let mut services = self.services.lock();
        services.push(Planned { options, app, endpoints: Vec::new() });
        Ok((services.len() - 1) as u32)
    }

    /// Adds an endpoint to a service; its number within it.
    #[napi(catch_unwind)]
    pub fn add_tcp(
        &self,
        service: u32,
        address: String,
        options: NativeSocketOptions,
    ) -> Result<u32> {
        let invalid = |_| Error::new(Status::InvalidArg, format!("not an address: {address}"));
        let address: SocketAddr = address.parse().map_err(invalid)?;
        let mut services = self.services.lock();
        let Some(service) = services.get_mut(service as usize) else {
            return Err(Error::new(Status::InvalidArg, "no such service".to_owned()));
        };
        service.endpoints.push(options.endpoint(address));
        Ok((service.endpoints.len() - 1) as u32)
    }

    /// Binds every endpoint and starts every service. Never rejects: a failure is in the result.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeStarted>")]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let mut added = Ok(());
        for planned in self.services.lock().iter() {
            let service = ListeningService::new(
                planned.options.name.clone(),
                planned.app.clone(),
                planned.endpoints.clone(),
                planned.options.runtime(),
            );
            let limit = planned.options.max_connections as usize;
            let service = service.max_connections((limit > 0).then_some(limit));
            added = added.and_then(|()| self.server.add_service(Box::new(service)));
        }
        let server = self.server.clone();
        in_background("millrace-start", move || {
            let started = added.and_then(|()| server.start());
            deferred.resolve(move |_| Ok(NativeStarted::from(started)));
        })?;
        Ok(promise)
    }

    /// Ends every service; settles when all has ended.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeClosed>")]
    pub fn close<'env>(&self, env: &'env Env, grace_ms: u32) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let server = self.server.clone();
        in_background("millrace-close", move || {
            let report = server.close(Duration::from_millis(u64::from(grace_ms)));
            let closed = NativeClosed { finished: report.finished as f64, cut: report.cut as f64 };
            deferred.resolve(move |_| Ok(closed));
        })?;
        Ok(promise)
    }

    /// Numbers of each service.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Vec<NativeServiceStats> {
        let counters: HashMap<_, _> = self.server.counters().into_iter().collect();
        let services = self.services.lock();
        let of_service = |service: &Planned| {
            let name = service.options.name.clone();
            let pool = service.app.proxy.connector().stats();
            NativeServiceStats {
                connections: counters.get(&name).map_or(0, |counters| counters.open() as u32),
                name,
                pool: NativePoolStats {
                    open: pool.open as u32,
                    idle: pool.idle as u32,
                    reused: pool.reused as f64,
                    created: pool.created as f64,
                },
            }
        };
        services.iter().map(of_service).collect()
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

/// Starting and closing block; neither the JS thread nor one of the few threads it shares.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::from_reason(format!("no thread: {error}")))
}
