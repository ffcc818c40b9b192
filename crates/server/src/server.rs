use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_error::Log;
use millrace_transport::Address;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::bell::after;
use crate::slots::Slots;
use crate::upgrade::Upgrade;
use crate::{
    Bell, CloseReport, Counters, Observer, ServerOptions, Service, ServiceId, ServiceState,
    SharedSocket, Shutdown, ShutdownTrigger, StartError, UpgradeOptions,
};

/// Runs services: binds and starts them together, and ends them together. Dropped, it closes
/// without a grace. Its methods may be called from several threads.
pub struct Server {
    grace: Duration,
    log: Arc<dyn Log>,
    observer: Option<Observer>,
    bell: Bell,
    trigger: ShutdownTrigger,
    counters: Mutex<Vec<(String, Arc<Counters>)>>,
    life: Arc<Mutex<Life>>,
    /// Of `life`: a start or a close has ended.
    changed: Arc<Condvar>,
    upgrade_options: Option<UpgradeOptions>,
    upgrade: Mutex<Option<Upgrade>>,
    has_succeeded: AtomicBool,
}

/// What the hand-over to another process needs of a server.
pub(crate) struct Means {
    pub(crate) options: UpgradeOptions,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) shutdown: Shutdown,
    pub(crate) bell: Bell,
    life: Arc<Mutex<Life>>,
    changed: Arc<Condvar>,
}

enum Life {
    New(Slots),
    Starting,
    Running(Slots),
    Closing,
    Closed(CloseReport),
}

impl Server {
    /// A server without services.
    pub fn new(options: ServerOptions) -> Self {
        let (trigger, _) = Shutdown::new();
        Server {
            grace: options.grace,
            log: options.log,
            observer: options.observer,
            bell: Bell::default(),
            trigger,
            counters: Mutex::default(),
            life: Arc::new(Mutex::new(Life::New(Slots::default()))),
            changed: Arc::default(),
            upgrade_options: options.upgrade,
            upgrade: Mutex::default(),
            has_succeeded: AtomicBool::new(false),
        }
    }

    /// Adds a service to be started with the others.
    pub fn add_service(&self, service: Box<dyn Service>) -> Result<ServiceId, StartError> {
        match &mut *self.life.lock() {
            Life::New(slots) => {
                let counters = service.counters();
                counters.follow(self.trigger.shutdown());
                self.counters.lock().push((service.name().to_owned(), counters));
                Ok(slots.add(service, self.observer.clone(), &self.bell))
            }
            other => Err(other.refusal()),
        }
    }

    /// Has `service` start when `on` is ready, and stop before it.
    pub fn add_dependency(&self, service: ServiceId, on: ServiceId) -> Result<(), StartError> {
        match &mut *self.life.lock() {
            Life::New(slots) => slots.connect(service, on),
            other => Err(other.refusal()),
        }
    }

    /// Whether it could start, as far as can be told without binding or starting anything.
    pub fn check(&self) -> Result<(), StartError> {
        match &*self.life.lock() {
            Life::New(slots) => slots.check(),
            other => Err(other.refusal()),
        }
    }

    /// Binds every endpoint of every service, then starts them, each when those it depends on are
    /// ready, and waits until all are. Says where each is bound, by service, in the order they were
    /// added. After a failure nothing is bound or running, and it may be called again; what was up by then
    /// has had the server's grace to end. `close` ends the wait, with the grace it is given. A server that is
    /// to take over from another process is started when that one knows of it.
    pub fn start(&self) -> Result<Vec<Vec<Address>>, StartError> {
        let mut slots = {
            let mut life = self.life.lock();
            match &mut *life {
                Life::New(slots) => {
                    let slots = std::mem::take(slots);
                    *life = Life::Starting;
                    slots
                }
                other => return Err(other.refusal()),
            }
        };
        let started = self.bring_up(&mut slots);
        *self.life.lock() = match started {
            Ok(_) => Life::Running(slots),
            Err(_) => Life::New(slots),
        };
        self.changed.notify_all();
        started
    }

    /// Has a start that waits for services fail, and every later one: the first half of `close`, for
    /// those who must not block. What is up has `grace` to end; called again, the shorter one wins. Nothing
    /// once the server runs.
    pub fn give_up_start(&self, grace: Duration) {
        if matches!(*self.life.lock(), Life::New(_) | Life::Starting) {
            self.bell.shorten(Duration::ZERO, grace);
            self.abandon_start();
        }
    }

    fn abandon_start(&self) {
        self.trigger.drain();
        self.bell.ring();
    }

    fn bring_up(&self, slots: &mut Slots) -> Result<Vec<Vec<Address>>, StartError> {
        let mut upgrade = self.begin_upgrade()?;
        if let Some(upgrade) = &upgrade {
            slots.inherit(upgrade.inherited());
        }
        let started = slots.bind().and_then(|bound| {
            slots.launch(&self.log, &self.bell)?;
            slots.accept(&self.bell, || self.reason_to_stop(upgrade.as_ref()))?;
            if let Some(upgrade) = &mut upgrade {
                upgrade.settle().map_err(StartError::Bind)?;
                upgrade.ready().map_err(|io| self.upgrade_failed(io))?;
            }
            Ok(bound)
        });
        if let Err(error) = &started {
            // A process that was to be replaced goes on, and need not wait for what is up here to end.
            if let Some(upgrade) = upgrade {
                upgrade.end();
            }
            // Whoever closes says how long it may take.
            let is_closed = matches!(error, StartError::Closed);
            let latest = (!is_closed).then(|| after(self.grace));
            slots.give_up(&self.bell, latest, &*self.log);
            return started;
        }
        let has_predecessor = upgrade.as_ref().is_some_and(Upgrade::has_predecessor);
        self.has_succeeded.store(has_predecessor, Ordering::Relaxed);
        *self.upgrade.lock() = upgrade;
        started
    }

    /// Why a start is not to go on.
    fn reason_to_stop(&self, upgrade: Option<&Upgrade>) -> Option<StartError> {
        if self.trigger.shutdown().is_draining() {
            return Some(StartError::Closed);
        }
        upgrade.and_then(Upgrade::refusal).map(|io| self.upgrade_failed(io))
    }

    fn begin_upgrade(&self) -> Result<Option<Upgrade>, StartError> {
        let Some(options) = &self.upgrade_options else { return Ok(None) };
        let begun = Upgrade::begin(Means {
            options: options.clone(),
            log: self.log.clone(),
            shutdown: self.trigger.shutdown().clone(),
            bell: self.bell.clone(),
            life: self.life.clone(),
            changed: self.changed.clone(),
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
        self.trigger.shutdown()
    }

    /// The state of each service, in the order they were added; none while the server starts or stops
    /// them, of which the observer is told.
    pub fn states(&self) -> Vec<ServiceState> {
        match &*self.life.lock() {
            Life::New(slots) | Life::Running(slots) => slots.states(),
            Life::Starting | Life::Closing | Life::Closed(_) => Vec::new(),
        }
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
        self.bell.shorten(delay, grace);
        let mut is_due = false;
        let mut life = self.life.lock();
        let slots = loop {
            match &mut *life {
                Life::Closed(report) => return *report,
                Life::Closing => self.changed.wait(&mut life),
                Life::Starting => {
                    self.abandon_start();
                    self.changed.wait(&mut life);
                }
                Life::New(_) => {
                    self.trigger.cut();
                    *life = Life::Closed(CloseReport::default());
                }
                // Until then it may still be taken over from.
                Life::Running(_) if !is_due => {
                    MutexGuard::unlocked(&mut life, || self.bell.wait_for_delay());
                    is_due = true;
                }
                Life::Running(slots) => break std::mem::take(slots),
            }
        };
        *life = Life::Closing;
        drop(life);
        let report = self.bring_down(slots);
        *self.life.lock() = Life::Closed(report);
        self.changed.notify_all();
        report
    }

    fn bring_down(&self, mut slots: Slots) -> CloseReport {
        let counters = self.counters();
        self.trigger.drain();
        let upgrade = self.upgrade.lock().take();
        if let Some(upgrade) = upgrade {
            upgrade.end();
        }
        slots.bring_down(&self.bell, None, &*self.log);
        self.trigger.cut();
        CloseReport {
            requests: counters.iter().map(|(_, each)| each.requests()).sum(),
            connections: counters.iter().map(|(_, each)| each.connections()).sum(),
        }
    }
}

impl Means {
    /// The listening sockets of a server that runs.
    pub(crate) fn sockets(&self) -> Option<io::Result<Vec<SharedSocket>>> {
        let mut life = self.life.lock();
        loop {
            match &*life {
                Life::Running(slots) => return Some(slots.share()),
                Life::Starting => self.changed.wait(&mut life),
                Life::New(_) | Life::Closing | Life::Closed(_) => return None,
            }
        }
    }

    /// Another process serves: this one is to be closed.
    pub(crate) fn hand_over(&self) {
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
            Life::New(_) | Life::Starting | Life::Running(_) => StartError::Started,
            Life::Closing | Life::Closed(_) => StartError::Closed,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("shutdown", self.shutdown()).finish_non_exhaustive()
    }
}
