use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    ttl: Duration,
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
            let found = self.source.find(name).await;
            let ttl = found.as_ref().map_or(NONE_TTL, time_left).min(self.ttl);
            Answer { since: Instant::now(), ttl, config: found.map(prepare) }
        };
        answer.get_or_init(ask).await.config.clone()
    }

    /// Asks anew for every name from now on.
    pub(crate) fn forget(&self) {
        self.names.lock().entries.clear();
    }

    fn entry(&self, name: &str) -> Arc<OnceCell<Answer>> {
        let now = Instant::now();
        let mut table = self.names.lock();
        table.uses += 1;
        let uses = table.uses;
        if let Some(entry) = table.entries.get_mut(name)
            && entry.answer.get().is_none_or(|answer| answer.is_fresh(now))
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
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.ttl
    }
}

/// How long the certificate is still valid.
fn time_left(certificate: &CertifiedCert) -> Duration {
    certificate.end.duration_since(SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::server::ResolvesServerCertUsingSni;

    use super::*;
    use crate::provider::provider;

    /// Knows the names that begin with `known`.
    struct Source {
        issued: millrace_test_certs::Issued,
        asked: AtomicUsize,
    }

    impl CertificateSource for Source {
        fn find(&self, name: String) -> Finding {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let issued = &self.issued;
            let found = CertifiedCert::from_pem(&issued.cert_pem, &issued.key_pem).ok();
            let found = found.filter(|_| name.starts_with("known"));
            Box::pin(async { found })
        }
    }

    fn asked() -> (Arc<Source>, Asked) {
        let issued = millrace_test_certs::self_signed(&["known.test"]);
        let source = Arc::new(Source { issued, asked: AtomicUsize::new(0) });
        (source.clone(), Asked::new(source, Duration::from_secs(60)))
    }

    fn config() -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider().clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let resolver = Arc::new(ResolvesServerCertUsingSni::new());
        Arc::new(builder.with_no_client_auth().with_cert_resolver(resolver))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_its_time_and_none_for_a_shorter_one() {
        let ((source, asked), config) = (asked(), config());
        for (seconds, calls) in [(0, 2), (9, 2), (2, 3), (48, 4), (2, 5)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert!(asked.find("known".into(), |_| config.clone()).await.is_some());
            assert!(asked.find("other".into(), |_| config.clone()).await.is_none());
            assert_eq!(source.asked.load(Ordering::SeqCst), calls, "after {seconds} s more");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_no_longer_than_its_certificate_is_valid() {
        let (issued, config) = (millrace_test_certs::self_signed(&["known.test"]), config());
        let mut found = CertifiedCert::from_pem(&issued.cert_pem, &issued.key_pem).unwrap();
        found.end = SystemTime::now() + Duration::from_secs(5);
        let source = Arc::new(Lapsing { found, asked: AtomicUsize::new(0) });
        let asked = Asked::new(source.clone(), Duration::from_secs(60));
        for (seconds, calls) in [(0, 1), (3, 1), (3, 2)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert!(asked.find("known".into(), |_| config.clone()).await.is_some());
            assert_eq!(source.asked.load(Ordering::SeqCst), calls, "after {seconds} s more");
        }
        asked.forget();
        assert!(asked.find("known".into(), |_| config.clone()).await.is_some());
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    }

    /// Has one certificate, which will soon expire.
    struct Lapsing {
        found: CertifiedCert,
        asked: AtomicUsize,
    }

    impl CertificateSource for Lapsing {
        fn find(&self, _name: String) -> Finding {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let found = Some(self.found.clone());
            Box::pin(async { found })
        }
    }

    #[tokio::test]
    async fn the_names_are_bounded_and_the_least_used_goes() {
        let ((source, asked), config) = (asked(), config());
        for number in 0..NAMES * 2 {
            asked.find("known".into(), |_| config.clone()).await;
            asked.find(format!("other{number}"), |_| config.clone()).await;
            assert!(asked.names.lock().entries.len() <= NAMES);
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), NAMES * 2 + 1);
    }

    #[tokio::test]
    async fn one_who_goes_away_leaves_the_question_to_the_next() {
        let (_, asked) = asked();
        let (one, two) = (asked.entry("a"), asked.entry("a"));
        assert!(Arc::ptr_eq(&one, &two));
        let never = one.get_or_init(std::future::pending);
        assert!(tokio::time::timeout(Duration::from_millis(5), never).await.is_err());
        let answer = || async { Answer { since: Instant::now(), ttl: NONE_TTL, config: None } };
        assert!(two.get_or_init(answer).await.config.is_none());
    }
}
