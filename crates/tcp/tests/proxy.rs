//! The proxy of connections: bytes both ways, their end, and what becomes of failures.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use millrace_connectors::{Peer, PeerOptions};
use millrace_error::{Level, Log};
use millrace_listeners::Endpoint;
use millrace_server::{ListeningService, RuntimeOptions, Server, ServerOptions};
use millrace_tcp::{TcpOptions, TcpProxy};
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Log for Lines {
    fn log(&self, level: Level, line: &str) {
        self.0.lock().unwrap().push(format!("{level:?} {line}"));
    }
}

impl Lines {
    fn wait_for(&self, what: &str) {
        let start = Instant::now();
        while !self.0.lock().unwrap().iter().any(|line| line.contains(what)) {
            assert!(start.elapsed() < PATIENCE, "no line with {what}: {:?}", self.0.lock());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Running {
    server: Server,
    address: SocketAddr,
    app: Arc<TcpProxy>,
    lines: Arc<Lines>,
}

fn proxy(peer: SocketAddr, idle: Option<Duration>) -> Running {
    let lines = Arc::new(Lines::default());
    let peer = Arc::new(Peer::new(1, peer.into(), PeerOptions::default()));
    let options = TcpOptions { idle_timeout: idle };
    let app = Arc::new(TcpProxy::new(peer, options, 1, lines.clone()));
    let endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap());
    let runtime = RuntimeOptions::default();
    let service = ListeningService::new("l4", app.clone(), vec![endpoint], runtime);
    let server = Server::new(ServerOptions::default());
    server.add_service(Box::new(service)).unwrap();
    let address = server.start().unwrap()[0][0].socket_addr().unwrap();
    Running { server, address, app, lines }
}

impl Running {
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }
}

/// A peer that serves each connection in a thread.
fn peer(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[test]
fn bytes_go_both_ways_and_the_end_of_one_side_leaves_the_other_open() {
    // Speaks first, reads to the end, and only then answers.
    let peer = peer(|mut stream| {
        stream.write_all(b"hello ").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let running = proxy(peer, None);
    let mut client = running.client();
    let mut greeting = [0; 6];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello ");
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let sent = body.clone();
    let upload = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    upload.join().unwrap();
    assert!(back == body, "{} bytes came back", back.len());
    running.lines.wait_for("3000000 B received, 3000006 B sent");
    let traffic = running.app.traffic();
    assert_eq!((traffic.received(), traffic.sent()), (3_000_000, 3_000_006));
    assert_eq!(running.app.connector().stats().open, 0);
    assert_eq!(running.server.close(PATIENCE).connections.cut, 0);
}

#[test]
fn a_reset_of_one_side_is_a_reset_of_the_other() {
    // After a byte of the client's: a reset that comes at once may meet the proxy still connecting.
    let peer = peer(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&stream).set_linger(linger).unwrap();
    });
    let running = proxy(peer, None);
    let mut client = running.client();
    client.write_all(b"x").unwrap();
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(is_reset(&error), "{error}");
    running.lines.wait_for("the peer failed");
}

#[test]
fn a_peer_that_is_not_there_resets_the_client() {
    // Bound, so that nobody else is there, and not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let running = proxy(socket.local_addr().unwrap().as_socket().unwrap(), None);
    let mut client = running.client();
    let read = client.read_to_end(&mut Vec::new());
    assert!(is_reset(&read.unwrap_err()));
    running.lines.wait_for("CONNECT_REFUSED");
}

#[test]
fn a_connection_without_a_byte_is_reset_after_the_idle_time() {
    let peer = peer(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let running = proxy(peer, Some(Duration::from_millis(600)));
    let mut client = running.client();
    let start = Instant::now();
    // Bytes keep it alive for longer than that.
    for _ in 0..8 {
        client.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(is_reset(&client.read_to_end(&mut Vec::new()).unwrap_err()));
    assert!(start.elapsed() >= Duration::from_millis(1300));
    running.lines.wait_for("idle for too long");
}

#[test]
fn neither_side_runs_ahead_of_the_other() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let peer = peer(move |mut stream| {
        gone.lock().unwrap().recv().unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let running = proxy(peer, None);
    let mut client = running.client();
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = vec![7; 1 << 20];
    let mut written = 0;
    // The system's own buffers take some; what the proxy holds is next to nothing.
    while written < 256 << 20 {
        match client.write(&piece) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    assert!(written < 128 << 20, "{written} bytes were taken");
    go.send(()).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&piece).unwrap();
}

#[test]
fn what_is_open_at_the_end_of_the_grace_is_reset() {
    let peer = peer(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let running = proxy(peer, None);
    let mut client = running.client();
    client.write_all(b"x").unwrap();
    let start = Instant::now();
    while running.app.traffic().received() == 0 {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(running.server.close(Duration::from_millis(50)).connections.cut, 1);
    assert!(is_reset(&client.read_to_end(&mut Vec::new()).unwrap_err()));
    running.lines.wait_for("1 B received, 0 B sent");
    running.lines.wait_for("cut off, as the server closed");
}
