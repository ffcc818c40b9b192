mod outcome;
mod planned;
mod stats;

use std::sync::{Arc, OnceLock, Weak};

use millrace_demo_origin::DemoOrigin;
use millrace_listeners::{ConnectionCheck, Endpoint};
use millrace_proxy::HttpProxy;
use millrace_server::{
    ClientLimit, Counters, Endpoints, Observer, RuntimeOptions, Server, ServerOptions, Shutdown,
    StartError, UpgradeOptions,
};
use millrace_tcp::{StreamServer, TcpProxy};
use millrace_transport::InvalidAddress;
use napi::bindgen_prelude::{Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;

use self::outcome::{NativeClosed, NativeListening, NativeStarted, code};
use self::planned::{App, Planned};
pub use self::stats::NativePoolStats;
use self::stats::NativeServiceStats;
use crate::admission::NativeConnectionCheck;
use crate::app::ProxyApp;
use crate::background::{self, Events, JsWork, NativeBackgroundOptions};
use crate::crossing::NativeCrossing;
use crate::log::{ServerLog, least};
use crate::options::{NativeOriginOptions, NativeProxyOptions, NativeSocketOptions, length};
use crate::routes::NativeRoute;
use crate::streams::JsStreams;
use crate::succession::Succession;
use crate::tcp::NativeTcpOptions;
use crate::threads::Wiring;
use crate::tls::NativeTls;

/// A server and its services.
#[napi]
pub struct NativeServer {
    server: Arc<Server>,
    log: Arc<ServerLog>,
    services: Mutex<Vec<Planned>>,
    succession: Succession,
    /// A service and one that it depends on.
    dependencies: Mutex<Vec<(u32, u32)>>,
    events: Events,
    gone: Shutdown,
    batch_js_thread: bool,
}

/// The options of a server.
#[napi(object, object_to_js = false)]
pub struct NativeServerOptions {
    /// Its number in this environment, which its log lines carry.
    pub server_id: u32,
    pub grace_ms: u32,
    /// The least level that is logged: 0 is debug, 1 info, 2 warn, 3 error; 4: nothing is.
    pub log_level: u32,
    /// Whether the libraries beneath are asked to say more than warnings.
    pub logs_dependencies: bool,
    /// The path of the upgrade socket; empty: none.
    pub upgrade_socket: String,
    /// Whether to take over from the process there.
    pub upgrade: bool,
    pub upgrade_timeout_ms: u32,
    /// Whether the JS thread becomes a batch thread at the start.
    pub batch_js_thread: bool,
}

/// What a proxy does with requests: the phases of each route and those of all others, in threads.
#[napi(object, object_to_js = false)]
pub struct NativePhases {
    pub routes: Vec<NativeRoute>,
    pub fallback: NativeRoute,
    pub keeps_encoded_slashes: bool,
    /// As in `NativeProxyOptions`.
    pub js_threads: Vec<u32>,
}

#[napi]
impl NativeServer {
    #[napi(constructor, catch_unwind)]
    pub fn new(crossing: &NativeCrossing, options: NativeServerOptions) -> Result<Self> {
        let log = crossing.log(options.server_id, least(options.log_level));
        if options.logs_dependencies {
            crate::dependencies_log::detail();
        }
        let grace = length(options.grace_ms);
        let succession = Succession::default();
        let (on_handed_over, own) = (succession.clone(), Arc::new(OnceLock::<Weak<Server>>::new()));
        let this = own.clone();
        let upgrade = (!options.upgrade_socket.is_empty()).then(|| UpgradeOptions {
            take_over: options.upgrade,
            timeout: length(options.upgrade_timeout_ms),
            on_handed_over: Some(Arc::new(move || {
                on_handed_over.settle(true);
                // JavaScript closes it as well, unless it hangs, for which it may be replaced.
                // On a thread of its own: the one that calls this is waited for by whoever closes first.
                if let Some(server) = this.get().and_then(Weak::upgrade) {
                    let closing = in_background("millrace-close", move || {
                        server.close(grace);
                    });
                    drop(closing);
                }
            })),
            ..UpgradeOptions::at(options.upgrade_socket)
        });
        let (id, events) = (options.server_id, crossing.events.clone());
        let observer: Observer = Arc::new(move |event| background::tell(&events, id, &event));
        let observer = Some(observer);
        let settings = ServerOptions { grace, log: log.clone(), observer, upgrade };
        let server = Arc::new(Server::new(settings));
        let _ = own.set(Arc::downgrade(&server));
        crossing.watch(&server);
        Ok(NativeServer {
            server,
            log,
            services: Mutex::default(),
            succession,
            dependencies: Mutex::default(),
            events: crossing.events.clone(),
            gone: crossing.gone.clone(),
            batch_js_thread: options.batch_js_thread,
        })
    }

    /// Adds a proxy service; its number.
    #[napi(catch_unwind)]
    pub fn add_proxy(&self, crossing: &NativeCrossing, options: NativeProxyOptions) -> Result<u32> {
        let (runtimes, log) = (options.runtimes(), self.log.of(&options.name));
        let (made, routing) = (options.proxy()?, options.routing()?);
        let wirings = crate::options::wirings(&options.js_threads, crossing)?;
        let app = ProxyApp::new(wirings, &options, routing, |phases| {
            HttpProxy::new(phases, made, runtimes, log)
        });
        let (runtime, limit) = (options.runtime(), options.client_limit());
        Ok(self.plan(App::Proxy(app), runtime, options.max_connections, limit, options.name))
    }

    /// New requests of a proxy service have these phases.
    #[napi(catch_unwind)]
    pub fn replace_phases(
        &self,
        crossing: &NativeCrossing,
        service: u32,
        phases: NativePhases,
    ) -> Result<()> {
        let NativePhases { routes, fallback, keeps_encoded_slashes, js_threads } = phases;
        let wirings = crate::options::wirings(&js_threads, crossing)?;
        let routing = crate::options::routing(&routes, &fallback, keeps_encoded_slashes)?;
        let sets = crate::options::sets(&routes, &fallback);
        self.proxy(service)?.replace(wirings, sets, routing);
        Ok(())
    }

    /// The same phases of a proxy service are in the first of `jsThreads`, in the place of its thread `at`,
    /// which has ended.
    #[napi(catch_unwind)]
    pub fn replace_thread(&self, service: u32, at: u32, phases: NativePhases) -> Result<()> {
        let NativePhases { routes, fallback, js_threads, .. } = phases;
        let number = js_threads.first().copied().unwrap_or_default();
        let sets = crate::options::sets(&routes, &fallback);
        self.proxy(service)?.replace_thread(at as usize, Wiring::find(number)?, sets);
        Ok(())
    }

    /// Adds a service with the demo's origin; its number.
    #[napi(catch_unwind)]
    pub fn add_demo_origin(&self, options: NativeOriginOptions) -> u32 {
        let app = App::Origin(Arc::new(DemoOrigin::new(options.origin())));
        self.plan(app, options.runtime(), options.max_connections, None, options.name)
    }

    /// Adds a service whose work is done in JavaScript, which is told when to start and when to stop;
    /// its number.
    #[napi(catch_unwind)]
    pub fn add_background(&self, options: NativeBackgroundOptions) -> u32 {
        let service = self.services.lock().len() as u32;
        let (events, gone) = (self.events.clone(), self.gone.clone());
        let work = JsWork::new(self.log.server, service, events, gone);
        let app = App::Background(work, options.options());
        self.plan(app, RuntimeOptions::default(), 0, None, options.name)
    }

    /// Has a service start when another is ready, and stop before it.
    #[napi(catch_unwind)]
    pub fn add_dependency(&self, service: u32, on: u32) {
        self.dependencies.lock().push((service, on));
    }

    /// A background service is ready, in the start of this number.
    #[napi(catch_unwind)]
    pub fn background_ready(&self, service: u32, run: u32) {
        if let Some(work) = self.work(service) {
            work.ready(run);
        }
    }

    /// A background service has ended, or failed, in the start of this number.
    #[napi(catch_unwind)]
    pub fn background_ended(&self, service: u32, run: u32, error: Option<String>) {
        if let Some(work) = self.work(service) {
            work.ended(run, error);
        }
    }

    /// Has a start that waits for services end, with a grace for what is up.
    #[napi(catch_unwind)]
    pub fn give_up_start(&self, grace_ms: u32) {
        self.server.give_up_start(length(grace_ms));
    }

    /// Adds a service that passes connections on to a peer; its number.
    #[napi(catch_unwind)]
    pub fn add_tcp_proxy(&self, peer: u32, options: NativeTcpOptions) -> Result<u32> {
        let peer = crate::peers::peer(peer)
            .ok_or_else(|| Error::new(Status::InvalidArg, "no such peer".to_owned()))?;
        let (runtime, log) = (options.runtime(), self.log.of(&options.name));
        let made = options.options();
        let app = App::TcpProxy(Arc::new(TcpProxy::new(peer, made, options.runtimes(), log)));
        Ok(self.plan(app, runtime, options.max_connections, options.client_limit(), options.name))
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
        let log = self.log.of(&options.name);
        let app = App::Streams(Arc::new(StreamServer::new(streams, options.options(), log)));
        self.plan(
            app,
            options.runtime(),
            options.max_connections,
            options.client_limit(),
            options.name,
        )
    }

    /// Adds an endpoint to a service, with TLS if there are certificates; its number within it.
    #[napi(catch_unwind)]
    pub fn add_endpoint(
        &self,
        service: u32,
        address: String,
        options: NativeSocketOptions,
        tls: Option<&NativeTls>,
        check: Option<&NativeConnectionCheck>,
    ) -> Result<u32> {
        let endpoint = endpoint(&address, &options, tls, check)?;
        let mut services = self.services.lock();
        let Some(service) = services.get_mut(service as usize) else { return Err(no_service()) };
        service.endpoints.push(endpoint);
        Ok((service.endpoints.len() - 1) as u32)
    }

    /// The same for a service that runs: it listens from now on. A failure is in the result.
    #[napi(catch_unwind)]
    pub fn listen(
        &self,
        service: u32,
        address: String,
        options: NativeSocketOptions,
        tls: Option<&NativeTls>,
        check: Option<&NativeConnectionCheck>,
    ) -> Result<NativeListening> {
        let endpoint = endpoint(&address, &options, tls, check)?;
        let added = self.endpoints(service)?.add(&endpoint);
        let none = NativeListening { number: 0, address: None, code: None, message: None };
        Ok(match added {
            Ok((number, address)) => {
                let address = Some(address.to_string());
                NativeListening { number: number as u32, address, ..none }
            }
            Err(error) => NativeListening {
                code: Some(code(&error).to_owned()),
                message: Some(error.to_string()),
                ..none
            },
        })
    }

    /// Lets go of an endpoint of a service that runs; whether its address is free now.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn close_endpoint<'env>(
        &self,
        env: &'env Env,
        service: u32,
        number: u32,
    ) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let endpoints = self.endpoints(service)?;
        in_background("millrace-close", move || {
            let is_free = endpoints.close(number.into());
            deferred.resolve(move |_| Ok(is_free));
        })?;
        Ok(promise)
    }

    /// Binds every endpoint and starts every service. Never rejects: a failure is in the result.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeStarted>")]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        if self.batch_js_thread {
            crate::scheduling::batch();
        }
        let (deferred, promise) = env.create_deferred()?;
        let added = self.add_all();
        let server = self.server.clone();
        in_background("millrace-start", move || {
            let started = added.and_then(|()| server.start());
            deferred.resolve(move |_| Ok(NativeStarted::from(started)));
        })?;
        Ok(promise)
    }

    /// Whether it could start, as far as can be told without binding or starting anything: a failure is in
    /// the result. It is not to be started afterwards.
    #[napi(catch_unwind)]
    pub fn check(&self) -> NativeStarted {
        let checked = self.add_all().and_then(|()| self.server.check());
        NativeStarted::from(checked.map(|()| Vec::new()))
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
        let (server, succession) = (self.server.clone(), self.succession.clone());
        in_background("millrace-close", move || {
            let report = server.close_after(length(delay_ms), length(grace_ms));
            succession.settle(false);
            deferred.resolve(move |_| Ok(NativeClosed::from(report)));
        })?;
        Ok(promise)
    }

    /// Whether it has taken over from another process.
    #[napi(catch_unwind)]
    pub fn has_succeeded(&self) -> bool {
        self.server.has_succeeded()
    }

    /// Whether another process has taken over, once it has or the server has ended.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn handed_over<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        self.succession.promise(env)
    }

    /// Numbers of each service.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Vec<NativeServiceStats> {
        let counters = self.server.counters();
        let services = self.services.lock();
        let of_service = |(at, service): (usize, &Planned)| {
            let counters = counters.get(at).map(|(_, counters)| counters);
            let count = |what: fn(&Counters) -> u64| counters.map_or(0, |each| what(each)) as f64;
            NativeServiceStats {
                name: service.name.clone(),
                connections: counters.map_or(0, |each| each.open()) as u32,
                accepted: count(Counters::accepted),
                rejected: count(Counters::rejected),
                refused: count(Counters::refused),
                pool: service.pool(),
                requests: service.requests(),
                traffic: service.traffic(),
            }
        };
        services.iter().enumerate().map(of_service).collect()
    }
}

impl NativeServer {
    fn proxy(&self, service: u32) -> Result<Arc<ProxyApp>> {
        match self.services.lock().get(service as usize).map(|planned| &planned.app) {
            Some(App::Proxy(app)) => Ok(app.clone()),
            _ => Err(Error::new(Status::InvalidArg, "no such proxy".to_owned())),
        }
    }

    fn add_all(&self) -> std::result::Result<(), StartError> {
        let mut services = self.services.lock();
        let services = services.iter_mut();
        let services = services.map(|planned| self.server.add_service(planned.service()));
        let ids = services.collect::<std::result::Result<Vec<_>, _>>()?;
        for &(service, on) in self.dependencies.lock().iter() {
            let (service, on) = (ids.get(service as usize), ids.get(on as usize));
            let (Some(service), Some(on)) = (service, on) else {
                return Err(StartError::NoService);
            };
            self.server.add_dependency(*service, *on)?;
        }
        Ok(())
    }

    fn work(&self, service: u32) -> Option<Arc<JsWork>> {
        match &self.services.lock().get(service as usize)?.app {
            App::Background(work, _) => Some(work.clone()),
            App::Proxy(_) | App::Origin(_) | App::TcpProxy(_) | App::Streams(_) => None,
        }
    }

    fn endpoints(&self, service: u32) -> Result<Endpoints> {
        let services = self.services.lock();
        let running = services.get(service as usize).and_then(|service| service.running.clone());
        running.ok_or_else(no_service)
    }

    fn plan(
        &self,
        app: App,
        runtime: RuntimeOptions,
        max_connections: u32,
        client_limit: Option<ClientLimit>,
        name: String,
    ) -> u32 {
        let (max_connections, endpoints) = (max_connections as usize, Vec::new());
        let running = None;
        let planned =
            Planned { name, app, runtime, max_connections, client_limit, endpoints, running };
        let mut services = self.services.lock();
        services.push(planned);
        (services.len() - 1) as u32
    }
}

fn endpoint(
    address: &str,
    options: &NativeSocketOptions,
    tls: Option<&NativeTls>,
    check: Option<&NativeConnectionCheck>,
) -> Result<Endpoint> {
    let invalid = |error: InvalidAddress| Error::new(Status::InvalidArg, error.to_string());
    let check = check.map(|check| check.asked.clone() as Arc<dyn ConnectionCheck>);
    let endpoint = options.endpoint(address.parse().map_err(invalid)?, check)?;
    Ok(match tls {
        Some(tls) => endpoint.tls(tls.tls.clone()),
        None => endpoint,
    })
}

fn no_service() -> Error {
    Error::new(Status::InvalidArg, "no such service".to_owned())
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

/// Tells a service manager, which has named this socket, how the process is: what went wrong, if
/// anything did.
#[napi(catch_unwind)]
pub fn notify_manager(socket: String, state: String) -> Option<String> {
    #[cfg(unix)]
    let told = millrace_server::notify_manager(&socket, &state);
    #[cfg(not(unix))]
    let told = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::Unsupported));
    #[cfg(not(unix))]
    drop((socket, state));
    told.err().map(|error| error.to_string())
}
