//! Connections as a program sees them: what is asked for happens, in order and no further.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use millrace_error::{Code, Level, Log, NoLog, Result};
use millrace_listeners::Endpoint;
use millrace_server::{ConnInfo, ListeningService, RuntimeOptions, Server, ServerOptions};
use millrace_tcp::{StreamApp, StreamHandle, StreamServer, TcpOptions};

const PATIENCE: Duration = Duration::from_secs(10);

/// Hands its connections to the test.
struct Given(Sender<StreamHandle>);

impl StreamApp for Given {
    fn accept(&self, _conn: &ConnInfo, handle: StreamHandle) -> bool {
        self.0.send(handle).is_ok()
    }
}

struct Running {
    server: Server,
    address: SocketAddr,
    app: Arc<StreamServer<Given>>,
    given: Receiver<StreamHandle>,
}

/// Hands the lines of warnings to the test.
struct Lines(Sender<String>);

impl Log for Lines {
    fn log(&self, level: Level, line: &str) {
        if level == Level::Warn {
            let _ = self.0.send(line.to_owned());
        }
    }
}

fn start(options: TcpOptions) -> Running {
    start_logging(options, Arc::new(NoLog))
}

fn start_logging(options: TcpOptions, log: Arc<dyn Log>) -> Running {
    let (give, given) = channel();
    let app = Arc::new(StreamServer::new(Given(give), options, log));
    let endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap());
    let runtime = RuntimeOptions::default();
    let service = ListeningService::new("app", app.clone(), vec![endpoint], runtime);
    let server = Server::new(ServerOptions::default());
    server.add_service(Box::new(service)).unwrap();
    let address = server.start().unwrap()[0][0].socket_addr().unwrap();
    Running { server, address, app, given }
}

impl Running {
    fn connect(&self) -> (TcpStream, StreamHandle) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, self.given.recv_timeout(PATIENCE).unwrap())
    }
}

fn wait<T: Send + 'static>(ask: impl FnOnce(Sender<Result<T>>)) -> Result<T> {
    let (give, given) = channel();
    ask(give);
    given.recv_timeout(PATIENCE).unwrap()
}

fn read(handle: &StreamHandle) -> Result<Option<Bytes>> {
    wait(|give| handle.read(move |outcome| give.send(outcome).unwrap()))
}

fn room(handle: &StreamHandle) -> Result<()> {
    wait(|give| handle.room(move |outcome| give.send(outcome).unwrap()))
}

fn end(handle: &StreamHandle) -> Result<()> {
    wait(|give| handle.end(move |outcome| give.send(outcome).unwrap()))
}

#[test]
fn reads_writes_and_each_side_ends_by_itself() {
    let running = start(TcpOptions::default());
    let (mut client, handle) = running.connect();
    client.write_all(b"ping").unwrap();
    assert_eq!(read(&handle).unwrap().unwrap(), "ping");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&handle).unwrap(), None);
    assert!(handle.write(b"po") && handle.write(b"ng"));
    end(&handle).unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).unwrap();
    assert_eq!(back, "pong");
    let traffic = running.app.traffic();
    assert_eq!((traffic.received(), traffic.sent()), (4, 4));
    assert_eq!(running.server.close(PATIENCE).connections.cut, 0);
    assert!(
        read(&handle).is_err()
            && !handle.write(b"late")
            && room(&handle).is_err()
            && end(&handle).is_err()
    );
}

#[test]
fn aborted_or_idle_it_is_reset_and_those_who_wait_are_told() {
    let idle = Some(Duration::from_millis(100));
    let running = start(TcpOptions { idle_timeout: idle });
    let (mut client, handle) = running.connect();
    assert_eq!(read(&handle).unwrap_err().code(), Code::ReadTimeout);
    assert!(client.read(&mut [0]).is_err());
    // Nor has anybody to read for that.
    let (_client, handle) = running.connect();
    let ended = wait(|give| handle.when_ended(move |outcome| give.send(outcome).unwrap()));
    assert_eq!(ended.unwrap_err().code(), Code::ReadTimeout);
    let (mut client, handle) = running.connect();
    let (give, given) = channel();
    handle.when_ended(move |outcome| give.send(outcome).unwrap());
    handle.abort();
    assert!(client.read(&mut [0]).is_err());
    given.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn what_was_written_goes_out_when_it_is_closed() {
    let running = start(TcpOptions::default());
    let (mut client, handle) = running.connect();
    // More than the system holds, so that most of it is still here when it is closed.
    let much = vec![7; 8 * 1024 * 1024];
    assert!(!handle.write(&much));
    handle.close_now();
    drop(handle);
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == much);
}

#[test]
fn what_was_written_goes_out_though_the_client_has_sent_what_nobody_read() {
    let running = start(TcpOptions::default());
    let much = vec![7; 5_000_000];
    for sends_on in [false, true] {
        for _ in 0..4 {
            let (mut client, handle) = running.connect();
            client.write_all(&vec![b'x'; 200_000]).unwrap();
            handle.write(&much);
            handle.close_now();
            let mut writer = client.try_clone().unwrap();
            let sending = thread::spawn(move || {
                // Until it is at its end itself.
                while sends_on && writer.write_all(b"more").is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let mut back = Vec::new();
            let mut piece = vec![0; 16 * 1024];
            loop {
                let count = client.read(&mut piece).unwrap();
                if count == 0 {
                    break;
                }
                back.extend_from_slice(&piece[..count]);
                thread::sleep(Duration::from_micros(200));
            }
            assert!(back == much, "{} bytes", back.len());
            client.shutdown(Shutdown::Both).unwrap();
            sending.join().unwrap();
        }
    }
    assert_eq!(running.server.close(PATIENCE).connections.cut, 0);
}

#[test]
fn who_writes_is_asked_to_wait_until_what_is_held_has_gone_out() {
    let running = start(TcpOptions::default());
    let (mut client, handle) = running.connect();
    room(&handle).unwrap();
    let much = vec![7; 8 * 1024 * 1024];
    assert!(!handle.write(&much));
    let (give, given) = channel();
    handle.room(move |outcome| give.send(outcome).unwrap());
    assert!(given.recv_timeout(Duration::from_millis(50)).is_err());
    let mut back = vec![0; much.len()];
    client.read_exact(&mut back).unwrap();
    given.recv_timeout(PATIENCE).unwrap().unwrap();
    // A reset throws away what is held.
    assert!(!handle.write(&much));
    handle.abort();
    assert!(client.read_to_end(&mut back).is_err());
    assert!(room(&handle).is_err());
}

#[test]
fn a_program_is_told_that_the_server_closes_and_is_cut_when_that_is_over() {
    let running = start(TcpOptions::default());
    let (mut client, handle) = running.connect();
    let (told, tells) = channel();
    handle.when_draining(move |draining| told.send(draining).unwrap());
    let (give, given) = channel();
    handle.read(move |outcome| give.send(outcome).unwrap());
    let closing = std::thread::spawn(move || running.server.close(Duration::from_millis(100)));
    assert!(tells.recv_timeout(PATIENCE).unwrap());
    let error = given.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!((error.code(), closing.join().unwrap().connections.cut), (Code::ServerClosed, 1));
    assert!(client.read(&mut [0]).is_err());
}

#[test]
fn the_same_asked_for_twice_at_once_fails_the_earlier() {
    let running = start(TcpOptions::default());
    let (mut client, handle) = running.connect();
    let (give, given) = channel();
    handle.read(move |outcome| give.send(outcome).unwrap());
    let (again, second) = channel();
    handle.read(move |outcome| again.send(outcome).unwrap());
    assert_eq!(given.recv_timeout(PATIENCE).unwrap().unwrap_err().code(), Code::Internal);
    client.write_all(b"x").unwrap();
    assert_eq!(second.recv_timeout(PATIENCE).unwrap().unwrap().unwrap(), "x");
}

#[test]
fn what_the_program_refuses_is_reset_with_a_line_in_the_log() {
    let (tell, told) = channel();
    let Running { server, address, given, app: _app } =
        start_logging(TcpOptions::default(), Arc::new(Lines(tell)));
    drop(given);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(client.read(&mut [0]).is_err());
    let line = told.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains(&client.local_addr().unwrap().to_string()), "{line}");
    assert!(line.contains("too many connections wait"), "{line}");
    server.close(Duration::ZERO);
}
