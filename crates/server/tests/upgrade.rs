//! How one server takes over from another: all listening sockets, no client lost.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::upgrading::*;
use common::*;
use millrace_listeners::Endpoint;
use millrace_server::*;

/// Asks again and again, on a new connection each, until told to stop. How many answers there were.
fn hammer(address: SocketAddr, stop: &Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    let stop = stop.clone();
    thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let mut client = Client::connect(address);
            assert_eq!(client.ask("x"), "x");
            count += 1;
        }
        count
    })
}

#[test]
fn ten_upgrades_refuse_and_lose_no_connection() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let mut running = Process::new(&socket, true, vec![tcp("127.0.0.1:0")]);
    let address = running.start().remove(0);
    assert!(running.lines.any("nobody to take over from"));
    let stop = Arc::default();
    let clients: Vec<_> = (0..4).map(|_| hammer(address.socket_addr().unwrap(), &stop)).collect();
    for _ in 0..10 {
        let next = Process::new(&socket, true, vec![tcp("127.0.0.1:0")]);
        assert_eq!(next.start()[0], address);
        running.is_replaced();
        assert_eq!(running.server.close(Duration::from_secs(10)).connections.cut, 0);
        running = next;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().unwrap() > 10);
    }
    running.server.close(Duration::ZERO);
    assert!(!socket.exists());
}

#[test]
fn line_16_sockets_are_matched_by_where_they_are_bound_and_not_by_how_that_is_written() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let old = Process::new(
        &socket,
        false,
        vec![tcp("127.0.0.1:0"), tcp("0.0.0.0:0"), tcp("127.0.0.1:0"), tcp("127.0.0.2:0")],
    );
    let bound = old.start();
    // Ports that the system chose, one asked for by its number, and an IPv4 address written as IPv6.
    let mapped = format!("[::ffff:127.0.0.2]:{}", bound[3].port().unwrap());
    let new = Process::new(
        &socket,
        true,
        vec![tcp(&mapped), at(&bound[1]), tcp("127.0.0.1:0"), tcp("127.0.0.1:0")],
    );
    let found = new.start();
    old.is_replaced();
    old.server.close(Duration::ZERO);
    assert_eq!(found, [&bound[3], &bound[1], &bound[0], &bound[2]].map(Clone::clone));
    for address in &found {
        let port = address.port().unwrap();
        let host = if address.to_string().starts_with("127.0.0.2") {
            [127, 0, 0, 2]
        } else {
            [127, 0, 0, 1]
        };
        assert_eq!(Client::connect((host, port).into()).ask("x"), "x");
    }
}

#[test]
fn line_16_ipv6_addresses_agree_however_they_are_written() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let old = Process::new(&socket, false, vec![tcp("[::]:0"), tcp("[0:0:0:0:0:0:0:1]:0")]);
    let bound = old.start();
    let ports: Vec<_> = bound.iter().map(|address| address.port().unwrap()).collect();
    let any = tcp(&format!("[0:0::0:0]:{}", ports[0]));
    let new = Process::new(&socket, true, vec![tcp(&format!("[::1]:{}", ports[1])), any]);
    let found = new.start();
    old.is_replaced();
    assert_eq!(found, [bound[1].clone(), bound[0].clone()]);
}

#[test]
fn what_the_new_one_has_not_is_closed_and_what_it_has_in_addition_is_bound() {
    let folder = Folder::new();
    let (socket, gone) = (folder.file("upgrade"), folder.file("gone"));
    let old = Process::new(
        &socket,
        false,
        vec![tcp("127.0.0.1:0"), tcp("127.0.0.1:0"), Endpoint::unix(&gone)],
    );
    let bound = old.start();
    let new = Process::new(&socket, true, vec![at(&bound[1]), tcp("127.0.0.3:0")]);
    let found = new.start();
    old.is_replaced();
    old.server.close(Duration::from_secs(5));
    assert_eq!(found[0], bound[1]);
    for address in &found {
        assert_eq!(Client::to(address).ask("x"), "x");
    }
    assert!(TcpStream::connect(bound[0].socket_addr().unwrap()).is_err());
    assert!(!gone.exists());
}

#[test]
fn endpoints_that_were_added_while_it_ran_and_abstract_names_are_handed_over_too() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let name = format!("unix:@{}", folder.0.file_name().unwrap().to_str().unwrap());
    let named = || cfg!(target_os = "linux").then(|| Endpoint::at(name.parse().unwrap()));
    let old = Process::new(&socket, false, named().into_iter().collect());
    old.start();
    let (_, added) = old.endpoints.add(&tcp("127.0.0.1:0")).unwrap();
    let wanted = std::iter::once(at(&added)).chain(named());
    let new = Process::new(&socket, true, wanted.collect());
    let found = new.start();
    old.is_replaced();
    old.server.close(Duration::from_secs(5));
    assert_eq!(found[0], added);
    new.goes_on(&added);
}

#[test]
fn more_sockets_than_one_message_carries() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let endpoints = || vec![tcp("127.0.0.1:0"); 150];
    let old = Process::new(&socket, false, endpoints());
    let bound = old.start();
    let new = Process::new(&socket, true, endpoints());
    assert_eq!(new.start(), bound);
    old.is_replaced();
    old.server.close(Duration::from_secs(5));
    for address in &bound {
        assert_eq!(Client::to(address).ask("x"), "x");
    }
}

#[test]
fn unix_sockets_are_handed_over_with_their_files() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let old = Process::new(&socket, false, vec![Endpoint::unix(&path)]);
    old.start();
    let mut busy = UnixStream::connect(&path).unwrap();
    busy.write_all(b"hold").unwrap();
    eventually(|| old.app.held.load(Ordering::SeqCst) == 1);
    // In a folder of another name.
    let link = folder.file("link");
    std::os::unix::fs::symlink(&folder.0, &link).unwrap();
    let new = Process::new(&socket, true, vec![Endpoint::unix(link.join("service"))]);
    new.start();
    old.is_replaced();
    old.app.go.notify_one();
    let mut answer = [0; 4];
    busy.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
    drop(busy);
    assert_eq!(old.server.close(Duration::from_secs(5)).connections.cut, 0);
    drop(old);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"new!").unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"new!");
    drop(client);
    new.server.close(Duration::from_secs(5));
    assert!(!path.exists() && !socket.exists());
}

#[test]
fn a_new_one_that_does_not_start_leaves_the_old_one_as_it_was() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0"), Endpoint::unix(&path)]);
    let bound = old.start();
    let new = |extra: &str| {
        Process::new(&socket, true, vec![at(&bound[0]), Endpoint::unix(&path), tcp(extra)])
    };
    let broken = new("192.0.2.1:0");
    assert!(matches!(broken.server.start(), Err(StartError::Bind(_))));
    drop(broken);
    eventually(|| old.lines.any("going on"));
    old.goes_on(&bound[0]);
    assert!(UnixStream::connect(&path).is_ok());
    // Nor is anything left behind that the next one would stumble over.
    let good = new("127.0.0.1:0");
    assert_eq!(good.start()[..2], bound);
    old.is_replaced();
    assert_eq!(old.server.close(Duration::from_secs(5)).connections.cut, 0);
    assert!(path.exists());
    good.goes_on(&bound[0]);
}

#[test]
fn a_new_one_that_is_ready_too_late_does_not_start() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let endpoints = vec![tcp("127.0.0.1:0")];
    let old = Process::patient(&socket, false, endpoints, Duration::from_millis(100));
    let bound = old.start();
    let new = Process::new(&socket, true, vec![at(&bound[0])]);
    let slow = Slow(service(&Arc::default(), RuntimeKind::Isolated, Vec::new()), old.lines.clone());
    new.server.add_service(Box::new(slow)).unwrap();
    let error = new.server.start().unwrap_err();
    assert!(error.to_string().contains("waited for too long"), "{error}");
    old.goes_on(&bound[0]);
    assert!(socket.exists());
}

/// A service that takes its time to launch: until the one it replaces has lost its patience.
struct Slow(Box<dyn Service>, Arc<Lines>);

impl Service for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn counters(&self) -> Arc<Counters> {
        self.0.counters()
    }

    fn launch(&mut self, context: &ServiceContext) -> std::io::Result<()> {
        eventually(|| self.1.any("not ready in time"));
        self.0.launch(context)
    }

    fn accept(&mut self) {}

    fn stop(&mut self, limit: Duration) {
        self.0.stop(limit);
    }
}

#[test]
fn two_at_once_take_over_one_after_the_other() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let first = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    let bound = first.start();
    let next: Vec<_> =
        (0..3).map(|_| Arc::new(Process::new(&socket, true, vec![at(&bound[0])]))).collect();
    let starts: Vec<_> = next
        .iter()
        .map(|process| {
            let process = process.clone();
            thread::spawn(move || process.start())
        })
        .collect();
    for start in starts {
        assert_eq!(start.join().unwrap(), bound);
    }
    first.is_replaced();
    let is_last = |process: &&Arc<Process>| !process.is_replaced.load(Ordering::SeqCst);
    eventually(|| next.iter().filter(is_last).count() == 1);
    next.iter().find(is_last).unwrap().goes_on(&bound[0]);
}

/// What a process leaves behind that is killed.
fn leave_behind(socket: &std::path::Path) {
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    assert!(socket.exists());
}

#[test]
fn of_two_first_starts_at_the_same_moment_one_is_refused() {
    for _ in 0..50 {
        let folder = Folder::new();
        let socket = folder.file("upgrade");
        leave_behind(&socket);
        let make = || Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
        let processes = [make(), make()];
        let started = thread::scope(|scope| {
            let start = |process: &Process| process.server.start();
            let [one, other] = processes.each_ref().map(|one| scope.spawn(move || start(one)));
            [one.join().unwrap(), other.join().unwrap()]
        });
        let refused = started.iter().filter_map(|started| started.as_ref().err());
        let refused: Vec<_> = refused.map(ToString::to_string).collect();
        assert_eq!(refused.len(), 1, "{started:?}");
        assert!(refused[0].starts_with("a server is running at "), "{refused:?}");
        // It can be taken over from, and the next start finds nothing in its way.
        let next = Process::new(&socket, true, vec![tcp("127.0.0.1:0")]);
        next.start();
        assert!(next.server.has_succeeded());
        next.server.close(Duration::ZERO);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
    }
}

#[test]
fn of_two_at_the_same_moment_that_are_to_take_over_one_does_so_from_the_other() {
    for _ in 0..10 {
        let folder = Folder::new();
        let socket = folder.file("upgrade");
        leave_behind(&socket);
        let make = || Process::new(&socket, true, vec![tcp("127.0.0.1:0")]);
        let processes = [make(), make()];
        thread::scope(|scope| {
            for process in &processes {
                scope.spawn(|| process.start());
            }
        });
        let succeeded = processes.iter().filter(|process| process.server.has_succeeded());
        assert_eq!(succeeded.count(), 1);
    }
}

#[test]
fn the_upgrade_socket_is_for_its_user_alone_and_taken_by_one_server() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    // What a process that was killed has left.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    let bound = old.start();
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let other = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    let error = other.server.start().unwrap_err();
    assert!(error.to_string().contains("a server is running at"), "{error}");
    old.goes_on(&bound[0]);
    // It may be started when the way is free.
    old.server.close(Duration::ZERO);
    assert!(!socket.exists());
    other.start();
    // And what is no socket is not touched.
    let file = folder.file("file");
    std::fs::write(&file, "kept").unwrap();
    assert!(Process::new(&file, true, Vec::new()).server.start().is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}

#[test]
fn who_speaks_another_language_is_sent_away_and_holds_nothing_up() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    let bound = old.start();
    for words in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 3, 1, 0, 99],
        &[0, 0, 0, 3, 1, 1, 1],
        &[0, 0, 0, 0],
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(words).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    old.goes_on(&bound[0]);
    // One that says nothing does not hold up the end.
    let silent = UnixStream::connect(&socket).unwrap();
    thread::sleep(Duration::from_millis(50));
    let (_, took) = timed(|| old.server.close(Duration::from_secs(30)));
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(silent);
}

#[test]
fn a_new_one_whose_predecessor_ends_meanwhile_serves_all_the_same() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let old =
        Arc::new(Process::new(&socket, false, vec![tcp("127.0.0.1:0"), Endpoint::unix(&path)]));
    let bound = old.start();
    let new = Process::new(&socket, true, vec![at(&bound[0]), Endpoint::unix(&path)]);
    let closed = old.clone();
    let ending = Ending(service(&Arc::default(), RuntimeKind::Isolated, Vec::new()), closed);
    new.server.add_service(Box::new(ending)).unwrap();
    assert_eq!(new.start(), bound);
    assert!(new.lines.any("ended before it was told to"));
    new.goes_on(&bound[0]);
    assert!(UnixStream::connect(&path).is_ok());
    // The upgrade socket is its own now.
    let third = Process::new(&socket, true, vec![at(&bound[0]), Endpoint::unix(&path)]);
    assert_eq!(third.start(), bound);
    new.is_replaced();
}

/// A service at whose launch the predecessor ends.
struct Ending(Box<dyn Service>, Arc<Process>);

impl Service for Ending {
    fn name(&self) -> &str {
        "ending"
    }

    fn counters(&self) -> Arc<Counters> {
        self.0.counters()
    }

    fn launch(&mut self, context: &ServiceContext) -> std::io::Result<()> {
        self.1.server.close(Duration::ZERO);
        self.0.launch(context)
    }

    fn accept(&mut self) {}

    fn stop(&mut self, limit: Duration) {
        self.0.stop(limit);
    }
}
