//! What a hand-over between two servers does not lose, whatever becomes of one of them on the way.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::upgrading::*;
use common::*;
use millrace_listeners::Endpoint;
use millrace_server::*;
use tokio::sync::Notify;

/// Work that is ready when it is told to be, and remembers that it was stopped.
#[derive(Default)]
struct Gate {
    opened: Notify,
    has_begun: AtomicBool,
    was_stopped: AtomicBool,
}

impl Background for Gate {
    async fn run(
        self: Arc<Self>,
        ready: Ready,
        shutdown: Shutdown,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.has_begun.store(true, Ordering::SeqCst);
        tokio::select! {
            () = self.opened.notified() => ready.say(),
            () = shutdown.draining() => {}
        }
        shutdown.draining().await;
        self.was_stopped.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A successor whose start ends when its gate is opened.
fn gated(folder: &Folder, endpoints: Vec<Endpoint>) -> (Arc<Process>, Arc<Gate>) {
    let process = Process::new(&folder.file("upgrade"), true, endpoints);
    let gate = Arc::<Gate>::default();
    let options = BackgroundOptions { ready_within: None, ..BackgroundOptions::default() };
    let service = BackgroundService::new("gate", gate.clone(), options);
    process.server.add_service(Box::new(service)).unwrap();
    (Arc::new(process), gate)
}

/// Starts it on a thread, as far as the gate.
fn begin(
    (process, gate): &(Arc<Process>, Arc<Gate>),
) -> thread::JoinHandle<Result<Vec<Vec<millrace_transport::Address>>, StartError>> {
    let process = process.clone();
    let starting = thread::spawn(move || process.server.start());
    eventually(|| gate.has_begun.load(Ordering::SeqCst));
    starting
}

#[test]
fn a_new_one_that_hangs_in_its_start_is_told_that_nobody_waits_for_it() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let endpoints = vec![tcp("127.0.0.1:0")];
    let old = Process::patient(&socket, false, endpoints, Duration::from_millis(200));
    let bound = old.start();
    let hanging = gated(&folder, vec![at(&bound[0])]);
    let error = begin(&hanging).join().unwrap().unwrap_err();
    assert!(matches!(error, StartError::Upgrade { .. }), "{error}");
    assert!(error.to_string().contains("waited for too long"), "{error}");
    assert!(hanging.1.was_stopped.load(Ordering::SeqCst));
    assert!(old.lines.any("not ready in time"));
    old.goes_on(&bound[0]);
    let good = Process::new(&socket, true, vec![at(&bound[0])]);
    assert_eq!(good.start(), bound);
    old.is_replaced();
}

#[test]
fn a_new_one_accepts_nothing_before_the_old_one_lets_go() {
    let folder = Folder::new();
    let old = Process::new(&folder.file("upgrade"), false, vec![tcp("127.0.0.1:0")]);
    let bound = old.start();
    let new = gated(&folder, vec![at(&bound[0]), tcp("127.0.0.1:0")]);
    let starting = begin(&new);
    // Were both to accept, these would be shared out between them.
    let mut clients: Vec<_> = (0..50).map(|_| Client::to(&bound[0])).collect();
    assert!(clients.iter_mut().all(|client| client.ask("x") == "x"));
    assert_eq!(old.server.counters()[0].1.accepted(), 50);
    // With the start that fails nothing of it is lost.
    clients.iter_mut().for_each(|client| client.send("hold"));
    eventually(|| old.app.held.load(Ordering::SeqCst) == 50);
    new.0.server.close(Duration::ZERO);
    assert!(matches!(starting.join().unwrap(), Err(StartError::Closed)));
    old.app.go.notify_waiters();
    assert!(clients.iter_mut().all(|client| client.receive() == "held"));
    old.goes_on(&bound[0]);
    // One that comes so far accepts from then on.
    let new = gated(&folder, vec![at(&bound[0])]);
    let starting = begin(&new);
    new.1.opened.notify_one();
    assert_eq!(starting.join().unwrap().unwrap()[0], bound);
    old.is_replaced();
    old.server.close(Duration::ZERO);
    new.0.goes_on(&bound[0]);
}

#[test]
fn a_plain_start_beside_a_running_server_is_no_upgrade() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let running = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    let bound = running.start();
    for _ in 0..3 {
        let other = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
        let error = other.server.start().unwrap_err().to_string();
        assert!(error.contains("a server is running at"), "{error}");
    }
    // It has met those before it meets this one.
    let good = Process::new(&socket, true, vec![at(&bound[0])]);
    assert_eq!(good.start(), bound);
    running.is_replaced();
    assert!(!running.lines.any("upgrade failed"));
    good.goes_on(&bound[0]);
}

/// Speaks as a successor until it is ready. What it has received is gone with it.
fn say_ready(socket: &std::path::Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&[0, 0, 0, 3, 1, 0, 2]).unwrap();
    let mut answer = Vec::new();
    // That these were all, and who it is.
    let complete = [&[0, 0, 0, 6, 3, 0][..], &std::process::id().to_be_bytes()].concat();
    while !answer.ends_with(&complete) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    // On all the sockets that there are.
    stream.write_all(&[0, 0, 0, 6, 4, 0, 0, 0, 0, 1]).unwrap();
    stream
}

#[test]
fn the_old_one_goes_on_where_the_new_one_dies_with_the_word_on_its_way() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0"), Endpoint::unix(&path)]);
    let bound = old.start();
    // Before it has read the word, and after.
    for reads in [false, true] {
        let mut dying = say_ready(&socket);
        if reads {
            let mut word = [0; 6];
            dying.read_exact(&mut word).unwrap();
            assert_eq!(word, [0, 0, 0, 2, 5, 0]);
        }
        drop(dying);
    }
    let deaths = |old: &Process| {
        let lines = old.lines.0.lock().unwrap();
        lines.iter().filter(|line| line.contains("it died when it was ready")).count()
    };
    eventually(|| deaths(&old) == 2);
    old.goes_on(&bound[0]);
    assert!(socket.exists() && UnixStream::connect(&path).is_ok());
    let good = Process::new(&socket, true, vec![at(&bound[0]), Endpoint::unix(&path)]);
    assert_eq!(good.start(), bound);
    old.is_replaced();
}

#[test]
fn one_that_served_as_nobody_answered_ends_the_old_one_when_that_comes_to_itself() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0")]);
    old.start();
    let mut impatient = say_ready(&socket);
    // It has not waited for the word, and is not there any more to hear it.
    impatient.write_all(&[0, 0, 0, 2, 7, 0]).unwrap();
    drop(impatient);
    old.is_replaced();
}

#[test]
fn an_old_one_that_dies_when_it_is_asked_is_nobody_to_take_over_from() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let dying = UnixListener::bind(&socket).unwrap();
    let death = thread::spawn(move || {
        let (mut stream, _) = dying.accept().unwrap();
        drop(dying);
        stream.read_exact(&mut [0; 7]).unwrap();
    });
    let new = Process::new(&socket, true, vec![tcp("127.0.0.1:0")]);
    let bound = new.start();
    death.join().unwrap();
    assert!(new.lines.any("nobody to take over from"));
    new.goes_on(&bound[0]);
    assert!(socket.exists());
}

#[test]
fn a_new_one_serves_before_it_is_ready_where_the_old_one_dies() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0"), Endpoint::unix(&path)]);
    let bound = old.start();
    let new = gated(&folder, vec![at(&bound[0]), Endpoint::unix(&path)]);
    let starting = begin(&new);
    old.server.close(Duration::ZERO);
    new.0.goes_on(&bound[0]);
    assert!(new.0.lines.any("ended before it was told to"));
    // The files are its own, which go with it.
    assert!(socket.exists() && path.exists());
    new.0.server.close(Duration::ZERO);
    assert!(starting.join().unwrap().is_err());
    assert!(!socket.exists() && !path.exists());
}

#[test]
fn one_that_is_to_end_after_a_delay_is_taken_over_from_meanwhile() {
    let folder = Folder::new();
    let socket = folder.file("upgrade");
    let old = Arc::new(Process::new(&socket, false, vec![tcp("127.0.0.1:0")]));
    let bound = old.start();
    let (delay, closing) = (Duration::from_secs(60), old.clone());
    let closed = thread::spawn(move || closing.server.close_after(delay, Duration::ZERO));
    // Nothing tells that the delay has begun.
    thread::sleep(Duration::from_millis(50));
    let new = Process::new(&socket, true, vec![at(&bound[0])]);
    assert_eq!(new.start(), bound);
    old.is_replaced();
    let (_, took) = timed(|| old.server.close(Duration::ZERO));
    assert!(took < Duration::from_secs(20), "{took:?}");
    closed.join().unwrap();
    new.goes_on(&bound[0]);
}

#[test]
fn a_start_that_fails_lets_go_of_all_the_sockets_and_leaves_their_files_as_they_were() {
    let folder = Folder::new();
    let (socket, path) = (folder.file("upgrade"), folder.file("service"));
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let unix = |mode| {
        let mut endpoint = Endpoint::unix(&path);
        endpoint.unix.mode = Some(mode);
        endpoint
    };
    let old = Process::new(&socket, false, vec![tcp("127.0.0.1:0"), unix(0o660)]);
    let bound = old.start();
    let endpoints = vec![unix(0o600), tcp("192.0.2.1:0"), at(&bound[0])];
    let broken = Process::new(&socket, true, endpoints);
    assert!(matches!(broken.server.start(), Err(StartError::Bind(_))));
    assert_eq!(mode(&path), 0o660);
    let closing = gated(&folder, vec![unix(0o600), at(&bound[0])]);
    let starting = begin(&closing);
    assert_eq!(mode(&path), 0o660);
    closing.0.server.close(Duration::ZERO);
    assert!(starting.join().unwrap().is_err());
    assert_eq!(mode(&path), 0o660);
    // One that takes over makes them its own; the others are still there, and hold nothing.
    let good = Process::new(&socket, true, vec![unix(0o600), at(&bound[0])]);
    good.start();
    assert_eq!(mode(&path), 0o600);
    old.is_replaced();
    old.server.close(Duration::ZERO);
    good.server.close(Duration::ZERO);
    assert!(TcpStream::connect(bound[0].socket_addr().unwrap()).is_err());
    drop((broken, closing));
}
