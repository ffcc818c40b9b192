//! Endpoints are added and closed while a service runs.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use millrace_listeners::Endpoint;
use millrace_server::*;

const LONG: Duration = Duration::from_secs(30);

/// A running server with one endpoint, and what changes it.
fn running(app: &Arc<Echo>, kind: RuntimeKind) -> (Server, Endpoints, std::net::SocketAddr) {
    let server = Server::new(ServerOptions::default());
    let service =
        ListeningService::new("echo", app.clone(), vec![tcp("127.0.0.1:0")], runtime(kind));
    let endpoints = service.endpoints();
    server.add_service(Box::new(service)).unwrap();
    let bound = server.start().unwrap()[0][0].socket_addr().unwrap();
    (server, endpoints, bound)
}

#[test]
fn one_is_added_and_closed_while_the_others_serve() {
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let (server, endpoints, first) = running(&app, kind);
        let (number, second) = endpoints.add(&tcp("127.0.0.1:0")).unwrap();
        assert_eq!(number, 1);
        let (mut one, mut two) = (Client::connect(first), Client::to(&second));
        assert_eq!((one.ask("a"), two.ask("b")), ("a".into(), "b".into()));

        assert!(endpoints.close(number));
        assert_eq!(two.receive(), "", "an idle connection ends");
        assert!(TcpStream::connect(second.socket_addr().unwrap()).is_err());
        assert_eq!((one.ask("c"), Client::connect(first).ask("d")), ("c".into(), "d".into()));
        assert!(endpoints.close(number), "again");

        // Its address is free at once, and so is that of one from the start.
        let again = Endpoint::at(second.clone());
        assert_eq!(endpoints.add(&again).unwrap(), (2, second.clone()));
        assert_eq!(Client::to(&second).ask("e"), "e");
        assert!(endpoints.close(0));
        assert_eq!(one.receive(), "");
        std::net::TcpListener::bind(first).unwrap();
        assert_eq!(server.close(LONG).connections.cut, 0);
    }
}

#[test]
fn what_its_connections_are_at_is_done_with_no_limit_of_time() {
    for kind in KINDS {
        let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
        let (server, endpoints, _) = running(&app, kind);
        let (number, address) = endpoints.add(&tcp("127.0.0.1:0")).unwrap();
        let mut client = Client::to(&address);
        assert_eq!(client.ask("a"), "a");
        eventually(|| app.waits.load(Ordering::SeqCst) == 2);
        assert!(endpoints.close(number));
        // It does not look at the end of its endpoint before it has read something.
        assert_eq!((client.ask("b"), client.receive()), ("b".into(), "".into()));

        let mut client = Client::to(&endpoints.add(&tcp("127.0.0.1:0")).unwrap().1);
        assert_eq!(client.ask("c"), "c");
        eventually(|| app.waits.load(Ordering::SeqCst) == 4);
        // The end of the server is that of its endpoints.
        assert_eq!(server.close(Duration::from_millis(50)).connections.cut, 1);
        assert_eq!(client.receive(), "");
    }
}

#[test]
fn only_a_service_that_runs_takes_more_and_a_failure_leaves_it_as_it_was() {
    let app = Arc::new(Echo::default());
    let planned = ListeningService::new("echo", app.clone(), vec![], runtime(KINDS[0]));
    let refused = |endpoints: &Endpoints| endpoints.add(&tcp("127.0.0.1:0")).unwrap_err();
    assert!(matches!(refused(&planned.endpoints()), StartError::NotRunning));

    let (server, endpoints, first) = running(&app, KINDS[0]);
    let taken = endpoints.add(&Endpoint::tcp(first)).unwrap_err();
    assert_eq!(taken.to_string(), format!("address in use: {first}"));
    assert_eq!(Client::connect(first).ask("a"), "a");
    server.close(Duration::ZERO);
    assert!(matches!(refused(&endpoints), StartError::Closed));
    assert!(endpoints.close(0));
}

#[test]
fn a_unix_socket_takes_its_file_along() {
    let app = Arc::new(Echo::default());
    let (_server, endpoints, _) = running(&app, KINDS[0]);
    let path = std::env::temp_dir().join(format!("millrace-added-{}.sock", std::process::id()));
    let (number, _) = endpoints.add(&Endpoint::unix(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
    assert!(endpoints.close(number));
    assert!(!path.exists());
}

#[test]
fn endpoints_that_come_and_go_leave_nothing_behind() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let app = Arc::new(Echo::default());
    let (_server, endpoints, _) = running(&app, RuntimeKind::Isolated);
    let round = || {
        let (number, address) = endpoints.add(&tcp("127.0.0.1:0")).unwrap();
        assert_eq!(Client::to(&address).ask("a"), "a");
        assert!(endpoints.close(number));
    };
    round();
    let before = descriptors();
    (0..100).for_each(|_| round());
    // Other tests run beside this one.
    eventually(|| descriptors() < before + 50);
}
