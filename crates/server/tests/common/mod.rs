//! What the tests of the server share: an app that echoes, logs that remember, plain clients.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[cfg(unix)]
pub mod upgrading;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_error::{Level, Log};
use millrace_listeners::Endpoint;
use millrace_server::*;
use millrace_transport::{Address, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// Nothing here may take longer than this.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Sends back what comes in, one piece at a time. "panic" panics, "runtime" is answered with the
/// place of the runtime, "hold" is answered when a test says `go`. While draining it ends after the answer; it ends at once when idle,
/// unless `stubborn`.
#[derive(Default)]
pub struct Echo {
    pub stubborn: bool,
    pub cleanups: AtomicUsize,
    pub starts: AtomicUsize,
    /// How often it began to wait for a piece.
    pub waits: AtomicUsize,
    /// How many "hold" have come.
    pub held: AtomicUsize,
    pub go: Notify,
}

impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let mut buf = [0; 1024];
        self.waits.fetch_add(1, Ordering::SeqCst);
        let read = tokio::select! {
            read = stream.read(&mut buf) => read.ok()?,
            () = shutdown.draining(), if !self.stubborn => return None,
        };
        let answer = match &buf[..read] {
            b"" => return None,
            b"panic" => panic!("as asked"),
            b"runtime" => conn.runtime.to_string().into_bytes(),
            b"hold" => {
                let go = self.go.notified();
                self.held.fetch_add(1, Ordering::SeqCst);
                go.await;
                b"held".into()
            }
            b"remote" => conn.remote.to_string().into_bytes(),
            b"local" => conn.local.to_string().into_bytes(),
            b"sni" => match conn.tls.as_ref().and_then(|tls| tls.server_name.clone()) {
                Some(name) => name.into_bytes(),
                None => b"none".into(),
            },
            b"thread" => std::thread::current().name().unwrap().as_bytes().into(),
            other => other.into(),
        };
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    async fn cleanup(&self) {
        self.cleanups.fetch_add(1, Ordering::SeqCst);
    }

    fn on_runtime_start(self: &Arc<Self>, _runtime: usize) {
        self.starts.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async {});
    }
}

#[derive(Default)]
pub struct Lines(pub Mutex<Vec<String>>);

impl Log for Lines {
    fn log(&self, _level: Level, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

impl Lines {
    pub fn any(&self, part: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

/// The report of a server whose connections ended so.
pub fn connections(finished: u64, cut: u64) -> CloseReport {
    CloseReport { connections: Ends { finished, cut }, ..CloseReport::default() }
}

pub const KINDS: [RuntimeKind; 2] = [RuntimeKind::Stealing, RuntimeKind::Isolated];

pub fn runtime(kind: RuntimeKind) -> RuntimeOptions {
    RuntimeOptions { threads: 2, kind, name: "echo".into(), ..RuntimeOptions::default() }
}

pub fn tcp(address: &str) -> Endpoint {
    Endpoint::tcp(address.parse().unwrap())
}

pub fn service(app: &Arc<Echo>, kind: RuntimeKind, endpoints: Vec<Endpoint>) -> Box<dyn Service> {
    Box::new(ListeningService::new("echo", app.clone(), endpoints, runtime(kind)))
}

/// A running server on a port of 127.0.0.1.
pub fn serve(app: &Arc<Echo>, kind: RuntimeKind) -> (Arc<Server>, SocketAddr) {
    let server = Arc::new(Server::new(ServerOptions::default()));
    server.add_service(service(app, kind, vec![tcp("127.0.0.1:0")])).unwrap();
    let bound = server.start().unwrap();
    (server, bound[0][0].socket_addr().unwrap())
}

pub struct Client(pub TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    pub fn to(address: &Address) -> Client {
        Client::connect(address.socket_addr().unwrap())
    }

    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// What comes next; empty at the end, however it comes.
    pub fn receive(&mut self) -> String {
        let mut buf = [0; 1024];
        let read = self.0.read(&mut buf).unwrap_or(0);
        String::from_utf8(buf[..read].into()).unwrap()
    }

    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.receive()
    }
}

/// How long `work` took, with its result.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

pub fn eventually(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}
