//! Connections of every kind of endpoint are served on both kinds of runtime.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use millrace_listeners::Endpoint;
use millrace_server::*;

#[test]
fn a_connection_is_served_until_it_ends() {
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let (server, address) = serve(&app, kind);
        let mut client = Client::connect(address);
        for text in ["one", "two", "three"] {
            assert_eq!(client.ask(text), text);
        }
        assert_eq!(client.ask("remote"), client.0.local_addr().unwrap().to_string());
        assert_eq!(client.ask("local"), address.to_string());
        drop(client);
        let counters = server.counters().remove(0).1;
        eventually(|| counters.open() == 0);
        assert_eq!((counters.accepted(), counters.rejected()), (1, 0));
    }
}

#[test]
fn ipv4_ipv6_and_unix_endpoints_of_one_service() {
    let path = std::env::temp_dir().join(format!("millrace-serving-{}.sock", std::process::id()));
    for kind in KINDS {
        let app = Arc::new(Echo::default());
        let server = Server::new(ServerOptions::default());
        let endpoints = vec![tcp("127.0.0.1:0"), tcp("[::1]:0"), Endpoint::unix(&path)];
        server.add_service(service(&app, kind, endpoints)).unwrap();
        let bound = server.start().unwrap().remove(0);
        for address in &bound[..2] {
            assert_ne!(address.port(), Some(0));
            assert_eq!(Client::to(address).ask("x"), "x");
        }
        let mut client = UnixStream::connect(bound[2].path().unwrap()).unwrap();
        client.write_all(b"remote").unwrap();
        let mut buf = [0; 16];
        let read = client.read(&mut buf).unwrap();
        assert_eq!(&buf[..read], b"unix:");
        server.close(Duration::ZERO);
        assert!(!path.exists());
    }
}

#[test]
fn a_wildcard_says_which_address_was_asked_for_in_the_clients_family() {
    let app = Arc::new(Echo::default());
    let server = Server::new(ServerOptions::default());
    server.add_service(service(&app, RuntimeKind::Stealing, vec![tcp("[::]:0")])).unwrap();
    let port = server.start().unwrap()[0][0].port().unwrap();
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    assert_eq!(client.ask("local"), format!("127.0.0.1:{port}"));
    assert_eq!(client.ask("remote"), client.0.local_addr().unwrap().to_string());
}

#[test]
fn isolated_runtimes_share_a_burst_evenly() {
    let app = Arc::new(Echo::default());
    let (_server, address) = serve(&app, RuntimeKind::Isolated);
    let mut clients: Vec<_> = (0..32).map(|_| Client::connect(address)).collect();
    let mut shares = HashMap::new();
    for client in &mut clients {
        *shares.entry(client.ask("runtime")).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), 2);
    assert!(shares.values().all(|share| (13..=19).contains(share)), "{shares:?}");
}

#[test]
fn threads_are_named_and_hooked_and_each_runtime_is_told_to_the_app() {
    for (kind, runtimes) in [(RuntimeKind::Stealing, 1), (RuntimeKind::Isolated, 2)] {
        let (app, hooked) = (Arc::new(Echo::default()), Arc::new(AtomicUsize::new(0)));
        let counter = hooked.clone();
        let mut options = runtime(kind);
        options.on_thread_start = Some(Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        let server = Server::new(ServerOptions::default());
        let endpoints = vec![tcp("127.0.0.1:0")];
        let service = ListeningService::new("named", app.clone(), endpoints, options);
        server.add_service(Box::new(service)).unwrap();
        let bound = server.start().unwrap();
        let name = Client::to(&bound[0][0]).ask("thread");
        assert!(name == "echo-0" || name == "echo-1", "{name}");
        eventually(|| hooked.load(Ordering::SeqCst) == 2);
        assert_eq!(app.starts.load(Ordering::SeqCst), runtimes);
    }
}

#[test]
fn two_servers_run_at_once_and_end_apart() {
    let app = Arc::new(Echo::default());
    let (first, one) = serve(&app, RuntimeKind::Stealing);
    let (_second, two) = serve(&app, RuntimeKind::Isolated);
    let (mut a, mut b) = (Client::connect(one), Client::connect(two));
    assert_eq!((a.ask("a"), b.ask("b")), ("a".into(), "b".into()));
    first.close(Duration::ZERO);
    assert_eq!((a.receive(), b.ask("b")), ("".into(), "b".into()));
    assert_eq!(Client::connect(two).ask("c"), "c");
}
