use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_error::Level;
use millrace_listeners::{Inherited, ListeningSocket};
use millrace_transport::Address;
use parking_lot::{Condvar, Mutex};

use crate::runtime::LAST_WORDS;
use crate::upgrade::Upgrade;
use crate::{
    Bell, CloseReport, Counters, ServerOptions, Service, ServiceContext, Shutdown, ShutdownTrigger,
    StartError, UpgradeOptions,
};

/// Runs services: binds and starts them together, and ends them together. Dropped, it closes
/// without a grace. Its methods may be called from several threads.
pub struct Server {
    grace: Duration,
    context: ServiceContext,
    trigger: ShutdownTrigger,
    counters: Mutex<Vec<(String, Arc<Counters>)>>,
    life: Arc<Mutex<Life>>,
    closed: Condvar,
    upgrade_options: Option<UpgradeOptions>,
    upgrade: Mutex<Option<Upgrade>>,
    has_succeeded: AtomicBool,
}

/// What the hand-over to another process needs of a server.
pub(crate) struct Means {
    pub(crate) options: UpgradeOptions,
    pub(crate) context: ServiceContext,
    life: Arc<Mutex<Life>>,
    trigger: ShutdownTrigger,
    grace: Duration,
}

/// A listening socket, and what says that another process has it too.
pub(crate) type SharedSocket = (ListeningSocket, Arc<AtomicBool>);

enum Life {
    New(Vec<Box<dyn Service>>),
    Running(Vec<Box<dyn Service>>),
    Closing,
    Closed(CloseReport),
}

impl Server {
    /// A server without services.
    pub fn new(options: ServerOptions) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        let context = ServiceContext { shutdown, log: options.log, bell: Bell::default() };
        Server {
            grace: options.grace,
            context,
            trigger,
            counters: Mutex::default(),
            life: Arc::new(Mutex::new(Life::New(Vec::new()))),
            closed: Condvar::new(),
            upgrade_options: options.upgrade,
            upgrade: Mutex::default(),
            has_succeeded: AtomicBool::new(false),
        }
    }

    /// Adds a service to be started with the others.
    pub fn add_service(&self, service: Box<dyn Service>) -> Result<(), StartError> {
        match &mut *self.life.lock() {
            Life::New(services) => {
                let counters = service.counters();
                counters.follow(&self.context.shutdown);
                self.counters.lock().push((service.name().to_owned(), counters));
                services.push(service);
                Ok(())
            }
            other => Err(other.refusal()),
        }
    }

    /// Binds every endpoint of every service, then starts them. Says where each is bound, by
    /// service, in the order they were added. After a failure nothing is bound or running, and
    /// it may be called again. A server that is to take over from another process is started when
    /// that one has stopped to accept.
    pub fn start(&self) -> Result<Vec<Vec<Address>>, StartError> {
        let mut life = self.life.lock();
        let Life::New(services) = &mut *life else { return Err(life.refusal()) };
        let mut upgrade = self.begin_upgrade()?;
        let inherited = upgrade.as_ref().map(|upgrade| upgrade.inherited());
        let bound = match bring_up(services, &self.context, inherited) {
            Ok(bound) => bound,
            Err(error) => {
                services.iter_mut().for_each(|service| service.unbind());
                services.iter_mut().for_each(|service| service.stop(LAST_WORDS));
                // The process that was to be replaced goes on.
                if let Some(upgrade) = upgrade {
                    upgrade.end();
                }
                return Err(error);
            }
        };
        services.iter_mut().for_each(|service| service.accept());
        let services = std::mem::take(services);
        if let Some(Err(io)) = upgrade.as_mut().map(Upgrade::ready) {
            *life = Life::Closing;
            drop(life);
            self.context.bell.shorten(Duration::ZERO, self.grace);
            self.finish(services);
            return Err(self.upgrade_failed(io));
        }
        let has_predecessor = upgrade.as_ref().is_some_and(Upgrade::has_predecessor);
        self.has_succeeded.store(has_predecessor, Ordering::Relaxed);
        *self.upgrade.lock() = upgrade;
        *life = Life::Running(services);
        Ok(bound)
    }

    fn begin_upgrade(&self) -> Result<Option<Upgrade>, StartError> {
        let Some(options) = &self.upgrade_options else { return Ok(None) };
        let begun = Upgrade::begin(Means {
            options: options.clone(),
            context: self.context.clone(),
            life: self.life.clone(),
            trigger: self.trigger.again(),
            grace: self.grace,
        });
        begun.map(Some).map_err(|io| self.upgrade_failed(io))
    }

    fn upgrade_failed(&self, io: io::Error) -> StartError {
        let socket = self.upgrade_options.as_ref().map(|options| options.socket.clone());
        StartError::Upgrade { socket: socket.unwrap_or_default(), io }
    }

    /// How long `close` should wait for connections where nobody says otherwise.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether it has taken over from another process.
    pub fn has_succeeded(&self) -> bool {
        self.has_succeeded.load(Ordering::Relaxed)
    }

    /// How far the server is on its way to the end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.context.shutdown
    }

    /// What each service counts, by name, in the order they were added.
    pub fn counters(&self) -> Vec<(String, Arc<Counters>)> {
        self.counters.lock().clone()
    }

    /// Stops accepting, lets connections end for at most `grace`, cuts the others, and stops the
    /// services. Blocks until all that is done, so it must not be called on a thread of a
    /// runtime. Called again, also at once, it waits for the same end; the shorter grace wins.
    pub fn close(&self, grace: Duration) -> CloseReport {
        self.close_after(Duration::ZERO, grace)
    }

    /// The same after a delay, in which it serves as ever. The shortest delay wins, too.
    pub fn close_after(&self, delay: Duration, grace: Duration) -> CloseReport {
        self.context.bell.shorten(delay, grace);
        let mut life = self.life.lock();
        let services = loop {
            match &mut *life {
                Life::Closed(report) => return *report,
                Life::Closing => self.closed.wait(&mut life),
                Life::New(_) => {
                    self.trigger.cut();
                    *life = Life::Closed(CloseReport::default());
                }
                Life::Running(services) => break std::mem::take(services),
            }
        };
        *life = Life::Closing;
        drop(life);
        self.finish(services)
    }

    fn finish(&self, services: Vec<Box<dyn Service>>) -> CloseReport {
        let report = self.bring_down(services);
        *self.life.lock() = Life::Closed(report);
        self.closed.notify_all();
        report
    }

    fn bring_down(&self, mut services: Vec<Box<dyn Service>>) -> CloseReport {
        let (bell, counters) = (&self.context.bell, self.counters());
        let is_quiet = || counters.iter().all(|(_, counters)| counters.is_quiet());
        bell.wait_for_delay();
        self.trigger.drain();
        let upgrade = self.upgrade.lock().take();
        if let Some(upgrade) = upgrade {
            upgrade.end();
        }
        services.iter_mut().for_each(|service| service.unbind());
        let quiet = bell.wait(is_quiet);
        self.trigger.cut();
        if !quiet && !bell.wait_for(LAST_WORDS, is_quiet) {
            self.context.log.log(Level::Warn, "connections did not end at the end of the grace");
        }
        let limit = bell.remaining().max(LAST_WORDS);
        services.iter_mut().for_each(|service| service.stop(limit));
        CloseReport {
            requests: counters.iter().map(|(_, each)| each.requests()).sum(),
            connections: counters.iter().map(|(_, each)| each.connections()).sum(),
        }
    }
}

impl Means {
    /// The listening sockets of a server that runs.
    pub(crate) fn sockets(&self) -> Option<io::Result<Vec<SharedSocket>>> {
        let life = self.life.lock();
        let Life::Running(services) = &*life else { return None };
        let bound = services.iter().flat_map(|service| service.bound());
        Some(bound.map(|bound| Ok((bound.share()?, bound.sharing()))).collect())
    }

    /// Another process serves: this one drains.
    pub(crate) fn hand_over(&self) {
        self.context.bell.shorten(Duration::ZERO, self.grace);
        self.trigger.drain();
        if let Some(hook) = &self.options.on_handed_over {
            hook();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl Life {
    fn refusal(&self) -> StartError {
        match self {
            Life::New(_) | Life::Running(_) => StartError::Started,
            Life::Closing | Life::Closed(_) => StartError::Closed,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("shutdown", self.shutdown()).finish_non_exhaustive()
    }
}

fn bring_up(
    services: &mut [Box<dyn Service>],
    context: &ServiceContext,
    inherited: Option<&Arc<Inherited>>,
) -> Result<Vec<Vec<Address>>, StartError> {
    if let Some(inherited) = inherited {
        services.iter_mut().for_each(|service| service.inherit(inherited));
    }
    let bound = services.iter_mut().map(|service| service.bind());
    let bound = bound.collect::<Result<_, _>>().map_err(StartError::Bind)?;
    for service in services {
        if let Err(io) = service.launch(context) {
            return Err(StartError::Runtime { service: service.name().to_owned(), io });
        }
    }
    Ok(bound)
}
