//! The pool, as a service uses it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that answers once `count` requests are there at the same time.
fn rendezvous(count: usize) -> Origin {
    let barrier = Arc::new(std::sync::Barrier::new(count));
    Origin::new(move |_, mut wire| {
        while wire.try_head().is_some() {
            barrier.wait();
            wire.send(OK);
        }
    })
}

#[test]
fn pingora_line_13_the_bound_on_idle_connections_is_the_services() {
    const CLIENTS: usize = 12;
    for threads in [1, 2] {
        let origin = rendezvous(CLIENTS);
        let options = ProxyOptions { pool_size: 4, ..ProxyOptions::default() };
        let proxy = Proxy::threads(TestPhases::to(origin.address), options, threads);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
        for _ in 0..3 {
            for client in &mut clients {
                client.send(GET);
            }
            for client in &mut clients {
                assert_eq!(client.response().text(), "ok");
                proxy.logged();
            }
            let pool = proxy.pool();
            assert_eq!((pool.idle, pool.open), (4, 4), "{threads} threads");
        }
        // Four of each later round were there already, on whichever runtime they were asked for.
        assert_eq!(proxy.pool().reused, 8, "{threads} threads");
        assert_eq!(origin.connections(), CLIENTS * 3 - 8, "{threads} threads");
    }
}

#[test]
fn a_pool_of_none_keeps_none() {
    let origin = Origin::says(OK);
    let options = ProxyOptions { pool_size: 0, ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let mut client = proxy.client();
    for number in 1..=3 {
        assert_eq!(client.ask(GET).status, 200);
        proxy.logged();
        assert_eq!((origin.connections(), proxy.pool().idle), (number, 0));
    }
}

#[test]
fn idle_connections_end_when_their_time_is_up_or_the_server_closes() {
    let (left, is_left) = channel();
    let left = Mutex::new(left);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        wire.send(OK);
        wire.rest();
        left.lock().unwrap().send(()).unwrap();
    });
    let options = PeerOptions { idle_timeout: millis(50), ..PeerOptions::default() };
    let proxy = Proxy::with_peer(origin.address, options);
    assert_eq!(proxy.client().ask(GET).status, 200);
    is_left.recv_timeout(PATIENCE).unwrap();
    eventually("it is counted", || proxy.pool().open == 0 && proxy.pool().expired == 1);

    let proxy = Proxy::to(origin.address);
    assert_eq!(proxy.client().ask(GET).status, 200);
    proxy.logged();
    assert_eq!(proxy.pool().idle, 1);
    proxy.close();
    is_left.recv_timeout(millis(3000)).unwrap();
}

#[test]
fn peers_do_not_share_what_makes_them_differ() {
    let origin = Origin::says(OK);
    let plain = peer(origin.address, PeerOptions::default());
    let bound = PeerOptions { bind_to: Some([127, 0, 0, 1].into()), ..PeerOptions::default() };
    let mut phases = TestPhases::with(vec![plain, peer(origin.address, bound)]);
    phases.upstream_peer =
        Some(Box::new(|ex, peers| Ok(peers[usize::from(ex.request.path() == b"/bound")].clone())));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    for (path, connections) in [("/", 1), ("/bound", 2), ("/", 2), ("/bound", 2)] {
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(origin.connections(), connections, "{path}");
    }
}

#[test]
fn thousands_of_bad_clients_leave_nothing_behind() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let origin = Origin::new(move |_, mut wire| {
        while let Some(head) = wire.try_head() {
            count.fetch_add(1, Ordering::SeqCst);
            if wire.try_body(&head).is_none() || !wire.try_send(OK) {
                return;
            }
        }
    });
    let proxy = Proxy::to(origin.address);
    let bad = [
        "garbage\r\n\r\n",
        "GET / HTTP/1.1\r\nHo",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        GET,
        "",
    ];
    let rounds = 150;
    for number in 0..rounds {
        for bytes in bad {
            let mut client = proxy.client();
            client.send(bytes);
            if number % 2 == 0 {
                let socket = socket2::SockRef::from(&client.stream);
                socket.set_linger(Some(millis(0))).unwrap();
            }
        }
    }
    eventually("all are closed", || proxy.counters().open() == 0);
    eventually("all are closed", || proxy.pool().open == proxy.pool().idle);
    assert!(proxy.pool().idle <= 10);
    let logged: Vec<_> = proxy.logs.try_iter().collect();
    // Those that were reset at once may never have been seen.
    let most = rounds * (bad.len() - 1);
    assert!(logged.len() <= most && logged.len() >= most / 2, "{}", logged.len());
    assert_eq!(proxy.client().ask(GET).text(), "ok");
}
