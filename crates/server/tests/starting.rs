//! A server starts as a whole or not at all.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use millrace_listeners::Endpoint;
use millrace_server::*;
use millrace_transport::{Address, Stream};

#[test]
fn a_taken_port_is_named_nothing_stays_bound_and_start_may_be_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_at, free_at) = (taken.local_addr().unwrap(), free.local_addr().unwrap());
    drop(free);
    let app = Arc::new(Echo::default());
    let server = Server::new(ServerOptions::default());
    let path = std::env::temp_dir().join(format!("millrace-starting-{}.sock", std::process::id()));
    let endpoints = vec![Endpoint::tcp(free_at), Endpoint::unix(&path)];
    server.add_service(service(&app, RuntimeKind::Stealing, endpoints)).unwrap();
    let endpoints = vec![tcp("127.0.0.1:0"), Endpoint::tcp(taken_at)];
    server.add_service(service(&app, RuntimeKind::Isolated, endpoints)).unwrap();

    let error = server.start().unwrap_err();
    assert_eq!(error.to_string(), format!("address in use: {taken_at}"));
    assert!(!path.exists());
    drop(TcpListener::bind(free_at).unwrap());

    drop(taken);
    let bound = server.start().unwrap();
    assert_eq!(bound[0], [Address::Ip(free_at), Address::Unix(path)]);
    assert_eq!(Client::connect(taken_at).ask("x"), "x");
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let server = Server::new(ServerOptions::default());
    let endpoints = vec![tcp("192.0.2.1:80")];
    server.add_service(service(&Arc::default(), RuntimeKind::Stealing, endpoints)).unwrap();
    assert_eq!(server.start().unwrap_err().to_string(), "address not available: 192.0.2.1:80");
}

#[test]
fn start_is_refused_twice_and_after_close() {
    let app = Arc::new(Echo::default());
    let (server, _) = serve(&app, RuntimeKind::Stealing);
    assert!(matches!(server.start(), Err(StartError::Started)));
    let late = service(&app, RuntimeKind::Stealing, vec![]);
    assert!(matches!(server.add_service(late), Err(StartError::Started)));
    server.close(Duration::ZERO);
    assert!(matches!(server.start(), Err(StartError::Closed)));
    let unstarted = Server::new(ServerOptions::default());
    assert_eq!(unstarted.close(Duration::ZERO), CloseReport::default());
    assert!(matches!(unstarted.start(), Err(StartError::Closed)));
}

struct Broken;

impl ServerApp for Broken {
    async fn process_new(
        self: &Arc<Self>,
        _: Stream,
        _: &ConnInfo,
        _: &Shutdown,
    ) -> Option<Stream> {
        None
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        assert_eq!(runtime, 0, "the second runtime does not start");
    }
}

#[test]
fn a_runtime_that_does_not_start_takes_the_others_with_it() {
    let app = Arc::new(Echo::default());
    let server = Server::new(ServerOptions::default());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    server.add_service(service(&app, RuntimeKind::Stealing, vec![Endpoint::tcp(free)])).unwrap();
    let isolated = runtime(RuntimeKind::Isolated);
    let broken = ListeningService::new("broken", Arc::new(Broken), vec![], isolated);
    server.add_service(Box::new(broken)).unwrap();
    let error = server.start().unwrap_err();
    assert!(error.to_string().starts_with("service broken: "), "{error}");
    drop(TcpListener::bind(free).unwrap());
}
