use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_transport::{Address, Networks};
use tokio::time::timeout;

use super::Refusal;

/// Which clients are taken, asked before any handshake: first those that are denied, then those that are
/// allowed, then a check of one's own.
#[derive(Debug, Default)]
pub struct ConnectionFilter {
    /// Those that may connect; none: everybody.
    pub allow: Option<Networks>,
    /// Those that may not, whatever else is said of them.
    pub deny: Networks,
    /// Asked of those that the lists let through.
    pub check: Option<Check>,
}

/// A check of one's own.
pub struct Check {
    /// What is asked.
    pub check: Arc<dyn ConnectionCheck>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether a connection is taken of which the check says nothing: it failed, is asked too much, or
    /// takes too long.
    pub or_else: bool,
}

/// Answers whether a connection is taken; `None` where it cannot be said.
pub type Verdict = Pin<Box<dyn Future<Output = Option<bool>> + Send>>;

/// Says of connections whether they are taken.
pub trait ConnectionCheck: Send + Sync {
    /// Asked once for each connection, before anything else of it is read.
    fn check(&self, client: &Address, server: &Address) -> Verdict;
}

impl ConnectionFilter {
    /// What the lists say.
    pub fn look_up(&self, client: &Address) -> Result<(), Refusal> {
        if self.deny.contains(client) {
            return Err(Refusal::Denied);
        }
        match &self.allow {
            Some(allowed) if !allowed.contains(client) => Err(Refusal::NotAllowed),
            _ => Ok(()),
        }
    }

    /// What the check says.
    pub async fn check(&self, client: &Address, server: &Address) -> Result<(), Refusal> {
        let Some(Check { check, timeout: limit, or_else }) = &self.check else { return Ok(()) };
        match timeout(*limit, check.check(client, server)).await.ok().flatten() {
            Some(true) => Ok(()),
            Some(false) => Err(Refusal::Checked),
            None if *or_else => Ok(()),
            None => Err(Refusal::Unchecked),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("timeout", &self.timeout)
            .field("or_else", &self.or_else)
            .finish_non_exhaustive()
    }
}
