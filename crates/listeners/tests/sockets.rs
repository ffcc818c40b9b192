//! Each option of a socket is seen to act: asked back from the system, or tried.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_listeners::{Endpoint, UnixOptions};
use millrace_transport::Stream;
use socket2::{Domain, SockAddr, Socket, Type};

/// A folder of this test's own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("millrace-sockets-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn with_mode(path: &Path, mode: u32) -> Endpoint {
    let mut endpoint = Endpoint::unix(path);
    endpoint.unix.mode = Some(mode);
    endpoint
}

fn integer(socket: &impl AsRawFd, level: i32, option: i32) -> i32 {
    let (mut value, mut size) = (0, 4);
    // SAFETY: the descriptor is open, and value and size are there for the call.
    let result = unsafe {
        let value = std::ptr::from_mut(&mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &mut size)
    };
    assert_eq!(result, 0);
    value
}

/// The socket of this process that listens at a port.
fn listening(port: u16) -> std::net::TcpListener {
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number: i32| {
            // SAFETY: a number that is none of a descriptor fails.
            let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
            // SAFETY: the copy is nobody else's.
            (copy >= 0).then(|| unsafe { std::os::fd::FromRawFd::from_raw_fd(copy) })
        })
        .find(|listener: &std::net::TcpListener| {
            listener.local_addr().is_ok_and(|address| address.port() == port)
                && integer(listener, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == 1
        })
        .unwrap()
}

#[test]
fn a_socket_file_has_the_permissions_asked_for_whatever_the_umask() {
    let folder = Folder::new("mode");
    for asked in [0o600, 0o660, 0o666, 0o777, 0o400, 0o000] {
        let bound = with_mode(&folder.path("a"), asked).bind().unwrap();
        assert_eq!(mode(&folder.path("a")), asked, "{asked:o}");
        drop(bound);
    }
    let _bound = Endpoint::unix(folder.path("b")).bind().unwrap();
    assert_eq!(mode(&folder.path("b")) & 0o111, mode(&folder.0) & 0o111, "the umask's");
}

#[test]
fn at_no_time_does_a_socket_file_allow_more_and_nobody_gets_in_before_it_is_ready() {
    let folder = Folder::new("window");
    let path = folder.path("a");
    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (path, done) = (path.clone(), done.clone());
        move || {
            let (mut seen, mut wide) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                if let Ok(metadata) = std::fs::symlink_metadata(&path) {
                    seen += 1;
                    wide += u32::from(metadata.mode() & 0o777 & !0o640 != 0);
                }
            }
            (seen, wide)
        }
    });
    for _ in 0..2000 {
        drop(with_mode(&path, 0o640).bind().unwrap());
    }
    done.store(true, Ordering::Relaxed);
    let (seen, wide) = watcher.join().unwrap();
    assert!(seen > 0);
    assert_eq!(wide, 0, "of {seen}");
}

#[test]
fn a_socket_file_belongs_to_whom_it_is_given() {
    let folder = Folder::new("owner");
    let path = folder.path("a");
    let own = std::fs::metadata(&folder.0).unwrap();
    let mut endpoint = with_mode(&path, 0o660);
    endpoint.unix = UnixOptions { uid: Some(own.uid()), gid: Some(own.gid()), ..endpoint.unix };
    drop(endpoint.bind().unwrap());
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } == 0 {
        endpoint.unix = UnixOptions { uid: Some(12345), gid: Some(54321), ..endpoint.unix };
        let _bound = endpoint.bind().unwrap();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), mode(&path)), (12345, 54321, 0o660));
    } else {
        endpoint.unix.uid = Some(0);
        let error = endpoint.bind().unwrap_err();
        assert_eq!(error.io.kind(), ErrorKind::PermissionDenied);
        assert!(!path.exists(), "nothing is left of it");
    }
}

#[test]
fn a_socket_with_a_full_backlog_is_in_use_and_asking_does_not_wait() {
    let folder = Folder::new("full");
    let path = folder.path("a");
    let other = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    other.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    other.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        if client.connect(&SockAddr::unix(&path).unwrap()).is_err() {
            break;
        }
        waiting.push(client);
    }
    let error = Endpoint::unix(&path).bind().unwrap_err();
    assert_eq!(error.io.kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn what_cannot_be_a_path_of_a_socket_says_why() {
    let folder = Folder::new("path");
    let long = Endpoint::unix(folder.path(&"x".repeat(200))).bind().unwrap_err();
    assert_eq!(long.io.kind(), ErrorKind::InvalidInput, "{long}");
    let nowhere = Endpoint::unix(folder.path("none/a")).bind().unwrap_err();
    assert_eq!(nowhere.io.kind(), ErrorKind::NotFound, "{nowhere}");
    let target = folder.path("target");
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, folder.path("link")).unwrap();
    let link = with_mode(&folder.path("link"), 0o777).bind().unwrap_err();
    assert_eq!(link.io.kind(), ErrorKind::AddrInUse, "{link}");
    let before = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&target, before).unwrap();
    with_mode(&folder.path("link"), 0o777).bind().unwrap_err();
    assert_eq!(mode(&target), 0o600);
}

#[tokio::test]
async fn an_abstract_name_is_bound_without_a_file() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("millrace-abstract-{}", std::process::id());
    let endpoint = Endpoint::at(format!("unix:@{name}").parse().unwrap());
    let bound = endpoint.bind().unwrap();
    let mut stack = bound.stack().unwrap();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _client = UnixStream::connect_addr(&address).unwrap();
    let accepted = stack.accept().await;
    assert_eq!(accepted.local.to_string(), format!("unix:@{name}"));
    assert_eq!(endpoint.bind().unwrap_err().io.kind(), ErrorKind::AddrInUse);
    drop((bound, stack, accepted));
    endpoint.bind().unwrap();
}

#[tokio::test]
async fn a_listening_socket_has_what_was_asked_for() {
    let mut endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap());
    endpoint.options.backlog = 37;
    endpoint.options.fast_open = Some(23);
    endpoint.options.send_buffer = Some(96 * 1024);
    endpoint.options.reuse_port = true;
    let bound = endpoint.bind().unwrap();
    let mut stack = bound.stack().unwrap();
    let port = bound.address().port().unwrap();
    let listener = listening(port);
    assert_eq!(integer(&listener, libc::SOL_TCP, libc::TCP_FASTOPEN), 23);
    assert_eq!(integer(&listener, libc::SOL_SOCKET, libc::SO_REUSEPORT), 1);

    // The seventh column of /proc/net/tcp is of no help; TCP_INFO of a listening socket has its backlog.
    // SAFETY: all zeros are a value of this plain struct.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open, and info and size are there for the call.
    unsafe {
        let value = std::ptr::from_mut(&mut info).cast();
        libc::getsockopt(listener.as_raw_fd(), libc::SOL_TCP, libc::TCP_INFO, value, &mut size);
    }
    assert_eq!(info.tcpi_sacked, 37);

    let client = tokio::net::TcpStream::connect(("127.0.0.1", port));
    let (_client, accepted) = tokio::join!(client, stack.accept());
    let Stream::Tcp(stream) = &accepted.stream else { unreachable!() };
    let buffer = socket2::SockRef::from(stream).send_buffer_size().unwrap();
    assert!(buffer >= 2 * 96 * 1024, "{buffer}");

    let usual = Endpoint::tcp("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let listener = listening(usual.address().port().unwrap());
    assert_eq!(integer(&listener, libc::SOL_TCP, libc::TCP_FASTOPEN), 0);
    assert_eq!(integer(&listener, libc::SOL_SOCKET, libc::SO_REUSEPORT), 0);
}

#[test]
fn ipv6_only_refuses_clients_of_ipv4_and_its_opposite_takes_them() {
    for only in [true, false] {
        let mut endpoint = Endpoint::tcp("[::]:0".parse().unwrap());
        endpoint.options.ipv6_only = Some(only);
        let bound = endpoint.bind().unwrap();
        let port = bound.address().port().unwrap();
        let v4 = std::net::TcpStream::connect(("127.0.0.1", port));
        assert_eq!(v4.is_err(), only);
        std::net::TcpStream::connect(("::1", port)).unwrap();
    }
}
