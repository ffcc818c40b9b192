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

/// How the connections ended that were open when a server closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Those that ended by themselves.
    pub finished: u64,
    /// Those that were cut at the end of the grace.
    pub cut: u64,
}
