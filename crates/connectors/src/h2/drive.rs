use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep_until};

use super::connection::{H2Connection, Rest};
use super::handshake::Driven;
use super::meter::Meter;
use super::pool::H2Pool;

/// How long the answer to a ping may take at most.
const PONG_WAIT: Duration = Duration::from_secs(5);
/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How much rarer pings become with each that is answered while there is nothing else. Servers of
/// gRPC allow for two that come less than five minutes after the one before.
const PATIENCE: u32 = 4;
/// The rarest that they become.
const RAREST: Duration = Duration::from_secs(600);

/// The task of a connection: moves its frames, pings it, and ends it.
pub(super) struct Driver {
    pub(super) driven: Driven,
    pub(super) shared: Arc<H2Connection>,
    pub(super) pool: Arc<H2Pool>,
    pub(super) ping_interval: Option<Duration>,
}

impl Driver {
    pub(super) async fn run(self) {
        let Driver { mut driven, shared, pool, ping_interval } = self;
        let mut watch = Watch::new(driven.ping_pong(), ping_interval);
        // Also where the runtime ends and drops this task.
        let mut end = End { shared: Arc::clone(&shared), pool, cause: None };
        let mut close_by = None;
        loop {
            let rest = match shared.rest() {
                Rest::Busy => None,
                Rest::Until(until) => Some(until),
                Rest::Over => Some(*close_by.get_or_insert_with(|| Instant::now() + GOODBYE)),
            };
            watch.heed(&shared.is_quiet);
            let wake = rest.into_iter().chain(watch.next).min();
            tokio::select! {
                biased;
                () = turns(&mut driven, &shared.meter) => return,
                () = watch.pong() => watch.answered(&shared),
                () = shared.bell.notified() => {}
                () = at(wake) => {
                    if close_by.is_some_and(|end| end <= Instant::now()) {
                        return;
                    }
                    if watch.is_late(shared.meter.read()) {
                        end.cause = Some("the origin did not answer a ping");
                        return;
                    }
                }
            }
        }
    }
}

/// Takes the connection out of the pool when its task ends, however it does.
struct End {
    shared: Arc<H2Connection>,
    pool: Arc<H2Pool>,
    cause: Option<&'static str>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.ended(self.cause);
        self.pool.remove(&self.shared);
    }
}

/// The pings of one connection.
struct Watch {
    ping: Option<PingPong>,
    interval: Duration,
    /// How long the connection may be silent now.
    patience: Duration,
    /// When the next ping is due, or the answer to the last.
    next: Option<Instant>,
    /// What the connection had read when it was last looked at.
    read: u64,
    /// A ping is under way.
    is_waiting: bool,
}

impl Watch {
    fn new(ping: Option<PingPong>, interval: Option<Duration>) -> Self {
        let interval = interval.filter(|interval| !interval.is_zero());
        let next = interval.and_then(|interval| Instant::now().checked_add(interval));
        let ping = ping.filter(|_| next.is_some());
        let interval = interval.unwrap_or_default();
        Watch { ping, interval, patience: interval, next, read: 0, is_waiting: false }
    }

    /// A stream was opened since pings became rare: it shall not wait long for a dead connection.
    fn heed(&mut self, is_quiet: &AtomicBool) {
        if self.patience > self.interval && !is_quiet.load(Ordering::Acquire) {
            self.patience = self.interval;
            self.next = self.next.min(Instant::now().checked_add(self.interval));
        }
    }

    /// Sends a ping if one is due. Whether the answer to the last is late, and nothing else has come
    /// in its place.
    fn is_late(&mut self, read: u64) -> bool {
        let now = Instant::now();
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let Some(ping) = &mut self.ping else { return false };
        let is_silent = std::mem::replace(&mut self.read, read) == read;
        let wait = match (self.is_waiting, is_silent) {
            (true, true) => return true,
            (true, false) => self.interval.min(PONG_WAIT),
            (false, true) => {
                // An error says that the connection is ending.
                let _ = ping.send_ping(Ping::opaque());
                self.is_waiting = true;
                self.interval.min(PONG_WAIT)
            }
            (false, false) => {
                self.patience = self.interval;
                self.interval
            }
        };
        self.next = now.checked_add(wait);
        false
    }

    /// Ready when the answer to a ping has come, or none will.
    async fn pong(&mut self) {
        let (Some(ping), true) = (&mut self.ping, self.is_waiting) else {
            return std::future::pending().await;
        };
        if poll_fn(|cx| ping.poll_pong(cx)).await.is_err() {
            // The connection is ending, and that says it better.
            self.ping = None;
        }
    }

    fn answered(&mut self, shared: &H2Connection) {
        if self.ping.is_none() {
            self.next = None;
            return;
        }
        self.is_waiting = false;
        self.read = shared.meter.read();
        self.patience = (self.patience * PATIENCE).min(RAREST).max(self.interval);
        shared.is_quiet.store(true, Ordering::Release);
        self.next = Instant::now().checked_add(self.patience);
    }
}

/// Moves the frames, a turn at a time. Ready when the connection has ended; how, its streams were
/// told.
async fn turns(driven: &mut Driven, meter: &Meter) {
    poll_fn(|cx| {
        meter.begin_turn();
        Pin::new(&mut *driven).poll(cx).map(|_| ())
    })
    .await;
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
