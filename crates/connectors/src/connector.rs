use std::time::Duration;

use millrace_error::Result;

use crate::dial::dial;
use crate::pool::Pool;
use crate::resolve::Resolver;
use crate::{Connection, Peer, PoolStats};

/// What a connector is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectorOptions {
    /// Idle connections kept at most, over all shards; zero keeps none.
    pub pool_size: usize,
    /// Runtimes that use it.
    pub shards: usize,
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        ConnectorOptions { pool_size: 1024, shards: 1 }
    }
}

/// Connections to peers, new ones and those left from before. One for a service. The `shard` of
/// its methods is the number of the runtime that the caller runs on.
pub struct Connector {
    pool: Pool,
    resolver: Resolver,
}

impl Connector {
    /// A connector with an empty pool.
    pub fn new(options: ConnectorOptions) -> Self {
        Connector {
            pool: Pool::new(options.pool_size, options.shards),
            resolver: Resolver::default(),
        }
    }

    /// The idle connection to the peer that was used last, if it is still good.
    ///
    /// `careful` asks the system whether the origin has closed it or sent something, for requests
    /// that may not be sent twice. Otherwise what the runtime has already noticed decides.
    pub fn take_idle(&self, shard: usize, peer: &Peer, careful: bool) -> Option<Connection> {
        self.pool.take(shard, peer, careful)
    }

    /// Connects, trying every address of the peer in turn. If the pool is full, an idle
    /// connection of another runtime is taken instead where there is one.
    ///
    /// Fails with `DNS_FAILED`, `CONNECT_REFUSED`, `CONNECT_TIMEOUT`, `CONNECT_FAILED` or
    /// `TLS_FAILED`, which may all be retried. Of several addresses, the last one tried decides.
    pub async fn connect(&self, shard: usize, peer: &Peer) -> Result<Connection> {
        if let Some(connection) = self.pool.borrow(shard, peer) {
            return Ok(connection);
        }
        let dialled = dial(&self.resolver, peer).await?;
        Ok(self.pool.adopt(shard, peer.key.clone(), dialled))
    }

    /// Gives a connection back that is ready for its next request. It goes to the shard that its
    /// socket belongs to, which is the caller's. Closed instead of kept: with `idle_for` zero,
    /// with bytes in its buffer, or if the origin is seen to have closed it. A full pool makes
    /// room by closing the connection that has waited longest.
    pub fn release(&self, shard: usize, connection: Connection, idle_for: Duration) {
        debug_assert_eq!(self.pool.index(shard), connection.shard);
        self.pool.put(connection, idle_for);
    }

    /// Closes idle connections whose time is up or that the origin has closed. Never ends: spawn
    /// it once on each runtime.
    pub async fn sweep(&self, shard: usize) {
        self.pool.sweep(shard).await;
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.pool.clear();
    }

    /// The pool in figures.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }
}
