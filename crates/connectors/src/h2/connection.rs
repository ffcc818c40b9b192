use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use millrace_transport::{Address, TlsInfo};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::OldPeers;
use super::meter::Meter;
use crate::PeerKey;
use crate::pool::{Pool, add};
use crate::stats::OpenGuard;

/// A connection as those who share it see it. Its task owns the socket.
pub(super) struct H2Connection {
    pub(super) key: PeerKey,
    pub(super) shard: usize,
    pub(super) meter: Arc<Meter>,
    /// Told when the last stream ends, and when one is opened on a quiet connection.
    pub(super) bell: Notify,
    /// A ping was answered since the last stream was opened.
    pub(super) is_quiet: AtomicBool,
    remote: Address,
    tls: Option<Arc<TlsInfo>>,
    max_streams: usize,
    state: Mutex<State>,
    /// Why this side has dropped it, if it has.
    cause: OnceLock<&'static str>,
    pool: Arc<Pool>,
    old: Arc<OldPeers>,
    _open: OpenGuard,
}

struct State {
    /// None once no stream may be added. h2 ends the connection when all of these are gone and the
    /// last stream has ended.
    send: Option<SendRequest<Bytes>>,
    /// Slots handed out.
    active: usize,
    /// Whether a slot was ever handed out.
    served: bool,
    /// Since when there is no stream, and until when that may last; counted by the pool as idle.
    idle: Option<Instant>,
}

/// Whether a connection may stay without streams.
pub(super) enum Rest {
    /// It has streams.
    Busy,
    /// Until then.
    Until(Instant),
    /// It is on its way out.
    Over,
}

/// What a connection is made of.
pub(super) struct Parts {
    pub(super) key: PeerKey,
    pub(super) shard: usize,
    pub(super) remote: Address,
    pub(super) tls: Option<Arc<TlsInfo>>,
    pub(super) open: OpenGuard,
    pub(super) send: SendRequest<Bytes>,
    pub(super) meter: Arc<Meter>,
    pub(super) max_streams: u32,
    pub(super) pool: Arc<Pool>,
    pub(super) old: Arc<OldPeers>,
}

impl H2Connection {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { key, shard, remote, tls, open, send, meter, max_streams, pool, old } = parts;
        let state = State { send: Some(send), active: 0, served: false, idle: None };
        H2Connection {
            key,
            shard,
            meter,
            bell: Notify::new(),
            is_quiet: AtomicBool::new(false),
            remote,
            tls,
            max_streams: max_streams.max(1) as usize,
            state: Mutex::new(state),
            cause: OnceLock::new(),
            pool,
            old,
            _open: open,
        }
    }

    /// How many streams it carries at once, as far as is known; zero if it takes no more.
    pub(super) fn limit(&self) -> usize {
        let state = self.state.lock();
        let allowed = state.send.as_ref().map_or(0, SendRequest::current_max_send_streams);
        allowed.min(self.max_streams)
    }

    /// The place of one more stream, if there is one. `idle_for` is how long the connection may
    /// stay without streams afterwards.
    pub(super) fn reserve(self: &Arc<Self>, idle_for: Duration) -> Option<H2Slot> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let send = state.send.as_mut()?;
        // Tells of a GOAWAY and of a connection that has failed; never waits, as no stream of ours
        // is left to h2's own queue.
        let dead =
            matches!(send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)));
        if dead {
            drop(guard);
            self.retire();
            return None;
        }
        if state.active >= send.current_max_send_streams().min(self.max_streams) {
            return None;
        }
        let send = send.clone();
        state.active += 1;
        let is_reused = std::mem::replace(&mut state.served, true);
        if state.idle.take().is_some() {
            self.pool.leave();
        }
        drop(guard);
        if self.is_quiet.load(Ordering::Relaxed) && self.is_quiet.swap(false, Ordering::AcqRel) {
            self.bell.notify_one();
        }
        if is_reused {
            add(&self.pool.counters(self.shard).reused, 1);
        }
        Some(H2Slot { connection: Arc::clone(self), send, is_reused, idle_for })
    }

    /// Takes no more streams; ends when those it has have ended.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock();
        let send = state.send.take();
        if state.idle.take().is_some() {
            self.pool.leave();
        }
        drop(state);
        drop(send);
        self.bell.notify_one();
    }

    /// A stream has ended.
    fn give_back(&self, idle_for: Duration) {
        let mut state = self.state.lock();
        state.active -= 1;
        if state.active > 0 {
            return;
        }
        let stays = state.send.is_some() && !idle_for.is_zero() && self.pool.admit(self.shard);
        let send = if stays {
            // A day is as good as forever, and cannot overflow.
            state.idle = Some(Instant::now() + idle_for.min(Duration::from_secs(86_400)));
            None
        } else {
            state.send.take()
        };
        drop(state);
        drop(send);
        self.bell.notify_one();
    }

    /// Whether it may stay, and until when. Ends its rest if its time is up.
    pub(super) fn rest(&self) -> Rest {
        let state = self.state.lock();
        match state.idle {
            Some(until) if until <= Instant::now() => {
                drop(state);
                add(&self.pool.counters(self.shard).expired, 1);
                self.retire();
                Rest::Over
            }
            Some(until) => Rest::Until(until),
            None if state.active == 0 && state.send.is_none() => Rest::Over,
            None => Rest::Busy,
        }
    }

    /// The socket is closed. `cause` = why, if it was this side's decision.
    pub(super) fn ended(&self, cause: Option<&'static str>) {
        if let Some(cause) = cause {
            let _ = self.cause.set(cause);
        } else if self.state.lock().idle.is_some() {
            add(&self.pool.counters(self.shard).closed_by_origin, 1);
        }
        self.retire();
    }
}

/// The place of one stream on a connection that others use too. Dropping it frees the place: what
/// belongs to the stream has to be dropped before.
pub struct H2Slot {
    connection: Arc<H2Connection>,
    send: SendRequest<Bytes>,
    is_reused: bool,
    idle_for: Duration,
}

impl H2Slot {
    /// What the request is sent with.
    pub fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.send
    }

    /// The address that the connection leads to, after names are resolved.
    pub fn remote(&self) -> &Address {
        &self.connection.remote
    }

    /// What the connection's TLS handshake came to; none in the clear.
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        self.connection.tls.as_ref()
    }

    /// Whether the connection had served a request before.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Bytes that the connection has written, for all its streams. As long as it stays the same,
    /// nothing of a stream has left this process.
    pub fn written(&self) -> u64 {
        self.connection.meter.written()
    }

    /// Why this side has dropped the connection, if it has.
    pub fn cause(&self) -> Option<&'static str> {
        self.connection.cause.get().copied()
    }

    /// The connection was seen to fail: nobody else shall be given it.
    pub fn retire(&self) {
        self.connection.retire();
    }

    /// The origin wants HTTP/1.1. Whether the peer will be spoken to in it from now on: in the
    /// clear there is nothing to agree on it by.
    pub fn require_h1(&self) -> bool {
        let agreed = self.connection.tls.is_some();
        if agreed {
            self.connection.old.remember(&self.connection.key);
            self.connection.retire();
        }
        agreed
    }
}

impl Drop for H2Slot {
    fn drop(&mut self) {
        self.connection.give_back(self.idle_for);
    }
}

impl fmt::Debug for H2Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Slot")
            .field("remote", self.remote())
            .field("shard", &self.connection.shard)
            .field("is_reused", &self.is_reused)
            .finish_non_exhaustive()
    }
}
