//! What goes wrong in one connection, or with too many, stays where it is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use millrace_server::*;
use millrace_transport::Stream;

fn logged(service: Box<dyn Service>) -> (Server, Arc<Lines>, std::net::SocketAddr) {
    let log = Arc::new(Lines::default());
    let server = Server::new(ServerOptions { log: log.clone(), ..ServerOptions::default() });
    server.add_service(service).unwrap();
    let address = server.start().unwrap()[0][0].socket_addr().unwrap();
    (server, log, address)
}

#[test]
fn a_panic_ends_its_connection_is_logged_and_counted_and_hurts_no_other() {
    for kind in KINDS {
        let echo = service(&Arc::default(), kind, vec![tcp("127.0.0.1:0")]);
        let (server, log, address) = logged(echo);
        let mut other = Client::connect(address);
        assert_eq!(other.ask("x"), "x");
        for _ in 0..20 {
            assert_eq!(Client::connect(address).ask("panic"), "");
        }
        assert_eq!(other.ask("y"), "y");
        let counters = server.counters().remove(0).1;
        eventually(|| counters.panicked() == 20 && counters.open() == 1);
        assert!(log.any("panic: as asked"));
        assert_eq!(server.close(Duration::from_secs(5)).connections.cut, 0);
    }
}

#[test]
fn one_connection_too_many_is_closed_and_one_that_ends_makes_room() {
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let limited = ListeningService::new("few", app, vec![tcp("127.0.0.1:0")], runtime(kind))
            .max_connections(Some(2));
        let (server, log, address) = logged(Box::new(limited));
        let (mut a, mut b) = (Client::connect(address), Client::connect(address));
        assert_eq!((a.ask("a"), b.ask("b")), ("a".into(), "b".into()));
        for _ in 0..10 {
            assert_eq!(Client::connect(address).receive(), "");
        }
        let counters = server.counters().remove(0).1;
        assert_eq!((counters.open(), counters.rejected()), (2, 10));
        assert_eq!(log.0.lock().unwrap().len(), 1, "at most a line each second");
        drop(a);
        eventually(|| counters.open() == 1);
        assert_eq!(Client::connect(address).ask("c"), "c");
    }
}

struct Stuck;

impl ServerApp for Stuck {
    async fn process_new(
        self: &Arc<Self>,
        _: Stream,
        _: &ConnInfo,
        _: &Shutdown,
    ) -> Option<Stream> {
        std::thread::sleep(Duration::from_secs(30));
        None
    }

    async fn cleanup(&self) {
        panic!("a clean-up that fails");
    }
}

#[test]
fn a_task_that_never_yields_and_a_failing_clean_up_hold_close_for_a_bounded_time() {
    for kind in KINDS {
        let endpoints = vec![tcp("127.0.0.1:0")];
        let stuck = ListeningService::new("stuck", Arc::new(Stuck), endpoints, runtime(kind));
        let (server, log, address) = logged(Box::new(stuck));
        let _client = Client::connect(address);
        let counters = server.counters().remove(0).1;
        eventually(|| counters.open() == 1);
        let (_, took) = timed(|| server.close(Duration::ZERO));
        assert!(took < Duration::from_secs(20), "{took:?}");
        assert!(log.any("left behind") && log.any("clean-up"));
    }
}
