//! Responses: passed on as one message that can be read in one way only, or not at all; and a
//! connection to an origin is used again only where nothing about its last answer was in doubt.
//!
//! What is sent is the origin's answer to a GET. The steps of a row:
//! - `ask HEAD`: what is asked instead.
//! - `ends`: the origin then ends the connection.
//! - `later`: what the origin sends, unasked, once the client has its answer.
//! - `502`: that is what the client gets, and its connection goes on.
//! - `interim 502`: the same behind interim answers, which may have gone on.
//! - `kept`, `dropped`: what the client gets, exactly, and what becomes of the origin's connection.
//! - `cut`: the client's connection ends before the answer does.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::pieces::{WAYS, Way};
use crate::strict::{Framed, Message, Reader, text};
use crate::support::*;
use crate::table::{Row, file};

/// What the origin plays to the next request for `/row`.
#[derive(Clone, Default)]
struct Script {
    pieces: Vec<Vec<u8>>,
    ends: bool,
    later: Option<Vec<u8>>,
}

struct Origin {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// Lets it send what comes later; and hears that it has.
    go: Sender<()>,
    gone: Receiver<()>,
}

struct Rig {
    origin: Origin,
    proxy: Proxy,
    other: Reader<TcpStream>,
    asked: usize,
}

pub(crate) fn run(path: &str) {
    let mut rig = Rig::new();
    let mut failed = Vec::new();
    for row in file(path) {
        for way in WAYS {
            let name = format!("{path}: {} ({way:?})", row.name);
            if catch_unwind(AssertUnwindSafe(|| rig.row(&row, way, &name))).is_err() {
                failed.push(name);
                rig = Rig::new();
            }
        }
    }
    assert_eq!(rig.proxy.counters().panicked(), 0);
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

impl Rig {
    fn new() -> Rig {
        let origin = Origin::start();
        let proxy = Proxy::to(origin.address);
        let other = client(proxy.address, "GET");
        Rig { origin, proxy, other, asked: 0 }
    }

    fn row(&mut self, row: &Row, way: Way, name: &str) {
        let pieces = way.cut(&row.bytes).into_iter().map(<[u8]>::to_vec).collect();
        let mut script = Script { pieces, ..Script::default() };
        let (mut method, mut expected) = ("GET", None);
        for step in &row.steps {
            match step.heading.as_str() {
                "ends" => script.ends = true,
                "later" => script.later = Some(step.bytes.clone()),
                "ask HEAD" => method = "HEAD",
                _ => expected = Some(step),
            }
        }
        let expected = expected.unwrap_or_else(|| panic!("nothing is expected: {name}"));
        let later = script.later.is_some();
        *self.origin.script.lock().unwrap() = script;

        let mut client = client(self.proxy.address, method);
        ask(&mut client, method, "/row");
        let got = answer(&mut client, name);
        let pool = || self.proxy.pool();
        let is_cut = expected.heading == "cut";
        match expected.heading.as_str() {
            "cut" => assert!(got.is_none(), "{name}: {got:?}"),
            "502" | "interim 502" => {
                let mut got = got.unwrap_or_else(|| panic!("no answer: {name}"));
                if expected.heading == "interim 502" {
                    let at = got.find("HTTP/1.1 502 ").unwrap_or_else(|| panic!("{name}: {got}"));
                    got.drain(..at);
                }
                assert!(got.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{name}: {got}");
                assert!(!got.contains("connection: close"), "{name}: {got}");
            }
            _ => assert_eq!(got.unwrap_or_default(), text(&expected.bytes), "{name}"),
        }
        let kept = usize::from(expected.heading == "kept");
        // Bytes that come late are noticed while the connection waits.
        eventually(name, || (pool().open, pool().idle) == (kept, kept));
        if later {
            self.origin.go.send(()).unwrap();
            self.origin.gone.recv_timeout(PATIENCE).unwrap();
            if way == Way::Bytes {
                eventually("it is noticed", || pool().open == 0);
            }
        }
        // Whatever that was, everybody gets their own.
        if !is_cut {
            self.asked += 1;
            own_answer(&mut client, method, self.asked, name);
        }
        self.asked += 1;
        own_answer(&mut self.other, "GET", self.asked, name);
    }
}

fn own_answer(client: &mut Reader<TcpStream>, method: &str, number: usize, name: &str) {
    ask(client, method, &format!("/{number}"));
    let got = answer(client, name).unwrap_or_else(|| panic!("no answer for another: {name}"));
    assert!(got.contains(&format!("\r\nX-For: /{number}\r\n")), "not one's own: {name}: {got}");
}

fn client(proxy: SocketAddr, method: &str) -> Reader<TcpStream> {
    let stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let is_head = method == "HEAD";
    Reader::new(stream, move |head| match head.split(' ').nth(1).unwrap() {
        "204" | "304" => Framed::Never,
        status if is_head || status.starts_with('1') => Framed::Never,
        _ => Framed::OrByClose,
    })
}

fn ask(client: &mut Reader<TcpStream>, method: &str, target: &str) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.source().write_all(request.as_bytes()).unwrap();
}

/// All heads up to the final one, and its body, less the date; none if it is cut off.
fn answer(client: &mut Reader<TcpStream>, name: &str) -> Option<String> {
    let mut all = String::new();
    loop {
        match client.next() {
            Message::Whole(message) => {
                let is_interim = message.starts_with("HTTP/1.1 1");
                for line in message.split_inclusive("\r\n") {
                    if !line.starts_with("date: ") {
                        all.push_str(line);
                    }
                }
                if !is_interim {
                    return Some(all);
                }
            }
            Message::Garbage(garbage) => panic!("{name}: the client gets {garbage:?}"),
            Message::Cut(_) | Message::End => return None,
        }
    }
}

impl Origin {
    fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::<Mutex<Script>>::default();
        let ((go, may_go), (tell, gone)) = (channel(), channel());
        let (may_go, shared) = (Arc::new(Mutex::new(may_go)), script.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (may_go, tell, script) = (may_go.clone(), tell.clone(), shared.clone());
                thread::spawn(move || play(&stream.unwrap(), &script, &may_go, &tell));
            }
        });
        Origin { address, script, go, gone }
    }
}

/// One connection of the origin.
fn play(
    mut stream: &TcpStream,
    script: &Mutex<Script>,
    may_go: &Mutex<Receiver<()>>,
    tell: &Sender<()>,
) {
    stream.set_nodelay(true).unwrap();
    let mut reader = Reader::new(stream.try_clone().unwrap(), |_| Framed::ByHead);
    while let Message::Whole(request) = reader.next() {
        let target = request.split(' ').nth(1).unwrap();
        if target != "/row" {
            let body = if request.starts_with("HEAD") { "" } else { "ok" };
            let head = format!("HTTP/1.1 200 OK\r\nX-For: {target}\r\nContent-Length: 2\r\n\r\n");
            if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
            continue;
        }
        let script = script.lock().unwrap().clone();
        for piece in script.pieces {
            // The proxy may have had enough.
            if stream.write_all(&piece).is_err() {
                return;
            }
        }
        if let Some(later) = script.later {
            may_go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            let _ = stream.write_all(&later);
            tell.send(()).unwrap();
        }
        if script.ends {
            let _ = stream.shutdown(Shutdown::Write);
            return;
        }
    }
}
