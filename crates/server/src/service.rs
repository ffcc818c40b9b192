use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_error::Log;
use millrace_listeners::{BindError, Bound, Inherited};
use millrace_transport::Address;

use crate::{Bell, Counters, Shutdown};

/// What a server gives to each of its services.
#[derive(Clone)]
pub struct ServiceContext {
    /// How far the server is on its way to the end.
    pub shutdown: Shutdown,
    /// Where log lines go.
    pub log: Arc<dyn Log>,
    /// Rung by the service when it becomes quiet while the server drains.
    pub bell: Bell,
}

/// One of the things a server runs. The server calls, for all its services, first `bind`, then
/// `launch`, then `accept`; at the end `unbind` and, when all are quiet, `stop`. If one of them
/// fails on the way up, the server unbinds and stops them all.
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
    fn bound(&self) -> Vec<&Bound> {
        Vec::new()
    }

    /// Starts its runtimes and whatever else can fail.
    fn launch(&mut self, context: &ServiceContext) -> io::Result<()>;

    /// Begins to serve.
    fn accept(&mut self);

    /// Lets go of its listening sockets.
    fn unbind(&mut self) {}

    /// Ends what is left, cleaning up within `limit`. Called from a thread that may block.
    fn stop(&mut self, limit: Duration);
}
