use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_error::{Level, Log};
use millrace_transport::{Address, Stream, TlsInfo};
use tokio::time::Instant;

use crate::{Counters, Shutdown};

/// What is known of a connection when it comes in.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Unique in this process.
    pub id: u64,
    /// The address the client asked for.
    pub local: Address,
    /// The client's address.
    pub remote: Address,
    /// The runtime it is served on, by its place within the service.
    pub runtime: usize,
    /// When it was accepted; over TLS, when its handshake was done.
    pub accepted: Instant,
    /// What its TLS handshake came to; none in the clear.
    pub tls: Option<Arc<TlsInfo>>,
    /// What its service has done so far.
    pub counters: Arc<Counters>,
}

impl ConnInfo {
    /// The number of another connection.
    pub fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts and logs a panic that was kept to this connection, or to one request of it.
    pub fn report_panic(&self, payload: Box<dyn Any + Send>, log: &dyn Log) {
        self.counters.count_panic();
        let ConnInfo { id, remote, .. } = self;
        let what = text_of(payload);
        let line = format!("connection {id} from {remote}: panic: {what}");
        let (id, client) = (id.to_string(), remote.to_string());
        let fields = [("connection", id.as_str().into()), ("client", client.as_str().into())];
        log.log_with(Level::Error, &line, &fields);
    }
}

pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("unknown").to_owned(),
    }
}

/// What a service does with its connections.
pub trait ServerApp: Send + Sync + 'static {
    /// Serves a connection until it ends. A stream that is returned is served again, unless the
    /// server is draining. The future is dropped when the grace is over.
    fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> impl Future<Output = Option<Stream>> + Send;

    /// Called once, when the service's last connection has ended, before its runtimes stop.
    fn cleanup(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Called on each runtime before it accepts; tasks may be spawned from here.
    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        let _ = runtime;
    }
}
