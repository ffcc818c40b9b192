use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_error::Level;
use millrace_transport::Address;
use parking_lot::{Condvar, Mutex};

use crate::runtime::LAST_WORDS;
use crate::{
    Bell, CloseReport, Counters, ServerOptions, Service, ServiceContext, Shutdown, ShutdownTrigger,
    StartError,
};

/// Runs services: binds and starts them together, and ends them together. Dropped, it closes
/// without a grace. Its methods may be called from several threads.
pub struct Server {
    grace: Duration,
    context: ServiceContext,
    trigger: ShutdownTrigger,
    counters: Mutex<Vec<(String, Arc<Counters>)>>,
    life: Mutex<Life>,
    closed: Condvar,
}

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
            life: Mutex::new(Life::New(Vec::new())),
            closed: Condvar::new(),
        }
    }

    /// Adds a service to be started with the others.
    pub fn add_service(&self, service: Box<dyn Service>) -> Result<(), StartError> {
        match &mut *self.life.lock() {
            Life::New(services) => {
                self.counters.lock().push((service.name().to_owned(), service.counters()));
                services.push(service);
                Ok(())
            }
            other => Err(other.refusal()),
        }
    }

    /// Binds every endpoint of every service, then starts them. Says where each is bound, by
    /// service, in the order they were added. After a failure nothing is bound or running, and
    /// it may be called again.
    pub fn start(&self) -> Result<Vec<Vec<Address>>, StartError> {
        let mut life = self.life.lock();
        let Life::New(services) = &mut *life else { return Err(life.refusal()) };
        let bound = match bring_up(services, &self.context) {
            Ok(bound) => bound,
            Err(error) => {
                services.iter_mut().for_each(|service| service.unbind());
                services.iter_mut().for_each(|service| service.stop(LAST_WORDS));
                return Err(error);
            }
        };
        services.iter_mut().for_each(|service| service.accept());
        *life = Life::Running(std::mem::take(services));
        Ok(bound)
    }

    /// How long `close` should wait for connections where nobody says otherwise.
    pub fn grace(&self) -> Duration {
        self.grace
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
        let report = self.bring_down(services);
        *self.life.lock() = Life::Closed(report);
        self.closed.notify_all();
        report
    }

    fn bring_down(&self, mut services: Vec<Box<dyn Service>>) -> CloseReport {
        let (bell, counters) = (&self.context.bell, self.counters());
        let is_quiet = || counters.iter().all(|(_, counters)| counters.is_quiet());
        bell.wait_for_delay();
        counters.iter().for_each(|(_, counters)| counters.drain());
        self.trigger.drain();
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
) -> Result<Vec<Vec<Address>>, StartError> {
    let bound = services.iter_mut().map(|service| service.bind());
    let bound = bound.collect::<Result<_, _>>().map_err(StartError::Bind)?;
    for service in services {
        if let Err(io) = service.launch(context) {
            return Err(StartError::Runtime { service: service.name().to_owned(), io });
        }
    }
    Ok(bound)
}
