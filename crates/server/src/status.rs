use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::{Bell, ServiceId};

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceState {
    /// It has not been started, or its start was given up.
    #[default]
    New,
    /// It has begun and is not ready yet.
    Starting,
    /// It does its work; services that depend on it may start.
    Ready,
    /// It has failed and is started again after a while.
    Restarting,
    /// It was asked to stop.
    Stopping,
    /// It has ended by itself, or because it was asked to.
    Stopped,
    /// It has failed for good.
    Failed,
}

impl ServiceState {
    /// The word for it in logs and in the public API.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceState::New => "new",
            ServiceState::Starting => "starting",
            ServiceState::Ready => "ready",
            ServiceState::Restarting => "restarting",
            ServiceState::Stopping => "stopping",
            ServiceState::Stopped => "stopped",
            ServiceState::Failed => "failed",
        }
    }
}

/// Why a service failed.
pub type ServiceError = Arc<dyn Error + Send + Sync>;

/// A service has come to another state.
#[derive(Clone, Debug)]
pub struct ServiceEvent {
    /// Which.
    pub service: ServiceId,
    /// Its name.
    pub name: Arc<str>,
    /// The state it is in now.
    pub state: ServiceState,
    /// With `Restarting` and `Failed`: why.
    pub error: Option<ServiceError>,
}

/// Is told of the services of a server, on whatever thread it happens; it must not block.
pub type Observer = Arc<dyn Fn(ServiceEvent) + Send + Sync>;

/// The state of one service, which tells those who want to know when it changes. Cheap to clone.
#[derive(Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

struct Inner {
    service: ServiceId,
    name: Arc<str>,
    now: Mutex<(ServiceState, Option<ServiceError>)>,
    /// It was ready since the server began to start, whatever it is now.
    has_been_ready: AtomicBool,
    observer: Option<Observer>,
    bell: Bell,
}

impl Status {
    pub(crate) fn new(
        service: ServiceId,
        name: &str,
        observer: Option<Observer>,
        bell: Bell,
    ) -> Self {
        let now = Mutex::default();
        let (name, has_been_ready) = (name.into(), AtomicBool::default());
        Status { inner: Arc::new(Inner { service, name, now, has_been_ready, observer, bell }) }
    }

    /// The state it is in.
    pub fn state(&self) -> ServiceState {
        self.inner.now.lock().0
    }

    /// Whether it was ready since the server began to start: it may have failed so soon that nobody saw it.
    pub(crate) fn has_been_ready(&self) -> bool {
        self.inner.has_been_ready.load(Ordering::SeqCst)
    }

    /// The state it is in, and what it last failed of.
    pub fn now(&self) -> (ServiceState, Option<ServiceError>) {
        self.inner.now.lock().clone()
    }

    /// It does its work from now on. Nothing if it was asked to stop meanwhile.
    pub fn ready(&self) {
        self.change(ServiceState::Ready, None, |now| now == ServiceState::Starting);
    }

    /// It has failed, for good or to be started `again`.
    pub fn failed(&self, error: ServiceError, again: bool) {
        let state = if again { ServiceState::Restarting } else { ServiceState::Failed };
        self.change(state, Some(error), |_| true);
    }

    pub(crate) fn set(&self, state: ServiceState) {
        self.change(state, None, |now| now != state);
    }

    /// It has been stopped; one that failed stays so.
    pub(crate) fn stopped(&self) {
        let is_up = |now| !matches!(now, ServiceState::Failed | ServiceState::Stopped);
        self.change(ServiceState::Stopped, None, is_up);
    }

    /// It is asked to stop; nothing if it has ended already.
    pub(crate) fn stopping(&self) {
        let is_up = |now| !matches!(now, ServiceState::Failed | ServiceState::Stopped);
        self.change(ServiceState::Stopping, None, is_up);
    }

    fn change(
        &self,
        state: ServiceState,
        error: Option<ServiceError>,
        may: impl FnOnce(ServiceState) -> bool,
    ) {
        let Inner { service, name, now, has_been_ready, observer, bell } = &*self.inner;
        {
            let mut now = now.lock();
            if !may(now.0) {
                return;
            }
            *now = (state, error.clone());
            match state {
                ServiceState::Ready => has_been_ready.store(true, Ordering::SeqCst),
                ServiceState::New => has_been_ready.store(false, Ordering::SeqCst),
                _ => {}
            }
            // Told with the lock held, so that they are told in the order in which they happened.
            if let Some(observer) = observer {
                observer(ServiceEvent { service: *service, name: name.clone(), state, error });
            }
        }
        bell.ring();
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({}, {})", self.inner.name, self.state().as_str())
    }
}
