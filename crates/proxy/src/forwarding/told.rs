use std::fmt;
use std::sync::Arc;

use millrace_connectors::{Connector, PeerKey};
use parking_lot::Mutex;

/// How many peers, and clients behind a trusted proxy, are remembered of one connection. The idle
/// connections of further ones end by their time-out.
const MOST: usize = 256;

/// Connections to origins that are told whose they are, and end with that connection.
pub(super) struct Told {
    connector: Arc<Connector>,
    keys: Mutex<Vec<PeerKey>>,
}

impl Told {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Told { connector, keys: Mutex::default() }
    }

    pub(super) fn remember(&self, key: &PeerKey) {
        let mut keys = self.keys.lock();
        if keys.len() < MOST && !keys.contains(key) {
            keys.push(key.clone());
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("keys", &self.keys.lock().len()).finish_non_exhaustive()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.keys.get_mut().iter().for_each(|key| self.connector.forget(key));
    }
}
