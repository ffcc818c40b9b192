use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long an answer is used.
const TTL: Duration = Duration::from_secs(5);
/// Names remembered at once.
const NAMES: usize = 1024;

/// Resolves names with the system's resolver, off the runtime's threads. Remembers answers for a
/// short time, and asks once for all who want the same name at the same time.
#[derive(Default)]
pub(crate) struct Resolver {
    names: Mutex<HashMap<String, Arc<Entry>>>,
}

struct Entry {
    asked: Instant,
    answer: OnceCell<Answer>,
}

// The failure as text: everyone who waited for it gets it, and an `io::Error` cannot be cloned.
type Answer = Result<Arc<[IpAddr]>, (io::ErrorKind, String)>;

impl Resolver {
    /// The addresses of a name, at least one, in the order the system prefers.
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        let entry = self.entry(name);
        // If the one who asks is cancelled, the next who waits asks again.
        let answer = entry.answer.get_or_init(|| ask(name)).await;
        answer.clone().map_err(|(kind, text)| io::Error::new(kind, text))
    }

    fn entry(&self, name: &str) -> Arc<Entry> {
        let now = Instant::now();
        let mut names = self.names.lock();
        if let Some(entry) = names.get(name).filter(|entry| entry.is_fresh(now)) {
            return Arc::clone(entry);
        }
        if names.len() >= NAMES && !names.contains_key(name) {
            names.retain(|_, entry| entry.is_fresh(now));
            // All of them fresh: names come in faster than they age, and remembering them is of
            // little use.
            if names.len() >= NAMES {
                names.clear();
            }
        }
        let entry = Arc::new(Entry { asked: now, answer: OnceCell::new() });
        names.insert(name.to_owned(), Arc::clone(&entry));
        entry
    }

    #[cfg(test)]
    pub(crate) fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let answer = OnceCell::new_with(Some(Ok(addresses.into())));
        let entry = Entry { asked: Instant::now(), answer };
        self.names.lock().insert(name.to_owned(), Arc::new(entry));
    }
}

impl Entry {
    /// A failure is for those who waited for it, not for those who come later.
    fn is_fresh(&self, now: Instant) -> bool {
        let failed = matches!(self.answer.get(), Some(Err(_)));
        !failed && now.saturating_duration_since(self.asked) < TTL
    }
}

async fn ask(name: &str) -> Answer {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for ip in found.map(|address| address.ip()) {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
            if addresses.is_empty() {
                return Err((io::ErrorKind::NotFound, "the name has no address".to_owned()));
            }
            Ok(addresses.into())
        }
        Err(error) => Err((error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(resolver: &Resolver) -> usize {
        resolver.names.lock().len()
    }

    #[tokio::test]
    async fn an_answer_is_remembered_for_a_short_time() {
        let resolver = Resolver::default();
        resolver.remember("localhost", &["127.0.0.9".parse().unwrap()]);
        assert_eq!(resolver.resolve("localhost").await.unwrap()[0].to_string(), "127.0.0.9");
        tokio::time::pause();
        tokio::time::advance(TTL).await;
        tokio::time::resume();
        let fresh = resolver.resolve("localhost").await.unwrap();
        assert!(fresh.iter().all(|ip| ip.is_loopback() && ip.to_string() != "127.0.0.9"));
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let resolver = Resolver::default();
        // A space is in no name, so nothing leaves this host.
        let error = resolver.resolve("no name").await.unwrap_err();
        assert!(!error.to_string().is_empty());
        assert!(!resolver.names.lock()["no name"].is_fresh(Instant::now()));
    }

    #[tokio::test]
    async fn names_are_bounded() {
        let resolver = Resolver::default();
        for name in 0..3 * NAMES {
            resolver.remember(&name.to_string(), &[]);
            resolver.entry(&format!("n{name}"));
            assert!(count(&resolver) <= NAMES + 1);
        }
    }

    #[tokio::test]
    async fn all_who_wait_share_one_question() {
        let resolver = Resolver::default();
        let (one, two) = (resolver.entry("a"), resolver.entry("a"));
        assert!(Arc::ptr_eq(&one, &two));
        // The first who asks goes away: the second still gets an answer.
        let asked = one.answer.get_or_init(std::future::pending);
        assert!(tokio::time::timeout(Duration::from_millis(5), asked).await.is_err());
        let answer = two.answer.get_or_init(|| async { Ok(Arc::from([])) }).await;
        assert!(answer.is_ok());
    }
}
