use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millrace_error::Log;
use millrace_listeners::{BindError, Inherited, ListeningSocket};
use millrace_transport::Address;

use crate::{Bell, Counters, Shutdown, Status};

/// A listening socket, and what says that another process has it too.
pub type SharedSocket = (ListeningSocket, Arc<AtomicBool>);

/// A service of a server, by which it is named to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceId(pub(crate) usize);

impl ServiceId {
    /// Its place among the services, in the order they were added.
    pub fn index(self) -> usize {
        self.0
    }
}

/// When a service is ready, so that those that depend on it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as it accepts.
    AtOnce,
    /// When it says so by its [`Status`], which it does within a time of its own, or fails.
    Told,
}

/// What a server gives to each of its services.
#[derive(Clone)]
pub struct ServiceContext {
    /// How far the service is on its way to the end: behind those that depend on it.
    pub shutdown: Shutdown,
    /// Where log lines go.
    pub log: Arc<dyn Log>,
    /// Rung by the service when it becomes quiet while the server drains.
    pub bell: Bell,
    /// Where it says that it is ready, or has failed.
    pub status: Status,
}

/// One of the things a server runs. The server calls, for all its services, first `bind`, then
/// `launch`, then for each `accept` once those it depends on are ready; at the end, for each once those
/// that depend on it have stopped, `unbind` and, when it is quiet, `stop`. If one of them fails on the
/// way up, the server unbinds and stops them all, and may start them anew.
pub trait Service: Send {
    /// Its name in log lines and errors.
    fn name(&self) -> &str;

    /// What it counts.
    fn counters(&self) -> Arc<Counters>;

    /// Binds every endpoint and says where. If one fails, none stays bound.
    fn bind(&mut self) -> Result<Vec<Address>, BindError> {
        Ok(Vec::new())
    }

    /// Sockets of another process, for its endpoints. Called before `bind`.
    fn inherit(&mut self, inherited: &Arc<Inherited>) {
        let _ = inherited;
    }

    /// Its listening sockets, to be handed over.
    fn share(&self) -> io::Result<Vec<SharedSocket>> {
        Ok(Vec::new())
    }

    /// Whether it could be launched, as far as can be told before.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Starts its runtimes and whatever else can fail.
    fn launch(&mut self, context: &ServiceContext) -> io::Result<()>;

    /// When it is ready.
    fn readiness(&self) -> Readiness {
        Readiness::AtOnce
    }

    /// Begins to serve.
    fn accept(&mut self);

    /// Lets go of its listening sockets.
    fn unbind(&mut self) {}

    /// Ends what is left, cleaning up within `limit`. Called from a thread that may block.
    fn stop(&mut self, limit: Duration);
}
