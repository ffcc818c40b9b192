use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::channel;
use std::time::Duration;

use millrace_error::{Level, Log};
use millrace_listeners::{BindError, Endpoint, Inherited};
use millrace_transport::Address;
use tokio::runtime::Handle;

use crate::accept::Acceptors;
use crate::clients::Clients;
use crate::complaints::Complaints;
use crate::counters::Tally;
use crate::endpoints::{Listening, Stacks};
use crate::runtime::{LAST_WORDS, Runtimes};
use crate::{
    ClientLimit, Counters, Endpoints, OnceASecond, RuntimeOptions, ServerApp, Service,
    ServiceContext, SharedSocket,
};

/// Connections a service serves at once, unless told otherwise.
const MAX_CONNECTIONS: usize = 65_536;

/// A service that hands the connections of its endpoints to an app.
pub struct ListeningService<A: ServerApp> {
    name: String,
    app: Arc<A>,
    endpoints: Vec<Endpoint>,
    options: RuntimeOptions,
    max_connections: Option<usize>,
    client_limit: Option<ClientLimit>,
    counters: Arc<Counters>,
    inherited: Arc<Inherited>,
    listening: Arc<Listening<A>>,
    running: Option<Running<A>>,
}

struct Running<A: ServerApp> {
    runtimes: Runtimes,
    acceptors: Arc<Acceptors<A>>,
    /// Stacks that do not accept yet.
    stacks: Stacks,
    log: Arc<dyn Log>,
}

impl<A: ServerApp> ListeningService<A> {
    /// A service that is not bound yet.
    pub fn new(
        name: impl Into<String>,
        app: Arc<A>,
        endpoints: Vec<Endpoint>,
        runtime: RuntimeOptions,
    ) -> Self {
        ListeningService {
            name: name.into(),
            app,
            endpoints,
            options: runtime,
            max_connections: Some(MAX_CONNECTIONS),
            client_limit: None,
            counters: Arc::default(),
            inherited: Arc::default(),
            listening: Listening::new(),
            running: None,
        }
    }

    /// The same with another bound on the connections served at once, or none.
    #[must_use]
    pub fn max_connections(mut self, limit: Option<usize>) -> Self {
        self.max_connections = limit;
        self
    }

    /// The same with a bound on the connections of each client.
    #[must_use]
    pub fn client_limit(mut self, limit: Option<ClientLimit>) -> Self {
        self.client_limit = limit;
        self
    }

    /// What changes its endpoints while it runs.
    pub fn endpoints(&self) -> Endpoints {
        self.listening.endpoints()
    }

    /// Runs the app's hook on each runtime and waits for it.
    fn tell_app(&self, handles: &[Handle]) -> io::Result<()> {
        for (runtime, handle) in handles.iter().enumerate() {
            let (app, (done, is_done)) = (self.app.clone(), channel());
            handle.spawn(async move {
                app.on_runtime_start(runtime);
                let _ = done.send(());
            });
            is_done.recv().map_err(|_| io::Error::other("the start of a runtime panicked"))?;
        }
        Ok(())
    }
}

impl<A: ServerApp> Service for ListeningService<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn bind(&mut self) -> Result<Vec<Address>, BindError> {
        self.listening.bind(&self.endpoints, &self.inherited)
    }

    fn inherit(&mut self, inherited: &Arc<Inherited>) {
        self.inherited = inherited.clone();
    }

    fn share(&self) -> io::Result<Vec<SharedSocket>> {
        self.listening.share()
    }

    fn check(&self) -> io::Result<()> {
        self.options.cpus.check()
    }

    fn launch(&mut self, context: &ServiceContext) -> io::Result<()> {
        let runtimes = Runtimes::start(&self.options)?;
        let stacks = self.listening.stacks(runtimes.handles())?;
        self.tell_app(runtimes.handles())?;
        let ServiceContext { shutdown, log, bell, .. } = context.clone();
        let counters = self.counters.clone();
        let acceptors = Arc::new(Acceptors {
            name: self.name.clone(),
            app: self.app.clone(),
            tally: Tally { counters, shutdown, bell },
            log: log.clone(),
            limit: self.max_connections.unwrap_or(usize::MAX),
            clients: self.client_limit.map(Clients::new),
            runtimes: runtimes.handles().iter().map(|h| (h.clone(), AtomicUsize::new(0))).collect(),
            complained: OnceASecond::default(),
            late: Complaints::new(&self.name, &log, "that the check said nothing of in time"),
            unasked: Complaints::new(&self.name, &log, "that the check was not asked about"),
        });
        self.running = Some(Running { runtimes, acceptors, stacks, log });
        Ok(())
    }

    fn accept(&mut self) {
        let Some(running) = &mut self.running else { return };
        self.listening.accept(&running.acceptors, std::mem::take(&mut running.stacks));
    }

    fn unbind(&mut self) {
        self.listening.unbind();
    }

    fn stop(&mut self, limit: Duration) {
        let Some(Running { mut runtimes, acceptors, log, .. }) = self.running.take() else {
            return;
        };
        drop(acceptors);
        let warn = |what: &str| {
            let (line, name) = (format!("service {}: {what}", self.name), self.name.as_str());
            log.log_with(Level::Warn, &line, &[("service", name.into())]);
        };
        if let Some(handle) = runtimes.handles().first() {
            let (app, (done, is_done)) = (self.app.clone(), channel());
            handle.spawn(async move {
                app.cleanup().await;
                let _ = done.send(());
            });
            if is_done.recv_timeout(limit).is_err() {
                warn("its clean-up did not end in time, or panicked");
            }
        }
        if !runtimes.stop(LAST_WORDS) {
            warn("a thread did not end in time and is left behind");
        }
    }
}
