//! `/ws`, with a client that sends the frames it is told to.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::*;
use millrace_demo_origin::OriginOptions;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The bit of the last frame of a message.
const LAST: u8 = 0x80;

const GREETING: &[u8] = b"Hello. What you send comes back\n";

fn asking(more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

struct Socket(TcpStream);

impl Socket {
    /// A socket that has been greeted.
    fn open(origin: &Origin) -> Self {
        let mut stream = origin.connect();
        stream.write_all(asking("").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        for field in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        ] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        }
        let mut socket = Socket(stream);
        assert_eq!(socket.hear(), (TEXT, GREETING.to_vec()));
        socket
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn say(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [7, 0, 255, 129];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send(&frame);
    }

    /// The next frame: its first byte and what it holds.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// It is closed with this code, and the connection ends.
    #[track_caller]
    fn ends_with(mut self, code: u16) {
        let (first, payload) = self.hear();
        assert_eq!((first, &payload[..]), (CLOSE, &code.to_be_bytes()[..]));
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }

    /// The connection ends without a word.
    #[track_caller]
    fn is_cut_off(&mut self) {
        let read = self.0.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)), "{read:?}");
    }
}

#[test]
fn messages_of_every_size_come_back() {
    let origin = start(quick());
    let mut socket = Socket::open(&origin);
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        for first in [TEXT, BINARY] {
            let payload = vec![b'a' + (length % 26) as u8; length];
            socket.say(first, &payload);
            assert!(socket.hear() == (first, payload), "{length}");
        }
    }
    socket.say(BINARY, &[0xff, 0, 0xfe]);
    assert_eq!(socket.hear(), (BINARY, vec![0xff, 0, 0xfe]));
}

#[test]
fn pieces_become_one_message_and_pings_may_come_between() {
    let origin = start(quick());
    let mut socket = Socket::open(&origin);
    // A letter of two bytes, cut between them.
    socket.say(TEXT & !LAST, &[b'h', 0xc3]);
    socket.say(PING, b"still there?");
    socket.say(0, b"");
    socket.say(LAST, &[0xa4]);
    assert_eq!(socket.hear(), (PONG, b"still there?".to_vec()));
    assert_eq!(socket.hear(), (TEXT, "hä".into()));
    // Byte by byte, and all at once.
    for byte in [TEXT, 0x81, 0, 0, 0, 0, b'x'] {
        socket.send(&[byte]);
    }
    assert_eq!(socket.hear(), (TEXT, b"x".to_vec()));
    socket.send(&[[TEXT, 0x81, 0, 0, 0, 0, b'y'], [TEXT, 0x81, 0, 0, 0, 0, b'z']].concat());
    assert_eq!((socket.hear().1, socket.hear().1), (b"y".to_vec(), b"z".to_vec()));
}

#[test]
fn a_close_is_answered_with_the_same_and_the_connection_ends() {
    let origin = start(quick());
    for payload in [&b""[..], &[0x03, 0xe8], b"\x0f\xa0bye"] {
        let mut socket = Socket::open(&origin);
        socket.say(CLOSE, payload);
        assert_eq!(socket.hear(), (CLOSE, payload.to_vec()));
        assert_eq!(socket.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn who_breaks_the_rules_is_told_which() {
    type Act = fn(&mut Socket);
    let origin = start(quick());
    let cases: [(u16, Act); 12] = [
        (1002, |socket| socket.send(b"\x81\x01x")),
        (1002, |socket| socket.say(0xc1, b"a reserved bit")),
        (1002, |socket| socket.say(0x83, b"an unknown opcode")),
        (1002, |socket| socket.say(LAST, b"the end of nothing")),
        (1002, |socket| {
            socket.say(TEXT & !LAST, b"one");
            socket.say(TEXT, b"two");
        }),
        (1002, |socket| socket.say(PING, &[b'x'; 126])),
        (1002, |socket| socket.say(PING & !LAST, b"")),
        (1002, |socket| socket.say(CLOSE, b"x")),
        (1002, |socket| socket.say(CLOSE, &1005_u16.to_be_bytes())),
        (1007, |socket| socket.say(TEXT, b"\xff")),
        (1007, |socket| socket.say(CLOSE, b"\x03\xe8\xff")),
        (1009, |socket| {
            socket.say(BINARY & !LAST, &[b'x'; 60_000]);
            socket.say(LAST, &[b'x'; 5_537]);
        }),
    ];
    for (code, act) in cases {
        let mut socket = Socket::open(&origin);
        act(&mut socket);
        socket.ends_with(code);
    }
    // Not waited for: its length alone is too much.
    let mut socket = Socket::open(&origin);
    socket.send(&[BINARY, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]);
    socket.ends_with(1009);
}

#[test]
fn who_does_not_ask_for_it_in_the_right_way_is_told_how() {
    let origin = start(quick());
    let plain = origin.ask(&last("GET /ws"));
    let old = origin.ask(&asking("Connection: close\r\n").replace(": 13", ": 8"));
    let keyless = origin.ask(&asking("Connection: close\r\n").replace("ZQ==", ""));
    for answer in [plain, old, keyless, origin.ask(&last("HEAD /ws"))] {
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
        let fields = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n";
        assert!(answer.contains(fields), "{answer}");
    }
    assert!(origin.ask(&last("POST /ws")).starts_with("HTTP/1.1 405 "));
    let answer = origin.ask(&[&asking("Content-Length: 1\r\n"), "x"].concat());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn a_silent_client_is_pinged_and_given_up_if_it_does_not_answer() {
    let short = Duration::from_millis(100);
    let origin = start(OriginOptions { idle: short, patience: 20 * short, ..quick() });
    let mut socket = Socket::open(&origin);
    for _ in 0..2 {
        assert_eq!(socket.hear(), (PING, Vec::new()));
        socket.say(PONG, b"");
    }
    assert_eq!(socket.hear(), (PING, Vec::new()));
    // Nothing more: there is nobody who could be told.
    socket.is_cut_off();
}

#[test]
fn a_client_that_stops_in_mid_message_is_given_up() {
    let short = Duration::from_millis(100);
    let origin = start(OriginOptions { patience: short, ..quick() });
    let mut begun = Socket::open(&origin);
    begun.say(TEXT & !LAST, b"and");
    let mut cut = Socket::open(&origin);
    cut.send(&[TEXT]);
    for mut socket in [begun, cut] {
        socket.is_cut_off();
    }
}

#[test]
fn a_server_that_closes_says_that_it_goes_away() {
    let origin = start(quick());
    let socket = Socket::open(&origin);
    let server = origin.server.clone();
    let closing = std::thread::spawn(move || server.close(Duration::from_secs(10)));
    socket.ends_with(1001);
    assert_eq!(closing.join().unwrap().connections.cut, 0);
}
