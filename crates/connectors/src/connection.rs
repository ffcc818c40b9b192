use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use millrace_transport::{Address, Stream, TlsInfo};
use tokio::time::Instant;

use crate::PeerKey;
use crate::stats::OpenGuard;

/// A connection to a peer. Dropping it closes it; [`crate::Connector::release`] pools it.
pub struct Connection {
    /// What carries it.
    pub stream: Stream,
    /// What was read and not yet used. Has to be empty for the connection to be pooled.
    pub buf: BytesMut,
    /// The address it leads to, after names are resolved.
    pub remote: Address,
    /// What its TLS handshake came to; none in the clear.
    pub tls: Option<Arc<TlsInfo>>,
    /// When it was made.
    pub created: Instant,
    /// How often it was taken from the pool: zero on a new connection.
    pub reuses: u32,
    pub(crate) shard: usize,
    pub(crate) key: PeerKey,
    // Last: the count goes down when the socket is closed.
    pub(crate) open: OpenGuard,
}

impl Connection {
    /// Whether it has served before, so that the origin may have closed it in the meantime.
    pub fn is_reused(&self) -> bool {
        self.reuses > 0
    }

    /// The shard, and so the runtime, that its socket belongs to.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The peers it may serve.
    pub fn key(&self) -> &PeerKey {
        &self.key
    }

    /// Its stream alone, for one who passes its bytes on and pools nothing. It counts as open until what
    /// comes along is dropped.
    pub fn into_parts(self) -> (Stream, impl Send + Sync + 'static) {
        (self.stream, self.open)
    }

    /// The same connection on the caller's runtime.
    pub(crate) fn moved_to(self, shard: usize) -> io::Result<Self> {
        let Connection { stream, buf, remote, tls, created, reuses, shard: _, key, open } = self;
        let stream = Stream::from_std(stream.into_std()?)?;
        Ok(Connection { stream, buf, remote, tls, created, reuses, shard, key, open })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("remote", &self.remote)
            .field("shard", &self.shard)
            .field("reuses", &self.reuses)
            .finish_non_exhaustive()
    }
}
