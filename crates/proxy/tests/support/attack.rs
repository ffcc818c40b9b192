//! Other clients' requests while one means ill.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::frames::*;
use crate::support::{Answer, PATIENCE, Proxy, ProxyOptions, TestPhases, Wire, millis};

/// What most requests of others may take; it is also what one may take on a machine of its own.
const FAIR: Duration = Duration::from_millis(100);
/// An attack goes on at least so long, and until so many others were served, so that there is
/// something to measure; and no longer than patience lasts.
const LEAST: Duration = Duration::from_millis(200);
const REQUESTS: usize = 30;

/// How long each request of other clients took, the shortest first.
pub struct Others(pub Vec<Duration>);

impl Others {
    /// Most were quick, and each was answered. The slowest may have waited for something else on this
    /// machine.
    #[track_caller]
    pub fn were_served(&self) {
        let Others(times) = self;
        let quick = times.iter().filter(|time| **time < FAIR).count();
        assert!(2 * quick > times.len(), "{quick} of {}: {times:?}", times.len());
    }
}

/// Runs `attack` again and again for a while, and asks `GET /other` meanwhile on a connection of its
/// own, every other time on a new one.
#[track_caller]
pub fn while_attacked<T: Send + 'static>(
    connect: impl Fn() -> Wire,
    attack: impl Fn() -> T + Send + 'static,
) -> (Vec<T>, Others) {
    // One at a time: they would measure each other.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let served = Arc::new(AtomicUsize::new(0));
    let enough = served.clone();
    let attacker = thread::spawn(move || {
        let start = Instant::now();
        let mut results = vec![attack()];
        let is_short = || enough.load(Ordering::SeqCst) < REQUESTS || start.elapsed() < LEAST;
        while is_short() && start.elapsed() < PATIENCE {
            results.push(attack());
        }
        results
    });
    let mut kept = connect();
    let mut times = Vec::new();
    while !attacker.is_finished() {
        let start = Instant::now();
        let ask = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = match times.len() % 2 {
            0 => kept.ask(ask),
            _ => connect().ask(ask),
        };
        assert_eq!(answer.status, 200);
        if answer.closes() {
            kept = connect();
        }
        times.push(start.elapsed());
        served.fetch_add(1, Ordering::SeqCst);
    }
    times.sort();
    assert!(times.len() >= REQUESTS, "only {} in all: {times:?}", times.len());
    (attacker.join().unwrap(), Others(times))
}

/// A proxy that answers `/other` at once, and whatever else never; it counts those.
pub fn pending_but_for_others(options: ProxyOptions) -> (Proxy, Arc<AtomicUsize>) {
    let (phases, begun) = phases_for_others();
    (Proxy::new(phases, options), begun)
}

pub fn phases_for_others() -> (TestPhases, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |ex| {
        let other = ex.request.path() == b"/other";
        count.fetch_add(usize::from(!other), Ordering::SeqCst);
        Box::pin(async move {
            if !other {
                std::future::pending::<()>().await;
            }
            Ok(Some(Answer::plain(200)))
        })
    }));
    (phases, begun)
}

/// The head of a request for something that is no other client's.
pub fn head(method: &str) -> Vec<u8> {
    fields_block(&[(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/")])
}

/// Sends all of `bytes` as far as they are taken, and says with which code the client is sent away.
pub fn sent_away(mut client: Frames, bytes: &[u8]) -> Option<u32> {
    client.wire.try_send(bytes);
    let mut frames = std::iter::from_fn(|| client.try_next());
    let goaway = frames.find(|frame| frame.kind == Frames::GOAWAY);
    // Gives the proxy time to say goodbye, and no more.
    let _ = client.wire.stream.set_read_timeout(Some(millis(100)));
    goaway.map(|frame| frame.code())
}
