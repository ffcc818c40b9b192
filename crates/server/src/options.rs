use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_error::{Log, NoLog};

use crate::Observer;

/// How a server runs.
#[derive(Clone)]
pub struct ServerOptions {
    /// How long connections and work may take to end, unless `close` is told otherwise; also where a start
    /// fails that some services have come through. Default: 30 s.
    pub grace: Duration,
    /// Where log lines go.
    pub log: Arc<dyn Log>,
    /// Is told when the state of a service changes. Default: nobody.
    pub observer: Option<Observer>,
    /// How another process can take over without losing a request; none: it cannot.
    pub upgrade: Option<UpgradeOptions>,
}

/// How one process takes over from another. Unix only.
#[derive(Clone)]
pub struct UpgradeOptions {
    /// The path of the socket where a successor connects. Its file can be used by this user only.
    pub socket: PathBuf,
    /// Whether to take over from the process that is there now. With nobody there, that is a plain
    /// start and a warning.
    pub take_over: bool,
    /// How long a successor may take from when it has the sockets until it serves.
    pub timeout: Duration,
    /// Called when another process has taken over: the server is to be closed, on another thread, as
    /// closing waits for this to return.
    pub on_handed_over: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl UpgradeOptions {
    /// A plain start, with an upgrade socket there.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        let timeout = Duration::from_secs(60);
        UpgradeOptions { socket: socket.into(), take_over: false, timeout, on_handed_over: None }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        let (grace, log) = (Duration::from_secs(30), Arc::new(NoLog));
        ServerOptions { grace, log, observer: None, upgrade: None }
    }
}

/// How many ended, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Those that ended by themselves.
    pub finished: u64,
    /// Those that were cut at the end of the grace.
    pub cut: u64,
}

/// What became of the work of a server from when it began to drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Requests, of apps that serve such.
    pub requests: Ends,
    /// Connections.
    pub connections: Ends,
}

impl std::iter::Sum for Ends {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Ends::default(), |sum, each| Ends {
            finished: sum.finished + each.finished,
            cut: sum.cut + each.cut,
        })
    }
}
