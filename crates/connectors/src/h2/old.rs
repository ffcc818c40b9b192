use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::PeerKey;

/// How long a peer is spoken to in HTTP/1.1 before HTTP/2 is tried again.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Peers remembered at once.
const PEERS: usize = 1024;

/// Peers that could have spoken HTTP/2 and want HTTP/1.1: ALPN chose it, or the origin asked for it
/// with `HTTP_1_1_REQUIRED`.
#[derive(Default)]
pub(crate) struct OldPeers {
    any: AtomicBool,
    until: Mutex<HashMap<PeerKey, Instant>>,
}

impl OldPeers {
    pub(crate) fn remember(&self, key: &PeerKey) {
        let now = Instant::now();
        let mut until = self.until.lock();
        if until.len() >= PEERS && !until.contains_key(key) {
            until.retain(|_, end| *end > now);
            // Forgotten too early, a peer costs one more connection that tells it again.
            if until.len() >= PEERS {
                until.clear();
            }
        }
        until.insert(key.clone(), now + REMEMBERED_FOR);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn contains(&self, key: &PeerKey) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut until = self.until.lock();
        match until.get(key) {
            Some(end) if *end > Instant::now() => true,
            Some(_) => {
                until.remove(key);
                self.any.store(!until.is_empty(), Ordering::Release);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PeerAddress, PeerOptions};

    fn key(port: u16) -> PeerKey {
        PeerKey::new(&PeerAddress::host("a", port), &PeerOptions::default(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_wants_http_1_is_remembered_for_a_while() {
        let old = OldPeers::default();
        assert!(!old.contains(&key(1)));
        old.remember(&key(1));
        assert!(old.contains(&key(1)) && !old.contains(&key(2)));
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(!old.contains(&key(1)));
        assert!(!old.any.load(Ordering::Acquire));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let old = OldPeers::default();
        for port in 0..3 * PEERS as u16 {
            old.remember(&key(port));
            assert!(old.until.lock().len() <= PEERS && old.contains(&key(port)));
        }
    }
}
