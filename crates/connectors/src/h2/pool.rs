use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use millrace_error::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::connection::{H2Connection, H2Slot, Parts};
use super::drive::Driver;
use super::failure::Failure;
use super::handshake::handshake;
use super::meter::Meter;
use super::old::OldPeers;
use crate::key::KeyHasher;
use crate::pool::Pool;
use crate::{Connection, Peer, PeerKey, Protocol};

type Shard = Mutex<HashMap<PeerKey, Entry, BuildHasherDefault<KeyHasher>>>;
/// One connection being made, by the first who waits for it. If that one goes away, the next does.
type Attempt = OnceCell<std::result::Result<(), Failure>>;

/// The HTTP/2 connections of a service, apart for each runtime.
pub(crate) struct H2Pool {
    shards: Box<[Shard]>,
    pool: Arc<Pool>,
    old: Arc<OldPeers>,
    max_header_list: u32,
}

/// What there is of one peer on one runtime.
#[derive(Default)]
struct Entry {
    connections: Vec<Arc<H2Connection>>,
    attempts: Vec<Waiting>,
    /// How many streams the last connection could carry; zero before the first. A new one is
    /// expected to do the same.
    streams: usize,
}

struct Waiting {
    attempt: Arc<Attempt>,
    seats: usize,
}

/// Someone who waits for a connection.
struct Seat<'a> {
    shard: &'a Shard,
    key: &'a PeerKey,
    attempt: Arc<Attempt>,
}

/// What came of looking for a place.
pub(crate) enum Reached {
    /// A place on a connection.
    Slot(H2Slot),
    /// The origin speaks HTTP/1.1: this is the connection that found out.
    Old(Connection),
    /// Somebody else has made a connection. It may be full already, or speak HTTP/1.1.
    Again,
}

impl H2Pool {
    pub(crate) fn new(
        pool: Arc<Pool>,
        old: Arc<OldPeers>,
        shards: usize,
        max_header_list: u32,
    ) -> Self {
        let shards = (0..shards.max(1)).map(|_| Shard::default()).collect();
        H2Pool { shards, pool, old, max_header_list }
    }

    fn shard(&self, index: usize) -> &Shard {
        &self.shards[index % self.shards.len()]
    }

    /// A place on a connection that is there.
    pub(crate) fn take(&self, shard: usize, peer: &Peer) -> Option<H2Slot> {
        self.shard(shard).lock().get(&peer.key)?.slot(peer)
    }

    /// A place on a connection that is there, or that `dial` makes; one connection for as many
    /// callers as it will carry.
    pub(crate) async fn reach<F>(
        self: &Arc<Self>,
        shard: usize,
        peer: &Peer,
        dial: impl FnOnce() -> F,
    ) -> Result<Reached>
    where
        F: Future<Output = Result<Connection>>,
    {
        let seat = match self.seat(shard, peer) {
            Ok(slot) => return Ok(Reached::Slot(slot)),
            Err(seat) => seat,
        };
        let mut own = None;
        let made = seat
            .attempt
            .get_or_init(|| async {
                let made = self.make(dial, peer).await;
                own = Some(made.map_err(|error| Failure::of(&error))?);
                Ok(())
            })
            .await;
        match (own, made) {
            (Some(reached), _) => Ok(reached),
            (None, Ok(())) => Ok(Reached::Again),
            (None, Err(failure)) => Err(failure.error()),
        }
    }

    fn seat<'a>(&'a self, shard: usize, peer: &'a Peer) -> std::result::Result<H2Slot, Seat<'a>> {
        let shard = self.shard(shard);
        let mut map = shard.lock();
        let entry = map.entry(peer.key.clone()).or_default();
        if let Some(slot) = entry.slot(peer) {
            return Ok(slot);
        }
        let streams = match entry.streams {
            0 => peer.options.h2_max_streams as usize,
            known => known,
        };
        let free =
            |waiting: &&mut Waiting| waiting.seats < streams && !waiting.attempt.initialized();
        let attempt = match entry.attempts.iter_mut().find(free) {
            Some(waiting) => {
                waiting.seats += 1;
                Arc::clone(&waiting.attempt)
            }
            None => {
                let attempt = Arc::<Attempt>::default();
                entry.attempts.push(Waiting { attempt: Arc::clone(&attempt), seats: 1 });
                attempt
            }
        };
        Err(Seat { shard, key: &peer.key, attempt })
    }

    async fn make<F>(self: &Arc<Self>, dial: impl FnOnce() -> F, peer: &Peer) -> Result<Reached>
    where
        F: Future<Output = Result<Connection>>,
    {
        let connection = dial().await?;
        if !speaks_h2(&connection, peer)? {
            self.old.remember(&peer.key);
            return Ok(Reached::Old(connection));
        }
        let meter = Arc::<Meter>::default();
        let Connection { stream, remote, tls, shard, key, open, .. } = connection;
        let (send, driven) = handshake(stream, peer, self.max_header_list, &meter).await?;
        let max_streams = peer.options.h2_max_streams;
        let (pool, old) = (Arc::clone(&self.pool), Arc::clone(&self.old));
        let parts = Parts { key, shard, remote, tls, open, send, meter, max_streams, pool, old };
        let shared = Arc::new(H2Connection::new(parts));
        let slot = shared.reserve(peer.options.idle_timeout).ok_or_else(|| {
            Error::new(Code::ConnectFailed, "the origin closed the connection").retry(true)
        })?;
        self.add(&shared);
        let driver = Driver {
            driven,
            shared,
            pool: Arc::clone(self),
            ping_interval: peer.options.h2_ping_interval,
        };
        tokio::spawn(driver.run());
        Ok(Reached::Slot(slot))
    }

    fn add(&self, connection: &Arc<H2Connection>) {
        let streams = connection.limit();
        let mut map = self.shard(connection.shard).lock();
        let entry = map.entry(connection.key.clone()).or_default();
        entry.connections.push(Arc::clone(connection));
        entry.streams = streams;
    }

    pub(super) fn remove(&self, connection: &Arc<H2Connection>) {
        let mut map = self.shard(connection.shard).lock();
        if let Some(entry) = map.get_mut(&connection.key) {
            entry.connections.retain(|other| !Arc::ptr_eq(other, connection));
            if entry.is_empty() {
                map.remove(&connection.key);
            }
        }
    }

    /// Ends all connections: those without streams at once, the others with their last.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all: Vec<_> =
                shard.lock().values().flat_map(|entry| entry.connections.clone()).collect();
            all.iter().for_each(|connection| connection.retire());
        }
    }

    /// Ends those for this key in the same way.
    pub(crate) fn forget(&self, key: &PeerKey) {
        for shard in &self.shards {
            let found = shard.lock().get(key).map(|entry| entry.connections.clone());
            found.iter().flatten().for_each(|connection| connection.retire());
        }
    }
}

/// Whether a new connection is one for HTTP/2.
fn speaks_h2(connection: &Connection, peer: &Peer) -> Result<bool> {
    let asked = peer.options.protocol == Protocol::H2;
    match &connection.tls {
        Some(tls) if !tls.is_h2() && asked => {
            let message = "the origin did not agree on HTTP/2 (ALPN)";
            Err(Error::new(Code::ConnectFailed, message).retry(true))
        }
        Some(tls) => Ok(tls.is_h2()),
        None => Ok(asked),
    }
}

impl Entry {
    /// The first connections are filled first, so that the others run empty and end.
    fn slot(&self, peer: &Peer) -> Option<H2Slot> {
        let idle_for = peer.options.idle_timeout;
        self.connections.iter().find_map(|connection| connection.reserve(idle_for))
    }

    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.attempts.is_empty()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut map = self.shard.lock();
        let Some(entry) = map.get_mut(self.key) else { return };
        for waiting in &mut entry.attempts {
            if Arc::ptr_eq(&waiting.attempt, &self.attempt) {
                waiting.seats -= 1;
            }
        }
        entry.attempts.retain(|waiting| waiting.seats > 0 && !waiting.attempt.initialized());
        if entry.is_empty() {
            map.remove(self.key);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
