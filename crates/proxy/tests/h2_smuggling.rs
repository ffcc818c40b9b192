//! Malformed requests over HTTP/2, and what an origin of HTTP/1.1 gets of them: nothing, or a request
//! that is whole and says what was asked for. Seen in the raw bytes that the origin got.

#![allow(clippy::unwrap_used, clippy::type_complexity)]

mod support;
#[path = "support/told.rs"]
mod told;

use std::sync::{Arc, Mutex};

use support::frames::*;
use support::*;
use told::Told;

/// An origin that keeps all bytes that it gets, and answers each head at once. It reads bodies to
/// their end, however that comes.
fn recorder() -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let bytes = Arc::<Mutex<Vec<u8>>>::default();
    let seen = bytes.clone();
    let origin = Origin::new(move |_, mut wire| {
        let mut own = String::new();
        loop {
            let piece = wire.piece();
            if piece.is_empty() {
                return;
            }
            seen.lock().unwrap().extend_from_slice(&piece);
            own.push_str(&String::from_utf8_lossy(&piece));
            let is_whole = if own.contains("\r\ntransfer-encoding: chunked\r\n") {
                own.contains("\r\n0\r\n") && own.ends_with("\r\n\r\n")
            } else if own.contains("\r\ncontent-length: 5\r\n") {
                own.ends_with("\r\n\r\nhello")
            } else {
                own.ends_with("\r\n\r\n")
            };
            if is_whole {
                own.clear();
                wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    (origin, bytes)
}

struct Rig {
    proxy: Proxy,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Rig {
    fn new() -> Rig {
        let (origin, bytes) = recorder();
        let proxy = Proxy::to(origin.address);
        // It lives as long as the process.
        std::mem::forget(origin);
        Rig { proxy, bytes }
    }

    fn client(&self) -> Frames {
        Frames::connect(self.proxy.address)
    }

    /// All that the origin got since it was asked last; a request that is known to be fine has come
    /// after it, and is not part of it.
    fn got(&self) -> String {
        const LAST: &str = "GET /last HTTP/1.1\r\nhost: last\r\n\r\n";
        let mut client = self.client();
        let head = [("authority", "last"), ("path", "/last")];
        let fields = head.map(|(name, value)| (format!(":{name}"), value));
        let mut all = vec![(":method", "GET"), (":scheme", "http")];
        all.extend(fields.iter().map(|(name, value)| (&**name, *value)));
        client.head(1, 5, &all);
        assert_eq!(client.told(), Told::Status(200));
        let bytes = std::mem::take(&mut *self.bytes.lock().unwrap());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(text.matches(LAST).count(), 1, "{text}");
        text.replace(LAST, "")
    }
}

fn post(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    with(&[&[(":method", "POST")], changes].concat())
}

const RESET: &[Told] = &[Told::Reset(Frames::PROTOCOL_ERROR)];
/// Where `h2` cannot read on, the connection ends.
const GONE: &[Told] = &[Told::GoAway(Frames::PROTOCOL_ERROR)];
const BAD: &[Told] = &[Told::Status(400)];

#[test]
fn a_malformed_head_reaches_no_origin() {
    let rig = Rig::new();
    let cases: Vec<(Vec<(&str, &str)>, &[Told])> = vec![
        // Pseudo-headers: missing, twice, after others, unknown, of a response, empty.
        (without(":method"), RESET),
        (without(":scheme"), RESET),
        (without(":path"), RESET),
        ([&GET_FIELDS[..], &[(":method", "GET")]].concat(), RESET),
        ([&GET_FIELDS[..], &[(":path", "/2")]].concat(), RESET),
        ([&GET_FIELDS[..], &[(":scheme", "http")]].concat(), RESET),
        ([&GET_FIELDS[..], &[(":authority", "b")]].concat(), RESET),
        ([&[("x", "1")], &GET_FIELDS[..]].concat(), RESET),
        ([&GET_FIELDS[..3], &[("x", "1")], &GET_FIELDS[3..]].concat(), RESET),
        (with(&[(":status", "200")]), RESET),
        (with(&[(":unknown", "1")]), GONE),
        (with(&[(":", "1")]), GONE),
        (with(&[(":protocol", "websocket")]), RESET),
        (with(&[(":path", "")]), RESET),
        (with(&[(":authority", "")]), RESET),
        (with(&[(":method", "")]), GONE),
        (with(&[(":scheme", "")]), BAD),
        // Paths.
        (with(&[(":path", "*")]), BAD),
        (with(&[(":path", "a")]), RESET),
        (with(&[(":path", "?a")]), BAD),
        (with(&[(":path", "http://b/")]), RESET),
        (with(&[(":path", "/a b")]), RESET),
        (with(&[(":path", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /2")]), RESET),
        (with(&[(":path", "/\n")]), RESET),
        (with(&[(":path", "/\r")]), RESET),
        (with(&[(":path", "/\0")]), RESET),
        (with(&[(":path", "/\t")]), RESET),
        (with(&[(":path", "/\x7f")]), RESET),
        (with(&[(":path", "/\u{e9}")]), BAD),
        (with(&[(":path", "/a#b")]), BAD),
        (with(&[(":path", "/a?b#c")]), BAD),
        (with(&[(":path", "#")]), BAD),
        (with(&[(":path", "/#")]), BAD),
        (with(&[(":method", "OPTIONS"), (":path", "*#")]), RESET),
        // Methods.
        (with(&[(":method", "GET /2")]), GONE),
        (with(&[(":method", "GET\r\n")]), GONE),
        (with(&[(":method", "G\0T")]), GONE),
        (with(&[(":method", "G:T")]), GONE),
        // Hosts.
        (with(&[(":authority", "a b")]), RESET),
        (with(&[(":authority", "a\r\nx: y")]), RESET),
        (with(&[(":authority", "a\0")]), RESET),
        (with(&[(":authority", "a/b")]), RESET),
        (with(&[(":authority", "a?b")]), RESET),
        (with(&[(":authority", "a#b")]), RESET),
        (with(&[(":authority", "u@a")]), BAD),
        (with(&[(":authority", "u:p@a")]), BAD),
        (with(&[(":authority", "a:b")]), BAD),
        (with(&[(":authority", "a:1:2")]), RESET),
        (without(":authority"), BAD),
        (with(&[("host", "b")]), BAD),
        (with(&[("host", "a"), ("host", "a")]), BAD),
        (with(&[("host", "a:80")]), BAD),
        ([&without(":authority")[..], &[("host", "a"), ("host", "b")]].concat(), BAD),
        ([&without(":authority")[..], &[("host", "u@a")]].concat(), BAD),
        ([&without(":authority")[..], &[("host", "a, b")]].concat(), BAD),
        ([&without(":authority")[..], &[("host", "a/b")]].concat(), BAD),
        // Schemes.
        (with(&[(":scheme", "ftp")]), BAD),
        (vec![(":method", "GET"), (":scheme", "http"), ("host", "a")], BAD),
        (vec![(":method", "GET"), (":scheme", "ftp"), (":path", "/"), ("host", "a")], BAD),
        (vec![(":method", "GET"), (":scheme", "HTTP"), (":path", "/"), ("host", "a")], BAD),
        (with(&[(":scheme", "http:")]), RESET),
        (with(&[(":scheme", "http://b/?")]), RESET),
        (with(&[(":scheme", "ht tp")]), RESET),
        (with(&[(":scheme", "http\r\n")]), RESET),
        // What belongs to a connection of HTTP/1.1.
        (with(&[("connection", "close")]), RESET),
        (with(&[("connection", "x")]), RESET),
        (with(&[("keep-alive", "timeout=5")]), RESET),
        (with(&[("proxy-connection", "keep-alive")]), RESET),
        (with(&[("transfer-encoding", "chunked")]), RESET),
        (with(&[("transfer-encoding", "")]), RESET),
        (with(&[("upgrade", "h2c")]), RESET),
        (with(&[("te", "gzip")]), RESET),
        (with(&[("te", "trailers, gzip")]), RESET),
        (with(&[("te", "trailers"), ("te", "x")]), RESET),
        // Names.
        (with(&[("X-Upper", "1")]), GONE),
        (with(&[("Transfer-Encoding", "chunked")]), GONE),
        (with(&[("content-length ", "5")]), GONE),
        (with(&[("content-length:", "5")]), GONE),
        (with(&[("transfer-encoding\t", "chunked")]), GONE),
        (with(&[(" host", "b")]), GONE),
        (with(&[("x y", "1")]), GONE),
        (with(&[("x:y", "1")]), GONE),
        (with(&[("x\r\ny", "1")]), GONE),
        (with(&[("x\0", "1")]), GONE),
        (with(&[("x: y\r\n\r\nGET /2 HTTP/1.1\r\nz", "1")]), GONE),
        (with(&[("\u{e9}", "1")]), GONE),
        (with(&[("", "1")]), GONE),
        // Values.
        (with(&[("x", "a\r\nb: c")]), GONE),
        (with(&[("x", "a\nb")]), GONE),
        (with(&[("x", "a\rb")]), GONE),
        (with(&[("x", "a\0b")]), GONE),
        (with(&[("x", "\x7f")]), GONE),
        (with(&[("x", "a\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")]), GONE),
        (with(&[("x", " y")]), BAD),
        (with(&[("x", "y\t")]), BAD),
        (with(&[("cookie", "a=1\r\n")]), GONE),
        (with(&[("cookie", " a=1")]), BAD),
        (with(&[("cookie", "a=1 "), ("cookie", "b=2")]), BAD),
        (with(&[("cookie", "a=1"), ("cookie", " b=2")]), BAD),
        // Lengths.
        (with(&[("content-length", "1")]), RESET),
        (with(&[("content-length", "x")]), RESET),
        (with(&[("content-length", "+0")]), RESET),
        (with(&[("content-length", "-1")]), RESET),
        (with(&[("content-length", "0x0")]), RESET),
        (with(&[("content-length", "0, 0")]), RESET),
        (with(&[("content-length", "0 ")]), RESET),
        (with(&[("content-length", "00000000000000000000")]), RESET),
        (with(&[("content-length", "0"), ("content-length", "1")]), RESET),
        (with(&[("content-length", "")]), BAD),
        // Methods that are not enabled.
        (vec![(":method", "CONNECT"), (":authority", "a:443")], &[Told::Status(405)]),
        (vec![(":method", "CONNECT"), (":authority", "a:443"), (":path", "/")], RESET),
        (with(&[(":method", "CONNECT"), (":protocol", "websocket")]), RESET),
    ];
    for (fields, told) in cases {
        let mut client = rig.client();
        client.head(1, 5, &fields);
        let found = client.told();
        assert!(told.contains(&found), "{fields:?}: {found:?}");
        assert_eq!(rig.got(), "", "{fields:?}");
        // Whatever it was, it was logged.
        let logged = rig.proxy.logged();
        assert!(logged.code.is_some() && logged.attempt == 0, "{fields:?}: {logged:?}");
        assert_eq!(rig.proxy.logged().target, "/last");
    }
}

#[test]
fn what_is_odd_and_allowed_arrives_whole_and_as_it_was() {
    let rig = Rig::new();
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let cases: Vec<(Vec<(&str, &str)>, String)> = vec![
        (with(&[]), get("")),
        (with(&[("te", "trailers")]), get("")),
        (with(&[("host", "A")]), get("")),
        (with(&[(":scheme", "https")]), get("")),
        (with(&[("transfer_encoding", "chunked")]), get("")),
        (with(&[("content_length", "5")]), get("")),
        (with(&[("x-transfer-encoding", "chunked")]), get("x-transfer-encoding: chunked\r\n")),
        (with(&[("content-length", "0"), ("content-length", "0")]), get("content-length: 0\r\n")),
        (with(&[("x", ""), ("x", "2")]), get("x: \r\nx: 2\r\n")),
        (with(&[("x", "a\tb \u{e9}")]), get("x: a\tb \u{e9}\r\n")),
        (
            with(&[("cookie", "a=1"), ("y", "1"), ("cookie", "b=2")]),
            get("cookie: a=1; b=2\r\ny: 1\r\n"),
        ),
        (
            with(&[("cookie", ""), ("cookie", "a=1"), ("cookie", ""), ("cookie", "b=2")]),
            get("cookie: a=1; b=2\r\n"),
        ),
        (with(&[("cookie", "")]), get("cookie: \r\n")),
        (with(&[(":method", "get")]), "get / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        (
            with(&[(":method", "OPTIONS"), (":path", "*")]),
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        ),
        (
            with(&[(":path", "//b/../%0d%0a%23\\\"{|}?c?d=/&e=%00")]),
            "GET //b/../%0d%0a%23\\\"{|}?c?d=/&e=%00 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        ),
        (
            with(&[(":authority", "[::1]:80")]),
            "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n".to_owned(),
        ),
        (
            [&without(":authority")[..], &[("x", "1"), ("host", "b:1")]].concat(),
            "GET / HTTP/1.1\r\nhost: b:1\r\nx: 1\r\n\r\n".to_owned(),
        ),
    ];
    for (fields, raw) in cases {
        let mut client = rig.client();
        client.head(1, 5, &fields);
        assert_eq!(client.told(), Told::Status(200), "{fields:?}");
        assert_eq!(rig.got(), raw, "{fields:?}");
    }
}

#[test]
fn a_fragment_is_found_in_whatever_form_it_is_sent() {
    let rig = Rig::new();
    let base = fields_block(&GET_FIELDS[..3]);
    let huffman = |text: &[u8]| [&[0x80 | text.len() as u8], text].concat();
    let (fragment, plain) = (huffman(b"\x63\xfe\xbf"), huffman(b"\x60\xff"));
    let mut client = rig.client();
    let mut stream = 1;
    let mut ask = |bytes: &[&[u8]]| {
        client.send(Frames::HEADERS, 5, stream, &[&[&base[..]], bytes].concat().concat());
        stream += 2;
        client.told()
    };
    // Not kept; kept in the table; from there; beside one without.
    assert_eq!(ask(&[&[0x04], &fragment]), Told::Status(400));
    assert_eq!(ask(&[&[0x44], &fragment]), Told::Status(400));
    assert_eq!(ask(&[&[0x44], &plain]), Told::Status(200));
    assert_eq!(ask(&[&[0xbf]]), Told::Status(400));
    assert_eq!(ask(&[&[0xbe]]), Told::Status(200));
    assert_eq!(ask(&[&[0x00, 0x05], b":path", &[0x02], b"/#"]), Told::Status(400));
    // Elsewhere it is a byte like any other.
    let told = ask(&[&[0xbe, 0x00, 0x01], b"x", &[0x02], b"/#"]);
    assert_eq!(told, Told::Status(200));
    let raw = "GET /o HTTP/1.1\r\nhost: a\r\n";
    assert_eq!(rig.got(), format!("{raw}\r\n{raw}\r\n{raw}x: /#\r\n\r\n"));
}

#[test]
fn a_body_that_is_not_what_its_length_says_never_completes() {
    let rig = Rig::new();
    for (pieces, sent) in [
        (&[&b"hell"[..]][..], "hell"),
        (&[b"he", b"ll"], "hell"),
        (&[b"hello!"], ""),
        (&[b"hell", b"o!"], "hell"),
        (&[b""], ""),
    ] {
        let mut client = rig.client();
        client.head(1, 4, &post(&[("content-length", "5")]));
        for (n, piece) in pieces.iter().enumerate() {
            client.send(Frames::DATA, u8::from(n + 1 == pieces.len()), 1, piece);
        }
        assert_eq!(client.told(), Told::Reset(Frames::PROTOCOL_ERROR), "{pieces:?}");
        assert_eq!(rig.proxy.logged().code, Some(Code::BadRequest));
        let got = rig.got();
        // It may have been refused before any of it was passed on.
        let whole = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{sent}");
        assert!(whole.starts_with(&got) && !got.ends_with("hello"), "{got}");
        assert_eq!(rig.proxy.logged().target, "/last");
    }
}

#[test]
fn trailers_cannot_frame_or_end_a_request() {
    let rig = Rig::new();
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let reset: &[Told] = RESET;
    let cases: Vec<(&[(&str, &str)], &[Told], Option<&str>)> = vec![
        (&[("x", "1")], &[Told::Status(200)], Some("x: 1\r\n\r\n")),
        // Left out.
        (
            &[("content-length", "5"), ("host", "b"), ("x", "1")],
            &[Told::Status(200)],
            Some("x: 1\r\n\r\n"),
        ),
        // Refused.
        (&[("transfer-encoding", "chunked")], reset, None),
        (&[("connection", "close")], reset, None),
        (&[("te", "gzip")], reset, None),
        (&[("x", "1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")], GONE, None),
        (&[("X", "1")], GONE, None),
        (&[("x", " 1")], &[Told::Status(400)], None),
        (&[(":path", "/2")], RESET, None),
        (&[(":status", "200")], RESET, None),
    ];
    for (trailers, told, end) in cases {
        let mut client = rig.client();
        client.head(1, 4, &post(&[]));
        client.send(Frames::DATA, 0, 1, b"hello");
        // The origin has the head before the trailers come, so that all of it is seen.
        eventually("the body is there", || rig.bytes.lock().unwrap().ends_with(b"hello\r\n"));
        client.head(1, 5, trailers);
        let found = client.told();
        assert!(told.contains(&found), "{trailers:?}: {found:?}");
        let got = rig.got();
        match end {
            Some(end) => assert_eq!(got, format!("{head}{end}"), "{trailers:?}"),
            None => assert_eq!(got, head.strip_suffix("0\r\n").unwrap(), "{trailers:?}"),
        }
        let logged = rig.proxy.logged();
        assert_eq!(logged.code.is_some(), end.is_none(), "{trailers:?}: {logged:?}");
        while rig.proxy.logged().target != "/last" {}
    }
}

#[test]
fn trailers_that_are_too_large_are_refused_and_never_cut() {
    let rig = Rig::new();
    let large = "y".repeat(100_000);
    let many: Vec<String> = (0..3000).map(|n| format!("x{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "y")).collect();
    // One of them far beyond what `h2` keeps of them, alone or behind one that is fine; and too many.
    let cases: [&[(&str, &str)]; 4] =
        [&[("x", &large)], &[("a", "1"), ("x", &large)], &[("x", &large[..9000])], &many[..]];
    for trailers in cases {
        let mut client = rig.client();
        client.head(1, 4, &post(&[]));
        client.send(Frames::DATA, 0, 1, b"hello");
        let block = fields_block(trailers);
        let mut pieces = block.chunks(16_384).peekable();
        let mut kind = Frames::HEADERS;
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { 4 } else { 0 };
            let end = u8::from(kind == Frames::HEADERS);
            client.send(kind, flags | end, 1, piece);
            kind = Frames::CONTINUATION;
        }
        let told = client.told();
        assert_eq!(told, Told::Status(413), "{}", trailers.len());
        let got = rig.got();
        assert!(!got.contains("a: 1") && !got.contains("0\r\n\r\n"), "{got}");
        assert_eq!(rig.proxy.logged().code, Some(Code::BodyTooLarge));
        assert_eq!(rig.proxy.logged().target, "/last");
    }
}

#[test]
fn heads_that_h2_refuses_are_logged_with_what_was_asked_for() {
    let rig = Rig::new();
    let lines = || std::mem::take(&mut *rig.proxy.lines.0.lock().unwrap());
    let mut client = rig.client();
    client.head(1, 5, &with(&[(":path", "/secret"), ("connection", "close")]));
    assert_eq!(client.told(), RESET[0]);
    let logged = rig.proxy.logged();
    assert_eq!((&*logged.method, &*logged.target), ("GET", "/secret"));
    assert_eq!((logged.code, logged.status, logged.attempt), (Some(Code::BadRequest), None, 0));
    assert!(logged.received > 0 && logged.sent == 0 && logged.requests == 1);
    let line = lines().concat();
    assert!(line.starts_with("400 GET /secret, Host: a, client 127.0.0.1:"), "{line}");
    // So is one that `h2` answers.
    let large = "y".repeat(80_000);
    let block = fields_block(&[&with(&[(":path", "/large")])[..], &[("x", &large)]].concat());
    for (n, piece) in block.chunks(16_384).enumerate() {
        let last = (n + 1) * 16_384 >= block.len();
        let kind = if n == 0 { Frames::HEADERS } else { Frames::CONTINUATION };
        client.send(kind, u8::from(n == 0) | if last { 4 } else { 0 }, 3, piece);
    }
    assert_eq!(client.told(), Told::Status(431));
    let logged = rig.proxy.logged();
    assert_eq!((&*logged.target, logged.code), ("/large", Some(Code::HeaderTooLarge)));
    assert_eq!(logged.requests, 2);
    // And a connection that breaks the rules as a whole, beside those that it takes with it.
    client.send(Frames::DATA, 0, 0, b"x");
    assert_eq!(client.until(Frames::GOAWAY).code(), Frames::PROTOCOL_ERROR);
    let logged = rig.proxy.logged();
    assert_eq!((&*logged.method, &*logged.target), ("-", "-"));
    assert_eq!(logged.code, Some(Code::BadRequest));
    let line = lines().concat();
    assert!(line.contains("broke the rules of the connection"), "{line}");
}

#[test]
fn a_logging_phase_that_panics_over_what_was_refused_costs_no_other_stream() {
    let mut phases = TestPhases::answering(Answer::plain(200));
    phases.logging = Some(Box::new(|ex| assert!(ex.request.path() != b"/panic", "as told")));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = Frames::connect(proxy.address);
    client.head(1, 5, &with(&[(":path", "/panic"), ("connection", "close")]));
    assert_eq!(client.told(), RESET[0]);
    client.get(3, "/", &[]);
    assert_eq!(client.told(), Told::Status(200));
    assert_eq!(proxy.counters().panicked(), 1);
    let lines = proxy.lines.0.lock().unwrap().join("\n");
    assert!(lines.contains("panic: as told"), "{lines}");
}
