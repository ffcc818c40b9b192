//! How a server ends: at once when idle, after the last answer when busy, cut at the grace.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use common::*;
use millrace_server::*;

const LONG: Duration = Duration::from_secs(20);

/// A client whose connection, the only one, is being served and waits for more.
fn waiting(app: &Echo, address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    assert_eq!(client.ask("x"), "x");
    // The answer arrives before the app is back at its next read.
    eventually(|| app.waits.load(Ordering::SeqCst) == 2);
    client
}

/// A client whose request is held until the app's `go`.
fn busy(app: &Echo, address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send("hold");
    eventually(|| app.held.load(Ordering::SeqCst) == 1);
    client
}

#[test]
fn idle_closes_at_once_and_cleans_up_once() {
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let (server, address) = serve(&app, kind);
        let mut idle = Client::connect(address);
        assert_eq!(idle.ask("x"), "x");
        let (report, took) = timed(|| server.close(LONG));
        assert!(took < LONG / 2, "{took:?}");
        assert_eq!(report, connections(1, 0));
        assert_eq!(idle.receive(), "");
        assert!(TcpStream::connect(address).is_err());
        assert_eq!(server.close(LONG), report);
        assert_eq!(app.cleanups.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn busy_closes_after_the_answer() {
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let (server, address) = serve(&app, kind);
        let mut client = busy(&app, address);
        let closer = server.clone();
        let closing = thread::spawn(move || timed(|| closer.close(LONG)));
        eventually(|| server.shutdown().is_draining());
        assert!(!closing.is_finished());
        app.go.notify_one();
        assert_eq!(client.receive(), "held");
        let (report, took) = closing.join().unwrap();
        assert_eq!(report, connections(1, 0));
        assert!(took < LONG / 2, "{took:?}");
    }
}

#[test]
fn stubborn_is_cut_at_the_grace() {
    for kind in KINDS {
        let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
        let (server, address) = serve(&app, kind);
        let mut client = waiting(&app, address);
        let (report, took) = timed(|| server.close(Duration::from_millis(200)));
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert_eq!((client.receive(), report), ("".into(), connections(0, 1)));
        assert_eq!(app.cleanups.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_shorter_grace_wins_and_all_callers_get_the_same_report() {
    let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
    let (server, address) = serve(&app, RuntimeKind::Stealing);
    let _client = waiting(&app, address);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || server.close(LONG))
        })
        .collect();
    eventually(|| server.shutdown().is_draining());
    assert!(!server.shutdown().is_cut());
    let (report, took) = timed(|| server.close(Duration::ZERO));
    assert!(took < LONG / 2, "{took:?}");
    assert_eq!(report, connections(0, 1));
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), report);
    }
    assert_eq!(app.cleanups.load(Ordering::SeqCst), 1);
}

#[test]
fn a_dropped_server_ends() {
    let app = Arc::new(Echo::default());
    let (server, address) = serve(&app, RuntimeKind::Isolated);
    let mut client = busy(&app, address);
    drop(server);
    assert_eq!(client.receive(), "");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_dropped_on_a_runtime_does_not_panic() {
    let (server, address) = serve(&Arc::default(), RuntimeKind::Stealing);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move { drop(server) });
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_client_in_the_backlog_is_not_reset() {
    for kind in KINDS {
        let (server, address) = serve(&Arc::default(), kind);
        for _ in 0..20 {
            let mut client = Client::connect(address);
            client.send("x");
            drop(client);
        }
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
        server.close(LONG);
        for client in &mut clients {
            use std::io::Read;
            assert_eq!(client.0.read(&mut [0; 8]).unwrap(), 0, "a clean end, not a reset");
        }
    }
}
