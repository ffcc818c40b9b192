//! What binding does and says, over real sockets.

#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millrace_listeners::Endpoint;
use millrace_transport::{Address, Keepalive, Stream};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("millrace-binding-{}-{name}", std::process::id()))
}

fn local() -> Endpoint {
    Endpoint::tcp("127.0.0.1:0".parse().unwrap())
}

#[test]
fn a_taken_port_is_named_and_free_again_when_dropped() {
    let bound = local().bind().unwrap();
    let again = Endpoint::at(bound.address().clone());
    let error = again.bind().unwrap_err();
    assert_eq!(error.to_string(), format!("address in use: {}", bound.address()));
    drop(bound);
    again.bind().unwrap();
}

#[test]
fn ports_are_shared_only_where_asked_for() {
    let mut endpoint = local();
    endpoint.options.reuse_port = true;
    let bound = endpoint.bind().unwrap();
    endpoint.address = bound.address().clone();
    endpoint.bind().unwrap();
}

#[test]
fn ipv6_only_leaves_the_port_to_ipv4() {
    let mut endpoint = Endpoint::tcp("[::]:0".parse().unwrap());
    endpoint.options.ipv6_only = Some(true);
    let port = endpoint.bind().map(|bound| (bound.address().port().unwrap(), bound)).unwrap();
    Endpoint::tcp(([0, 0, 0, 0], port.0).into()).bind().unwrap();
}

#[test]
fn a_unix_socket_left_behind_is_replaced_and_the_file_goes_at_the_end() {
    let path = path("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = Endpoint::unix(&path).bind().unwrap();
    assert_eq!(bound.address(), &Address::Unix(path.clone()));
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn of_those_that_come_at_the_same_moment_one_has_the_unix_socket() {
    let folder = path("at-once");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("a");
    for round in 0..300 {
        if round % 2 == 0 {
            drop(UnixListener::bind(&path).unwrap());
        }
        let ready = Barrier::new(4);
        let bind = || {
            ready.wait();
            Endpoint::unix(&path).bind()
        };
        let all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (first, others): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!(first.len(), 1, "in round {round}");
        for other in others {
            assert_eq!(other.unwrap_err().io.kind(), ErrorKind::AddrInUse);
        }
        UnixStream::connect(&path).unwrap();
        drop(first);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left of it");
    }
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn one_that_ends_removes_no_file_of_the_one_that_takes_its_place() {
    let path = path("in-turn");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let Ok(bound) = Endpoint::unix(&path).bind() else { continue };
                    // Whoever has it can be found until the end.
                    let found = UnixStream::connect(&path);
                    done.fetch_or(found.is_err(), Ordering::Relaxed);
                    drop(bound);
                    found.unwrap();
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) && !done.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn who_cannot_be_kept_from_the_folder_of_a_unix_socket_keeps_nobody_from_binding() {
    let folder = path("held");
    std::fs::create_dir(&folder).unwrap();
    let held = std::fs::File::open(&folder).unwrap();
    // SAFETY: the descriptor is open.
    let locked = unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&held), libc::LOCK_EX) };
    assert_eq!(locked, 0);
    drop(Endpoint::unix(folder.join("a")).bind().unwrap());
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_unix_socket_in_use_and_a_file_are_not_touched() {
    let used = path("used");
    let _bound = Endpoint::unix(&used).bind().unwrap();
    let error = Endpoint::unix(&used).bind().unwrap_err();
    assert_eq!(error.to_string(), format!("address in use: unix:{}", used.display()));
    assert!(used.exists());

    let file = path("file");
    std::fs::write(&file, "precious").unwrap();
    Endpoint::unix(&file).bind().unwrap_err();
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_successors_socket_file_outlives_its_predecessor() {
    let path = path("successor");
    let first = Endpoint::unix(&path).bind().unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Endpoint::unix(&path).bind().unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn accepted_connections_have_the_options_that_were_asked_for() {
    let mut endpoint = local();
    endpoint.options.keepalive =
        Some(Keepalive { idle: Duration::from_secs(7), ..Default::default() });
    endpoint.options.recv_buffer = Some(64 * 1024);
    let bound = endpoint.bind().unwrap();
    let mut stack = bound.stack().unwrap();
    let client = tokio::net::TcpStream::connect(bound.address().socket_addr().unwrap());
    let (client, accepted) = tokio::join!(client, stack.accept());
    let Stream::Tcp(stream) = &accepted.stream else { unreachable!() };
    assert!(stream.nodelay().unwrap());
    let socket = socket2::SockRef::from(stream);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
    assert_eq!(accepted.remote, Address::Ip(client.unwrap().local_addr().unwrap()));
    assert_eq!(&accepted.local, bound.address());
}
