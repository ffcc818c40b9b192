use std::sync::Arc;
use std::time::Duration;

use millrace_error::{Log, NoLog};

use crate::Observer;

/// How a server runs.
#[derive(Clone)]
pub struct ServerOptions {
    /// How long connections may take to end, unless `close` is told otherwise.
    pub grace: Duration,
    /// Where log lines go.
    pub log: Arc<dyn Log>,
    /// Is told when the state of a service changes. Default: nobody.
    pub observer: Option<Observer>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions { grace: Duration::from_secs(30), log: Arc::new(NoLog), observer: None }
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
