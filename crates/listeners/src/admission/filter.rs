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

/// Why a check does not say whether a connection is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// It has failed.
    Failed,
    /// It takes longer than this.
    Late(Duration),
    /// It was not asked, as so many connections wait for its answer already.
    TooMany(usize),
}

/// Answers whether a connection is taken, or why that cannot be said.
pub type Verdict = Pin<Box<dyn Future<Output = Result<bool, Unsaid>> + Send>>;

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

    /// What the check says; of a connection that is taken all the same, why it has said nothing.
    pub async fn check(
        &self,
        client: &Address,
        server: &Address,
    ) -> Result<Option<Unsaid>, Refusal> {
        let Some(Check { check, timeout: limit, or_else }) = &self.check else { return Ok(None) };
        let asked = timeout(*limit, check.check(client, server)).await;
        match asked.unwrap_or(Err(Unsaid::Late(*limit))) {
            Ok(true) => Ok(None),
            Ok(false) => Err(Refusal::Checked),
            Err(unsaid) if *or_else => Ok(Some(unsaid)),
            Err(unsaid) => Err(Refusal::Unchecked(unsaid)),
        }
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsaid::Failed => f.write_str("the check failed"),
            Unsaid::Late(limit) => {
                write!(f, "the check said nothing within {} ms", limit.as_millis())
            }
            Unsaid::TooMany(most) => {
                write!(f, "the check was not asked, as {most} connections wait for its answer")
            }
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
