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

/// A client whose connection is being served and waits for more.
fn waiting(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    assert_eq!(client.ask("x"), "x");
    // The answer arrives before the app is back at its next read.
    thread::sleep(Duration::from_millis(50));
    client
}

fn busy(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    assert_eq!(client.ask("ready"), "ready");
    client.send("slow");
    thread::sleep(Duration::from_millis(50));
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
        assert!(took < Duration::from_millis(500), "{took:?}");
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
        let (server, address) = serve(&Arc::default(), kind);
        let mut client = busy(address);
        let (report, took) = timed(|| server.close(LONG));
        assert!((200..2000).contains(&took.as_millis()), "{took:?}");
        assert_eq!((client.receive(), report), ("slow".into(), connections(1, 0)));
    }
}

#[test]
fn stubborn_is_cut_at_the_grace() {
    for kind in KINDS {
        let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
        let (server, address) = serve(&app, kind);
        let mut client = waiting(address);
        let (report, took) = timed(|| server.close(Duration::from_millis(200)));
        assert!((200..1000).contains(&took.as_millis()), "{took:?}");
        assert_eq!((client.receive(), report), ("".into(), connections(0, 1)));
        assert_eq!(app.cleanups.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_shorter_grace_wins_and_all_callers_get_the_same_report() {
    let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
    let (server, address) = serve(&app, RuntimeKind::Stealing);
    let _client = waiting(address);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || server.close(LONG))
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    assert!(server.shutdown().is_draining() && !server.shutdown().is_cut());
    let (report, took) = timed(|| server.close(Duration::ZERO));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(report, connections(0, 1));
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), report);
    }
    assert_eq!(app.cleanups.load(Ordering::SeqCst), 1);
}

#[test]
fn a_dropped_server_ends() {
    let (server, address) = serve(&Arc::default(), RuntimeKind::Isolated);
    let mut client = busy(address);
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
