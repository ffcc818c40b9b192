use std::sync::Arc;
use std::time::Duration;

use millrace_error::Result;

use crate::dial::{Dialled, Use, dial, dial_by};
use crate::h2::{H2Pool, OldPeers, Reached};
use crate::pool::Pool;
use crate::resolve::Resolver;
use crate::{Connection, Dialer, Link, Peer, PeerKey, PoolStats, Protocol};

/// What a connector is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectorOptions {
    /// Idle connections kept at most, over all shards; zero keeps none.
    pub pool_size: usize,
    /// Runtimes that use it.
    pub shards: usize,
    /// The largest list of fields that an origin may send over HTTP/2, as it counts them: with 32
    /// bytes more for each field (RFC 9113 §6.5.2).
    pub max_header_list: u32,
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        ConnectorOptions { pool_size: 1024, shards: 1, max_header_list: 68 * 1024 }
    }
}

/// Connections to peers, new ones and those left from before. One for a service. The `shard` of
/// its methods is the number of the runtime that the caller runs on.
pub struct Connector {
    pool: Arc<Pool>,
    h2: Arc<H2Pool>,
    old: Arc<OldPeers>,
    resolver: Resolver,
    dialer: Option<Arc<dyn Dialer>>,
}

impl Connector {
    /// A connector with an empty pool.
    pub fn new(options: ConnectorOptions) -> Self {
        let ConnectorOptions { pool_size, shards, max_header_list } = options;
        let pool = Arc::new(Pool::new(pool_size, shards));
        let old = Arc::<OldPeers>::default();
        let h2 = H2Pool::new(Arc::clone(&pool), Arc::clone(&old), shards, max_header_list);
        let resolver = Resolver::default();
        Connector { pool, h2: Arc::new(h2), old, resolver, dialer: None }
    }

    /// The same with connections that `dialer` makes in the place of the network.
    #[must_use]
    pub fn dialled_by(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// What is there to send a request to the peer on: a place on an HTTP/2 connection, or an idle
    /// HTTP/1.1 connection as [`Connector::take_idle`] finds it.
    pub fn take(&self, shard: usize, peer: &Peer, careful: bool) -> Option<Link> {
        if peer.options.protocol != Protocol::H1 && !self.old.contains(&peer.key) {
            let slot = self.h2.take(shard, peer);
            if slot.is_some() || peer.options.protocol == Protocol::H2 {
                return slot.map(Link::H2);
            }
        }
        self.take_idle(shard, peer, careful).map(Link::H1)
    }

    /// Something to send a request to the peer on: in HTTP/2 a place on a connection that is there
    /// or that is made for all who want one at the same time, otherwise a connection as
    /// [`Connector::connect`] makes it. To be called on the runtime of the shard: the connection
    /// becomes a task of it.
    ///
    /// Beside the errors of `connect` it may fail with `UPSTREAM_INVALID` where an origin does not
    /// speak HTTP/2. Nothing was sent then, and all of them may be retried.
    pub async fn reach(&self, shard: usize, peer: &Peer) -> Result<Link> {
        loop {
            if peer.options.protocol == Protocol::H1 {
                return self.connect(shard, peer).await.map(Link::H1);
            }
            if self.old.contains(&peer.key) {
                return self.connect(shard, &peer.in_http_1()).await.map(Link::H1);
            }
            match self.h2.reach(shard, peer, || self.dial(shard, peer)).await? {
                Reached::Slot(slot) => return Ok(Link::H2(slot)),
                Reached::Old(connection) => return Ok(Link::H1(connection)),
                Reached::Again => {}
            }
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
        self.dial(shard, peer).await
    }

    /// Connects as [`Connector::connect`] does, for bytes that are no requests: always anew, and over
    /// TLS without a word about what they are (ALPN), unless the TLS options have one. Such a
    /// connection is dropped in the end, not released.
    pub async fn open(&self, shard: usize, peer: &Peer) -> Result<Connection> {
        let dialled = self.dialled(peer, Use::Tunnel).await?;
        Ok(self.pool.adopt(shard, peer.key.clone(), dialled))
    }

    async fn dial(&self, shard: usize, peer: &Peer) -> Result<Connection> {
        let dialled = self.dialled(peer, Use::Http).await?;
        Ok(self.pool.adopt(shard, peer.key.clone(), dialled))
    }

    async fn dialled(&self, peer: &Peer, purpose: Use) -> Result<Dialled> {
        match &self.dialer {
            None => dial(&self.resolver, peer, purpose).await,
            Some(dialer) => dial_by(&**dialer, peer).await,
        }
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

    /// Closes all idle connections. HTTP/2 connections with streams take no more, and end with the
    /// last of them.
    pub fn clear(&self) {
        self.pool.clear();
        self.h2.clear();
    }

    /// Ends the connections of this key, which nobody will ask for any more: those that are in use when
    /// they are not.
    pub fn forget(&self, key: &PeerKey) {
        self.pool.forget(key);
        self.h2.forget(key);
    }

    /// The pool in figures.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::PeerOptions;

    #[tokio::test]
    async fn a_peer_that_wants_http_1_gets_it_whatever_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for protocol in [Protocol::H2, Protocol::Auto] {
            let connector = Connector::new(ConnectorOptions::default());
            let options = PeerOptions { protocol, ..PeerOptions::default() };
            let peer = Peer::new(1, address.into(), options);
            connector.old.remember(&peer.key);
            let link = connector.reach(0, &peer).await.unwrap();
            let Link::H1(connection) = link else { panic!("{link:?}") };
            connector.release(0, connection, Duration::from_secs(1));
            assert!(matches!(connector.take(0, &peer, true), Some(Link::H1(_))));
        }
    }
}
