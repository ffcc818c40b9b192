//! Whose connections an endpoint takes: lists, checks, limits per client, and what proxies say of theirs.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use millrace_error::Level;
use millrace_listeners::*;
use millrace_server::*;
use millrace_transport::{Address, Networks};

fn networks(all: &[&str]) -> Networks {
    let mut networks = Networks::default();
    all.iter().for_each(|text| networks.add(text).unwrap());
    networks
}

struct Gate {
    server: Server,
    address: SocketAddr,
}

impl Gate {
    fn new(admission: Admission, limit: Option<ClientLimit>, kind: RuntimeKind) -> Self {
        let mut endpoint = tcp("127.0.0.1:0");
        endpoint.admission = Some(Arc::new(admission));
        let server = Server::new(ServerOptions::default());
        let service =
            ListeningService::new("gate", Arc::new(Echo::default()), vec![endpoint], runtime(kind));
        server.add_service(Box::new(service.client_limit(limit))).unwrap();
        let address = server.start().unwrap()[0][0].socket_addr().unwrap();
        Gate { server, address }
    }

    fn filter(filter: ConnectionFilter, kind: RuntimeKind) -> Self {
        Gate::new(Admission { filter, proxy_protocol: None }, None, kind)
    }

    fn behind(proxies: &[&str], others: Others, filter: ConnectionFilter) -> Self {
        let timeout = Duration::from_secs(10);
        let from = networks(proxies);
        let proxy_protocol = Some(ProxyProtocol { from, others, timeout });
        let limit = Some(ClientLimit::new(2));
        Gate::new(Admission { filter, proxy_protocol }, limit, RuntimeKind::Isolated)
    }

    /// A client at an address of its own.
    fn client(&self, ip: [u8; 4]) -> Client {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Client(stream)
    }

    fn counters(&self) -> Arc<Counters> {
        self.server.counters().remove(0).1
    }

    /// What the client of a proxy gets to see of itself, or nothing.
    fn told(&self, header: &str) -> (String, String) {
        let mut client = self.client([127, 0, 0, 1]);
        client.send(header);
        (client.ask("remote"), client.ask("local"))
    }
}

#[test]
fn lists_are_looked_at_before_anything_is_served() {
    for kind in KINDS {
        let allow = Some(networks(&["127.0.0.0/24"]));
        let deny = networks(&["127.0.0.2", "127.0.0.8/30"]);
        let gate = Gate::filter(ConnectionFilter { allow, deny, check: None }, kind);
        for (ip, is_taken) in [
            ([127, 0, 0, 1], true),
            ([127, 0, 0, 2], false),
            ([127, 0, 0, 7], true),
            ([127, 0, 0, 8], false),
            ([127, 0, 0, 11], false),
            ([127, 0, 0, 12], true),
            ([127, 0, 1, 1], false),
        ] {
            // One that is closed at once may be gone before it has sent anything.
            let mut client = gate.client(ip);
            let _ = client.0.write_all(b"a");
            assert_eq!(client.receive(), if is_taken { "a" } else { "" }, "{ip:?}");
        }
        let counters = gate.counters();
        eventually(|| counters.open() == 0);
        assert_eq!((counters.accepted(), counters.refused(), counters.rejected()), (3, 4, 0));
    }
}

/// Says no to 127.0.0.2, nothing of 127.0.0.3, does not come to an end of 127.0.0.4.
#[derive(Default)]
struct Check3 {
    asked: Mutex<Vec<(Address, Address)>>,
    waiting: Arc<AtomicUsize>,
}

impl ConnectionCheck for Check3 {
    fn check(&self, client: &Address, server: &Address) -> Verdict {
        self.asked.lock().unwrap().push((client.clone(), server.clone()));
        let (client, waiting) = (client.clone(), self.waiting.clone());
        Box::pin(async move {
            match &*client.host() {
                "127.0.0.2" => Ok(false),
                "127.0.0.3" => Err(Unsaid::Failed),
                "127.0.0.4" => {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
                _ => Ok(true),
            }
        })
    }
}

#[test]
fn a_check_says_yes_or_no_and_what_it_does_not_say_is_settled() {
    for (kind, or_else) in [(KINDS[0], false), (KINDS[1], true)] {
        let check = Arc::new(Check3::default());
        let timeout = Duration::from_millis(100);
        let asked = Some(Check { check: check.clone(), timeout, or_else });
        let deny = networks(&["127.0.0.5"]);
        let gate = Gate::filter(ConnectionFilter { check: asked, deny, allow: None }, kind);
        for (ip, is_taken) in [(1, true), (2, false), (3, or_else), (4, or_else), (5, false)] {
            let mut client = gate.client([127, 0, 0, ip]);
            let _ = client.0.write_all(b"a");
            assert_eq!(client.receive(), if is_taken { "a" } else { "" }, "{ip}");
        }
        let asked = check.asked.lock().unwrap();
        assert_eq!(asked.len(), 4, "what a list is against is not asked about");
        assert!(asked.iter().all(|(_, server)| *server == Address::Ip(gate.address)));
    }
}

#[test]
fn a_check_that_does_not_end_holds_up_neither_others_nor_the_end_of_the_server() {
    let check = Arc::new(Check3::default());
    let timeout = Duration::from_secs(3600);
    let asked = Check { check: check.clone(), timeout, or_else: false };
    let filter = ConnectionFilter { check: Some(asked), ..ConnectionFilter::default() };
    let gate = Gate::filter(filter, RuntimeKind::Isolated);
    let _waiting: Vec<_> = (0..8).map(|_| gate.client([127, 0, 0, 4])).collect();
    eventually(|| check.waiting.load(Ordering::SeqCst) == 8);
    assert_eq!(gate.client([127, 0, 0, 1]).ask("a"), "a");
    let (report, took) = timed(|| gate.server.close(Duration::from_secs(60)));
    assert!(took < Duration::from_secs(20), "{took:?}");
    // Of the one that was served nobody knows when it ended.
    assert!(report.connections.finished <= 1 && report.connections.cut == 0, "{report:?}");
    assert_eq!(gate.counters().refused(), 8);
}

#[test]
fn a_client_has_as_many_connections_as_it_may_and_no_more() {
    for kind in KINDS {
        let gate = Gate::new(Admission::default(), Some(ClientLimit::new(2)), kind);
        let (mut one, mut two) = (gate.client([127, 0, 0, 1]), gate.client([127, 0, 0, 1]));
        assert_eq!((one.ask("a"), two.ask("b")), ("a".into(), "b".into()));
        assert_eq!(gate.client([127, 0, 0, 1]).receive(), "");
        assert_eq!(gate.client([127, 0, 0, 2]).ask("c"), "c");
        drop(one);
        let counters = gate.counters();
        eventually(|| counters.open() == 1);
        assert_eq!(gate.client([127, 0, 0, 1]).ask("d"), "d");
        assert_eq!((counters.accepted(), counters.refused()), (4, 1));
    }
}

#[test]
fn what_a_proxy_says_is_taken_for_the_connection() {
    let gate = Gate::behind(&["127.0.0.1"], Others::Refuse, ConnectionFilter::default());
    let own = format!("{}", gate.address);
    let v1 = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    assert_eq!(gate.told(v1), ("192.0.2.1:56324".into(), "198.51.100.7:443".into()));
    let v2 = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
        \x20\x01\x0d\x38\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x05\0\x50";
    assert_eq!(gate.told(v2), ("[2001:d38::1]:5".into(), "[::1]:80".into()));
    for own_connection in ["PROXY UNKNOWN\r\n", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let (client, server) = gate.told(own_connection);
        assert!(client.starts_with("127.0.0.1:"), "{client}");
        assert_eq!(server, own);
    }
    // In one piece with what follows, and byte by byte.
    let mut client = gate.client([127, 0, 0, 1]);
    assert_eq!(client.ask(&format!("{v1}remote")), "192.0.2.1:56324");
    let mut client = gate.client([127, 0, 0, 1]);
    client.0.set_nodelay(true).unwrap();
    v1.bytes().for_each(|byte| client.0.write_all(&[byte]).unwrap());
    assert_eq!(client.ask("remote"), "192.0.2.1:56324");
}

#[test]
fn what_is_no_header_ends_the_connection_of_a_proxy() {
    let gate = Gate::behind(&["loopback"], Others::Direct, ConnectionFilter::default());
    for sent in
        ["GET / HTTP/1.1\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "\r\n\r\n\0\r\nQUIT\n\x31\0\0\0"]
    {
        let mut client = gate.client([127, 0, 0, 1]);
        client.send(sent);
        assert_eq!(client.receive(), "", "{sent:?}");
    }
    let counters = gate.counters();
    eventually(|| counters.open() == 0 && counters.refused() == 3);
    // It goes away before it has said anything.
    drop(gate.client([127, 0, 0, 1]));
    eventually(|| counters.refused() == 4);
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let timeout = Duration::from_millis(150);
    let (from, others) = (networks(&["loopback"]), Others::Refuse);
    let proxy_protocol = Some(ProxyProtocol { from, others, timeout });
    let admission = Admission { proxy_protocol, ..Admission::default() };
    let gate = Gate::new(admission, None, RuntimeKind::Stealing);
    let mut client = gate.client([127, 0, 0, 1]);
    let ((), took) = timed(|| {
        client.send("PROXY TCP4 ");
        assert_eq!(client.receive(), "");
    });
    assert!(took >= Duration::from_millis(100), "{took:?}");
}

#[test]
fn only_listed_peers_speak_for_others() {
    let header = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    let proxies = ["127.0.0.1", "10.0.0.0/8"];
    let gate = Gate::behind(&proxies, Others::Refuse, ConnectionFilter::default());
    let mut other = gate.client([127, 0, 0, 2]);
    let _ = other.0.write_all(header.as_bytes());
    assert_eq!(other.receive(), "");

    let gate = Gate::behind(&proxies, Others::Direct, ConnectionFilter::default());
    let mut other = gate.client([127, 0, 0, 2]);
    assert_eq!(other.ask(header), header, "not read as a header");
    assert_eq!(other.ask("remote"), other.0.local_addr().unwrap().to_string());
    assert_eq!(gate.told(header).0, "192.0.2.1:56324");
}

#[test]
fn filters_and_limits_are_about_the_client_that_a_proxy_names() {
    let header = |ip: &str| format!("PROXY TCP4 {ip} 198.51.100.7 56324 443\r\nremote");
    let deny = networks(&["192.0.2.0/24", "127.0.0.1"]);
    let check: Arc<dyn ConnectionCheck> = Arc::new(Check3::default());
    let check = Some(Check { check, timeout: Duration::from_secs(5), or_else: false });
    let filter = ConnectionFilter { deny, check, allow: None };
    let gate = Gate::behind(&["loopback"], Others::Refuse, filter);
    let ask = |ip: &str| {
        let mut client = gate.client([127, 0, 0, 1]);
        (client.ask(&header(ip)), client)
    };
    assert_eq!(ask("192.0.2.9").0, "", "on the list");
    assert_eq!(ask("127.0.0.2").0, "", "the check says no");
    let (first, _one) = ask("198.51.100.1");
    let (_, _two) = ask("198.51.100.1");
    assert_eq!(first, "198.51.100.1:56324");
    assert_eq!(ask("198.51.100.1").0, "", "it has two already");
    assert_eq!(ask("198.51.100.2").0, "198.51.100.2:56324");
}

#[test]
fn refusals_are_lines_for_those_who_look_for_a_fault() {
    let log = Arc::new(Lines::default());
    let mut endpoint = tcp("127.0.0.1:0");
    let filter = ConnectionFilter { deny: networks(&["loopback"]), ..Default::default() };
    endpoint.admission = Some(Arc::new(Admission { filter, proxy_protocol: None }));
    let server = Server::new(ServerOptions { log: log.clone(), ..ServerOptions::default() });
    server.add_service(service(&Arc::new(Echo::default()), KINDS[0], vec![endpoint])).unwrap();
    let address = server.start().unwrap().remove(0).remove(0);
    assert_eq!(Client::to(&address).receive(), "");
    assert!(millrace_error::Log::enabled(&*log, Level::Debug));
    eventually(|| log.any("service echo: a connection from 127.0.0.1:"));
    assert!(log.any("its address is denied"));
}

/// Says of everybody that it was not asked.
struct Full;

impl ConnectionCheck for Full {
    fn check(&self, _: &Address, _: &Address) -> Verdict {
        Box::pin(std::future::ready(Err(Unsaid::TooMany(7))))
    }
}

#[test]
fn a_check_that_says_nothing_is_told_of_and_ten_lines_are_enough() {
    for or_else in [false, true] {
        let log = Arc::new(Lines::default());
        let mut endpoint = tcp("127.0.0.1:0");
        let check = Some(Check { check: Arc::new(Full), timeout: Duration::from_secs(9), or_else });
        let filter = ConnectionFilter { check, ..Default::default() };
        endpoint.admission = Some(Arc::new(Admission { filter, proxy_protocol: None }));
        let server = Server::new(ServerOptions { log: log.clone(), ..ServerOptions::default() });
        server.add_service(service(&Arc::new(Echo::default()), KINDS[0], vec![endpoint])).unwrap();
        let address = server.start().unwrap().remove(0).remove(0);
        for _ in 0..13 {
            let mut client = Client::to(&address);
            let _ = client.0.write_all(b"a");
            assert_eq!(client.receive(), if or_else { "a" } else { "" });
        }
        let outcome = if or_else { "taken" } else { "not taken" };
        let said = format!(
            "service echo: the check was not asked, as 7 connections wait for its answer: \
             a connection from 127.0.0.1 was {outcome}"
        );
        let count = || log.0.lock().unwrap().iter().filter(|line| **line == said).count();
        assert_eq!(count(), 10);
        // At the end at the latest it is said how many there were.
        server.close(Duration::ZERO);
        drop(server);
        eventually(|| {
            log.any("service echo: 3 more connections that the check was not asked about have no line each")
        });
        assert_eq!(count(), 10);
    }
}
