//! What is up when a start is given up has the grace it was promised.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use millrace_server::*;
use tokio::sync::Notify;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const HOURS: Duration = Duration::from_secs(7200);

/// Has work to finish when it is told to stop: longer than anything is left that has had its grace.
#[derive(Default)]
struct Ledger {
    drained: AtomicUsize,
    written: AtomicUsize,
    never_ends: bool,
}

impl Background for Ledger {
    async fn run(self: Arc<Self>, ready: Ready, shutdown: Shutdown) -> Outcome {
        ready.say();
        shutdown.draining().await;
        self.drained.fetch_add(1, Ordering::SeqCst);
        if self.never_ends {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Is never ready: waits to be told to fail, or to stop.
#[derive(Default)]
struct Second {
    begun: AtomicBool,
    fails: Notify,
}

impl Background for Second {
    async fn run(self: Arc<Self>, _ready: Ready, shutdown: Shutdown) -> Outcome {
        self.begun.store(true, Ordering::SeqCst);
        tokio::select! {
            () = self.fails.notified() => Err("the second is away".into()),
            () = shutdown.draining() => Ok(()),
        }
    }
}

/// A server whose second service waits for the first, and comes no further.
fn half_up(grace: Duration, ledger: &Arc<Ledger>, second: &Arc<Second>) -> Arc<Server> {
    let server = Arc::new(Server::new(ServerOptions { grace, ..ServerOptions::default() }));
    let options = BackgroundOptions::default;
    let first = BackgroundService::new("ledger", ledger.clone(), options());
    let first = server.add_service(Box::new(first)).unwrap();
    let next = BackgroundService::new("second", second.clone(), options());
    let next = server.add_service(Box::new(next)).unwrap();
    server.add_dependency(next, first).unwrap();
    server
}

fn start(server: &Arc<Server>) -> std::thread::JoinHandle<StartError> {
    let starter = server.clone();
    std::thread::spawn(move || starter.start().unwrap_err())
}

#[test]
fn what_is_up_when_another_service_fails_has_the_grace_of_the_server() {
    let (ledger, second) = (Arc::<Ledger>::default(), Arc::<Second>::default());
    let server = half_up(HOURS, &ledger, &second);
    for attempt in 1..=2 {
        second.fails.notify_one();
        let error = start(&server).join().unwrap();
        assert_eq!(error.to_string(), "service second: the second is away");
        assert_eq!(ledger.written.load(Ordering::SeqCst), attempt);
    }
}

#[test]
fn what_is_up_when_a_start_is_closed_has_the_grace_of_close() {
    let (ledger, second) = (Arc::<Ledger>::default(), Arc::<Second>::default());
    let server = half_up(Duration::ZERO, &ledger, &second);
    let started = start(&server);
    eventually(|| second.begun.load(Ordering::SeqCst));
    server.close(HOURS);
    assert!(matches!(started.join().unwrap(), StartError::Closed));
    assert_eq!(ledger.written.load(Ordering::SeqCst), 1);
}

#[test]
fn what_does_not_end_is_cut_at_the_end_of_the_grace() {
    let ledger = Arc::new(Ledger { never_ends: true, ..Ledger::default() });
    let second = Arc::<Second>::default();
    let server = half_up(Duration::from_millis(50), &ledger, &second);
    second.fails.notify_one();
    let (error, took) = timed(|| start(&server).join().unwrap());
    assert!(matches!(error, StartError::Service { .. }));
    assert!(took < Duration::from_secs(30));
    assert_eq!(ledger.drained.load(Ordering::SeqCst), 1);
}

#[test]
fn a_close_at_once_ends_the_grace_of_a_start_that_has_failed() {
    let ledger = Arc::new(Ledger { never_ends: true, ..Ledger::default() });
    let second = Arc::<Second>::default();
    let server = half_up(HOURS, &ledger, &second);
    second.fails.notify_one();
    let started = start(&server);
    eventually(|| ledger.drained.load(Ordering::SeqCst) == 1);
    let (_, took) = timed(|| server.close(Duration::ZERO));
    assert!(took < Duration::from_secs(30));
    assert!(matches!(started.join().unwrap(), StartError::Service { .. }), "it says why");
}

#[test]
fn a_start_is_given_up_with_a_grace_that_may_be_shortened() {
    let ledger = Arc::new(Ledger { never_ends: true, ..Ledger::default() });
    let second = Arc::<Second>::default();
    let server = half_up(HOURS, &ledger, &second);
    let started = start(&server);
    eventually(|| second.begun.load(Ordering::SeqCst));
    server.give_up_start(HOURS);
    eventually(|| ledger.drained.load(Ordering::SeqCst) == 1);
    assert!(!started.is_finished());
    server.give_up_start(Duration::ZERO);
    assert!(matches!(started.join().unwrap(), StartError::Closed));
    assert!(matches!(server.start(), Err(StartError::Closed)));
}
