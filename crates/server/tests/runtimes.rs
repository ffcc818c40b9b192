//! Each service has threads of its own: named, in their places, and blocked by nobody else.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use millrace_server::*;
use millrace_transport::{Address, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn named(name: &str, kind: RuntimeKind, cpus: Cpus) -> RuntimeOptions {
    RuntimeOptions { name: name.into(), cpus, ..runtime(kind) }
}

/// The threads of this process whose names begin so: name and number.
fn threads(name: &str) -> BTreeMap<String, u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((name.trim_end().to_owned(), task.file_name().to_str()?.parse().ok()?))
    };
    tasks.filter_map(|task| of(task.ok()?)).filter(|(found, _)| found.starts_with(name)).collect()
}

fn serve_both<A: ServerApp, B: ServerApp>(
    one: (&str, Arc<A>),
    two: (&str, Arc<B>),
    kind: RuntimeKind,
) -> (Server, Vec<Address>) {
    let server = Server::new(ServerOptions::default());
    let endpoints = || vec![tcp("127.0.0.1:0")];
    let options = |name| named(name, kind, Cpus::Any);
    let one = ListeningService::new(one.0, one.1, endpoints(), options(one.0));
    let two = ListeningService::new(two.0, two.1, endpoints(), options(two.0));
    server.add_service(Box::new(one)).unwrap();
    server.add_service(Box::new(two)).unwrap();
    let bound = server.start().unwrap().into_iter().flatten().collect();
    (server, bound)
}

#[test]
fn services_share_no_thread() {
    for (kind, one, two) in
        [(RuntimeKind::Stealing, "sa", "sb"), (RuntimeKind::Isolated, "ia", "ib")]
    {
        let app = Arc::new(Echo::default());
        let (_server, bound) = serve_both((one, app.clone()), (two, app), kind);
        let names = |name: &str| BTreeSet::from([format!("{name}-0"), format!("{name}-1")]);
        let found = || [one, two].map(|name| threads(name).into_keys().collect::<BTreeSet<_>>());
        eventually(|| found() == [names(one), names(two)]);
        for (address, name) in bound.iter().zip([one, two]) {
            let mut clients: Vec<_> = (0..16).map(|_| Client::to(address)).collect();
            let served: BTreeSet<_> = clients.iter_mut().map(|c| c.ask("thread")).collect();
            assert!(served.is_subset(&names(name)), "{served:?}");
        }
        assert_eq!(found(), [names(one), names(two)], "no other has come");
    }
}

/// Blocks the thread it is on at "block", until it is told to go on. Answers anything else.
struct Blocking {
    blocked: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl ServerApp for Blocking {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _conn: &ConnInfo,
        _shutdown: &Shutdown,
    ) -> Option<Stream> {
        let mut buf = [0; 16];
        let read = stream.read(&mut buf).await.ok().filter(|read| *read > 0)?;
        if &buf[..read] == b"block" {
            self.blocked.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        stream.write_all(&buf[..read]).await.ok()?;
        Some(stream)
    }
}

#[test]
fn a_service_whose_threads_are_blocked_leaves_the_others_untouched() {
    for (kind, one, two) in
        [(RuntimeKind::Stealing, "stuck-s", "free-s"), (RuntimeKind::Isolated, "stuck-i", "free-i")]
    {
        let ((blocked, is_blocked), (go_on, released)) = (channel(), channel());
        let stuck = Arc::new(Blocking { blocked, go_on: Mutex::new(released) });
        let (_server, bound) = serve_both((one, stuck), (two, Arc::new(Echo::default())), kind);

        let mut clients: Vec<_> = (0..8).map(|_| Client::to(&bound[0])).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("a"), "a"));
        clients.iter_mut().for_each(|client| client.send("block"));
        // Of threads that share their work, one that is blocked may be the one that hears of more.
        let at_least = if kind == RuntimeKind::Isolated { 2 } else { 1 };
        (0..at_least).for_each(|_| is_blocked.recv_timeout(Duration::from_secs(5)).unwrap());

        let mut free: Vec<_> = (0..8).map(|_| Client::to(&bound[1])).collect();
        for _ in 0..20 {
            free.iter_mut().for_each(|client| assert_eq!(client.ask("c"), "c"));
        }

        for client in &mut clients {
            client.0.set_nonblocking(true).unwrap();
            assert_eq!(client.receive(), "", "it is blocked, or nobody has read what it asks");
            client.0.set_nonblocking(false).unwrap();
        }
        clients.iter().for_each(|_| go_on.send(()).unwrap());
        clients.iter_mut().for_each(|client| assert_eq!(client.receive(), "block"));
    }
}

fn allowed(thread: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

/// The first and the last processor that this process may run on.
fn ends() -> (usize, usize) {
    let list = allowed(std::process::id());
    let mut numbers = list.split([',', '-']).map(|number| number.parse().unwrap());
    let first = numbers.next().unwrap();
    (first, numbers.next_back().unwrap_or(first))
}

#[test]
fn each_thread_runs_where_it_is_told_to() {
    let (first, last) = ends();
    for (kind, list, spread) in
        [(RuntimeKind::Stealing, "ls", "ss"), (RuntimeKind::Isolated, "li", "si")]
    {
        let app = Arc::new(Echo::default());
        let server = Server::new(ServerOptions::default());
        let endpoints = || vec![tcp("127.0.0.1:0")];
        for (name, cpus) in [(list, Cpus::List(vec![last, first])), (spread, Cpus::Spread)] {
            let options = named(name, kind, cpus);
            let service = ListeningService::new(name, app.clone(), endpoints(), options);
            server.add_service(Box::new(service)).unwrap();
        }
        let bound: Vec<_> = server.start().unwrap().into_iter().flatten().collect();
        bound.iter().for_each(|address| assert_eq!(Client::to(address).ask("a"), "a"));
        let places =
            |name: &str| -> Vec<String> { threads(name).into_values().map(allowed).collect() };
        eventually(|| places(list) == [last.to_string(), first.to_string()]);
        eventually(|| places(spread).iter().all(|place| place.parse::<usize>().is_ok()));
        let spread: BTreeSet<_> = places(spread).into_iter().collect();
        assert_eq!(spread.len(), if first == last { 1 } else { 2 });
    }
}

#[test]
fn a_processor_that_is_not_there_fails_the_start_and_a_check() {
    for kind in KINDS {
        let server = Server::new(ServerOptions::default());
        let options = named("nowhere", kind, Cpus::List(vec![0, 1023]));
        let app = Arc::new(Echo::default());
        server
            .add_service(Box::new(ListeningService::new("nowhere", app, vec![], options)))
            .unwrap();
        for failed in [server.check().map(drop), server.start().map(drop)] {
            let error = failed.unwrap_err().to_string();
            assert!(error.starts_with("service nowhere: processor 1023 is none"), "{error}");
        }
    }
}
