use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_error::{Level, Log};
use tokio::sync::oneshot::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};

use crate::counters::{Acceptor, Tally};
use crate::runtime::{LAST_WORDS, Runtimes};
use crate::{
    Counters, Readiness, RuntimeKind, RuntimeOptions, Service, ServiceContext, ServiceError,
    Shutdown, Status,
};

/// Work of a service that serves no connections: something to fetch, to watch or to write away while
/// others serve.
pub trait Background: Send + Sync + 'static {
    /// Does the work: says once that it is `ready`, and goes on until it is done or `shutdown` drains.
    /// An error or a panic is a failure of the service; so is it to end, or to drop `ready`, before it
    /// was. When it is started again, this is called again.
    fn run(
        self: Arc<Self>,
        ready: Ready,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send;
}

/// Says that a service is ready, once. Dropped unsaid it is none: the service has failed.
#[derive(Debug)]
pub struct Ready {
    said: Sender<()>,
}

impl Ready {
    /// The service does its work from now on; those that depend on it may start.
    pub fn say(self) {
        let _ = self.said.send(());
    }
}

/// What becomes of a background service that fails after it was ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It has failed for good, which the observer of the server is told.
    #[default]
    Fail,
    /// It is started again, after a while that doubles from `first` to `most` with each failure and
    /// begins anew when it has been ready for longer than `most`.
    Restart {
        /// Before the first new start.
        first: Duration,
        /// At most.
        most: Duration,
    },
}

/// How a background service runs.
#[derive(Clone, Debug)]
pub struct BackgroundOptions {
    /// Its runtime. Default: one thread, named after the service.
    pub runtime: Option<RuntimeOptions>,
    /// How long it may take to be ready, or forever. Default: 30 s.
    pub ready_within: Option<Duration>,
    /// What becomes of it when it fails. Default: it has failed for good.
    pub on_failure: OnFailure,
}

impl Default for BackgroundOptions {
    fn default() -> Self {
        let ready_within = Some(Duration::from_secs(30));
        BackgroundOptions { runtime: None, ready_within, on_failure: OnFailure::Fail }
    }
}

/// A service that does something in the background, on a runtime of its own.
pub struct BackgroundService<B> {
    name: String,
    work: Arc<B>,
    options: BackgroundOptions,
    counters: Arc<Counters>,
    running: Option<(Runtimes, Supervisor<B>)>,
}

impl<B: Background> BackgroundService<B> {
    /// One that has not been started.
    pub fn new(name: impl Into<String>, work: Arc<B>, options: BackgroundOptions) -> Self {
        let (name, counters) = (name.into(), Arc::default());
        BackgroundService { name, work, options, counters, running: None }
    }
}

impl<B: Background> Service for BackgroundService<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn readiness(&self) -> Readiness {
        Readiness::Told
    }

    fn launch(&mut self, context: &ServiceContext) -> io::Result<()> {
        let (kind, name) = (RuntimeKind::Isolated, self.name.clone());
        let own = || RuntimeOptions { kind, name, ..RuntimeOptions::default() };
        let runtimes = Runtimes::start(&self.options.runtime.clone().unwrap_or_else(own))?;
        let ServiceContext { shutdown, log, bell, status } = context.clone();
        let supervisor = Supervisor {
            name: self.name.clone(),
            work: self.work.clone(),
            options: self.options.clone(),
            tally: Tally { counters: self.counters.clone(), shutdown, bell },
            status,
            log,
        };
        self.running = Some((runtimes, supervisor));
        Ok(())
    }

    fn accept(&mut self) {
        let Some((runtimes, supervisor)) = &self.running else { return };
        let (supervisor, running) = (supervisor.clone(), supervisor.tally.acceptor());
        if let Some(handle) = runtimes.handles().first() {
            handle.spawn(supervisor.supervise(running));
        }
    }

    fn stop(&mut self, _limit: Duration) {
        let Some((mut runtimes, supervisor)) = self.running.take() else { return };
        if !self.counters.is_quiet() {
            supervisor.tell(Level::Warn, "it did not stop in time and is cut off");
        }
        if !runtimes.stop(LAST_WORDS) {
            supervisor.tell(Level::Warn, "its thread did not end in time and is left behind");
        }
    }
}

/// Runs the work of a service, again where it is to be started again, and says how it is.
struct Supervisor<B> {
    name: String,
    work: Arc<B>,
    options: BackgroundOptions,
    tally: Tally,
    status: Status,
    log: Arc<dyn Log>,
}

impl<B> Clone for Supervisor<B> {
    fn clone(&self) -> Self {
        Supervisor {
            name: self.name.clone(),
            work: self.work.clone(),
            options: self.options.clone(),
            tally: self.tally.clone(),
            status: self.status.clone(),
            log: self.log.clone(),
        }
    }
}

impl<B: Background> Supervisor<B> {
    async fn supervise(self, running: Acceptor) {
        let _running = running;
        let mut pause = None;
        loop {
            let mut ready_at = None;
            let Err(error) = self.run(&mut ready_at).await else { return self.status.stopped() };
            let is_draining = self.tally.shutdown.is_draining();
            let OnFailure::Restart { first, most } = self.options.on_failure else {
                return self.fail(error);
            };
            // Before it was ready for the first time, it is the start of the server that fails.
            if is_draining || (pause.is_none() && ready_at.is_none()) {
                return self.fail(error);
            }
            let wait = match pause {
                Some(before) if ready_at.is_none_or(|at| at.elapsed() <= most) => most.min(before),
                _ => first.min(most),
            };
            pause = Some(wait * 2);
            let again = format!("it failed and is started again in {} ms", wait.as_millis());
            self.tell(Level::Warn, &format!("{again}: {error}"));
            self.status.failed(error, true);
            tokio::select! {
                () = sleep(wait) => self.status.set(crate::ServiceState::Starting),
                () = self.tally.shutdown.draining() => return self.status.stopped(),
            }
        }
    }

    /// The work once, from its start to its end.
    async fn run(&self, ready_at: &mut Option<Instant>) -> Result<(), ServiceError> {
        let (said, mut is_ready) = oneshot::channel();
        let work = self.work.clone().run(Ready { said }, self.tally.shutdown.clone());
        // A task of its own, so that a panic stays with it.
        let task = tokio::spawn(work);
        // When this is dropped, nobody else would stop it.
        let _abort = AbortOnDrop(task.abort_handle());
        let mut ended = std::pin::pin!(async {
            match task.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(ServiceError::from(error)),
                Err(error) => Err(failure(panic_text(error))),
            }
        });
        tokio::select! {
            biased;
            end = self.readiness(&mut is_ready) => match end {
                Readied::Ready => {}
                Readied::TooLate(limit) => {
                    let limit = limit.as_millis();
                    return Err(failure(format!("it was not ready after {limit} ms")));
                }
                // Most often because the work has ended, which says more.
                Readied::Dropped => return match timeout(LAST_WORDS, ended).await {
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(())) if self.tally.shutdown.is_draining() => Ok(()),
                    Ok(Ok(())) => Err(failure("it ended before it was ready")),
                    Err(_) => Err(failure("it gave up saying that it is ready")),
                },
            },
            end = &mut ended => {
                // Both may have come at once.
                if is_ready.try_recv().is_err() {
                    end?;
                    if self.tally.shutdown.is_draining() {
                        return Ok(());
                    }
                    return Err(failure("it ended before it was ready"));
                }
                *ready_at = Some(Instant::now());
                self.status.ready();
                return end;
            }
        }
        *ready_at = Some(Instant::now());
        self.status.ready();
        ended.await
    }

    async fn readiness(&self, is_ready: &mut Receiver<()>) -> Readied {
        let said = |said: Result<(), _>| said.map_or(Readied::Dropped, |()| Readied::Ready);
        match self.options.ready_within {
            None => said(is_ready.await),
            Some(limit) => match timeout(limit, is_ready).await {
                Ok(ready) => said(ready),
                Err(_) => Readied::TooLate(limit),
            },
        }
    }

    fn fail(&self, error: ServiceError) {
        self.tell(Level::Error, &format!("it failed: {error}"));
        self.status.failed(error, false);
    }

    fn tell(&self, level: Level, what: &str) {
        let line = format!("service {}: {what}", self.name);
        self.log.log_with(level, &line, &[("service", self.name.as_str().into())]);
    }
}

enum Readied {
    Ready,
    Dropped,
    TooLate(Duration),
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A failure of which there is nothing but a text.
struct Failure(String);

fn failure(text: impl Into<String>) -> ServiceError {
    Arc::new(Failure(text.into()))
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => format!("panic: {}", crate::app::text_of(payload)),
        Err(error) => error.to_string(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}
