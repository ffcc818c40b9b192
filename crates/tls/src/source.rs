use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::CertifiedCert;

/// Names remembered at once.
const NAMES: usize = 1024;
/// How long it is remembered that there is no certificate for a name.
const NONE_TTL: Duration = Duration::from_secs(10);

/// A certificate being looked for.
pub type Finding = Pin<Box<dyn Future<Output = Option<CertifiedCert>> + Send>>;

/// Finds certificates for names that none of the listed ones is for.
pub trait CertificateSource: Send + Sync {
    /// The certificate for a name, which is in lower case and what a client chose to ask for.
    fn find(&self, name: String) -> Finding;
}

/// A source, with what it has answered.
pub(crate) struct Asked {
    source: Arc<dyn CertificateSource>,
    ttl: Duration,
    names: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// Counts the uses, to tell which is the latest.
    uses: u64,
}

struct Entry {
    last_use: u64,
    answer: Arc<OnceCell<Answer>>,
}

struct Answer {
    since: Instant,
    config: Option<Arc<ServerConfig>>,
}

impl Asked {
    pub(crate) fn new(source: Arc<dyn CertificateSource>, ttl: Duration) -> Self {
        Asked { source, ttl, names: Mutex::default() }
    }

    /// What a handshake for `name` is done with, made by `prepare` from the answer. All who want
    /// the same name at the same time wait for one answer; should the one who asks go away, the
    /// next asks again.
    pub(crate) async fn find(
        &self,
        name: String,
        prepare: impl Fn(CertifiedCert) -> Arc<ServerConfig>,
    ) -> Option<Arc<ServerConfig>> {
        let answer = self.entry(&name);
        let ask = || async {
            let config = self.source.find(name).await.map(prepare);
            Answer { since: Instant::now(), config }
        };
        answer.get_or_init(ask).await.config.clone()
    }

    fn entry(&self, name: &str) -> Arc<OnceCell<Answer>> {
        let now = Instant::now();
        let mut table = self.names.lock();
        table.uses += 1;
        let uses = table.uses;
        if let Some(entry) = table.entries.get_mut(name)
            && entry.answer.get().is_none_or(|answer| answer.is_fresh(now, self.ttl))
        {
            entry.last_use = uses;
            return entry.answer.clone();
        }
        if table.entries.len() >= NAMES && !table.entries.contains_key(name) {
            table.drop_oldest();
        }
        let answer = Arc::new(OnceCell::new());
        table.entries.insert(name.into(), Entry { last_use: uses, answer: answer.clone() });
        answer
    }
}

impl Table {
    /// Looks at all of them, which is little work next to a handshake.
    fn drop_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_use);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.entries.remove(&name);
        }
    }
}

impl Answer {
    fn is_fresh(&self, now: Instant, ttl: Duration) -> bool {
        let ttl = if self.config.is_some() { ttl } else { NONE_TTL.min(ttl) };
        now.saturating_duration_since(self.since) < ttl
    }
}
