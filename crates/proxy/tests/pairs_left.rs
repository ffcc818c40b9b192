//! Clients that leave at each point of an exchange, in every pair of versions, in the clear and
//! over TLS: the origin finds out, and nobody else does.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use pair::*;
use support::frames::*;
use support::{Code, PATIENCE, Source, eventually};

/// What the client has done, and what the origin has, when the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    MidUpload,
    BeforeTheAnswer,
    AfterAnInterimAnswer,
    MidAnswer,
    MidBoth,
}

const POINTS: [Point; 5] = [
    Point::MidUpload,
    Point::BeforeTheAnswer,
    Point::AfterAnInterimAnswer,
    Point::MidAnswer,
    Point::MidBoth,
];

impl Point {
    fn ends_upload(self) -> bool {
        !matches!(self, Point::MidUpload | Point::MidBoth)
    }

    fn is_answered(self) -> bool {
        matches!(self, Point::MidAnswer | Point::MidBoth)
    }
}

#[test]
fn the_exchange_ends_on_both_sides_at_each_point_and_no_other_does() {
    each_row(|row| {
        for point in POINTS {
            for how in [Leave::Stream, Leave::Connection] {
                for length in [Length::Known(10), Length::Unknown] {
                    leave_at(row, point, how, length);
                }
            }
        }
    });
}

fn leave_at(row: Row, point: Point, how: Leave, length: Length) {
    let case = format!("{point:?} {how:?} {length:?}");
    let began = Ticks::default();
    let begins = began.clone();
    let (ended, has_ended) = channel();
    let ended = Mutex::new(ended);
    let pair = Pair::new(row, move |served| {
        if served.path() == "/other" {
            return served.reply(200, "other");
        }
        match point.ends_upload() {
            true => assert_eq!(served.body().unwrap().0, b"abcdefghij"),
            false => assert_eq!(served.bytes(3), b"abc"),
        }
        if point == Point::AfterAnInterimAnswer {
            served.interim(103, &[]);
        }
        if point.is_answered() {
            served.answer(200, &[], Length::Known(10));
            served.send("abc");
        }
        begins.tick();
        let left = match point.ends_upload() {
            true => served.is_left(),
            false => served.count() == (0, false),
        };
        ended.lock().unwrap().send(left).unwrap();
    });
    let mut client = pair.client();
    let mut beside = client.beside();
    assert!(client.begin("PUT", "/", &[], length));
    assert!(client.send(if point.ends_upload() { "abcdefghij" } else { "abc" }));
    if point.ends_upload() {
        assert!(client.end(&[]));
    }
    began.wait(1);
    match point {
        Point::AfterAnInterimAnswer => assert_eq!(client.head().unwrap().status, 103),
        point if point.is_answered() => {
            assert_eq!(client.head().unwrap().status, 200);
            assert_eq!(client.bytes(3), b"abc");
        }
        _ => {}
    }
    if let Some(beside) = &mut beside {
        assert_eq!(beside.ask("GET", "/other", &[]).text(), "other");
        assert_eq!(pair.proxy.logged().code, None, "{case}");
    }
    // It holds on to the connection.
    beside = beside.filter(|_| how == Leave::Stream);
    client.leave(how);
    assert_eq!(has_ended.recv_timeout(PATIENCE), Ok(true), "{case}");
    let logged = pair.proxy.logged();
    assert_eq!((logged.code, logged.source), (Some(Code::ClientAborted), Some(Source::Downstream)));
    assert_eq!(logged.status, point.is_answered().then_some(200), "{case}");
    assert_eq!((logged.attempt, &*logged.target), (1, "/"), "{case}");
    // What is left of both connections is in order.
    match beside {
        Some(mut beside) => assert_eq!(beside.ask("GET", "/other", &[]).text(), "other", "{case}"),
        None => eventually("it is closed", || pair.proxy.counters().open() == 0),
    }
    assert_eq!(pair.client().ask("GET", "/other", &[]).text(), "other", "{case}");
    if row.up == Http::H2 {
        assert_eq!(pair.origin.connections(), 1, "{case}");
    }
    eventually("the pool has one", || pair.proxy.pool().open == 1);
}

#[test]
fn a_client_that_leaves_before_its_head_is_complete_is_no_request_to_the_origin() {
    each_row(|row| {
        let pair = Pair::new(row, |served| served.reply(200, ""));
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let headers = frame(Frames::HEADERS, Frames::END_STREAM, 1, &fields_block(&fields));
        let starts: [&[u8]; 3] = match row.down {
            Http::H1 => [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX-"],
            // Half a frame, and a block of fields without its end.
            Http::H2 => [b"", &headers[..20], &headers],
        };
        for start in starts {
            let mut wire = pair.wire();
            if row.down == Http::H2 {
                wire = Frames::over(wire, &[]).wire;
            }
            wire.send(start);
            drop(wire);
            eventually("it is closed", || pair.proxy.counters().open() == 0);
        }
        assert_eq!((pair.origin.requests(), pair.origin.connections()), (0, 0));
    });
}
