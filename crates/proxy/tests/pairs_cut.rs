//! Origins that stop at each point of an exchange, in every pair of versions, in the clear and over
//! TLS: an error, and never a shorter success.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Arc;

use pair::*;
use socket2::SockRef;
use support::{Code, Source, eventually, millis};

/// What the origin has read and said when it goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    MidUpload,
    BeforeTheAnswer,
    AfterAnInterimAnswer,
    AfterTheHead,
    MidAnswer,
    MidBoth,
    BeforeTheEnd,
}

const POINTS: [Point; 7] = [
    Point::MidUpload,
    Point::BeforeTheAnswer,
    Point::AfterAnInterimAnswer,
    Point::AfterTheHead,
    Point::MidAnswer,
    Point::MidBoth,
    Point::BeforeTheEnd,
];

impl Point {
    fn ends_upload(self) -> bool {
        !matches!(self, Point::MidUpload | Point::MidBoth)
    }

    fn is_answered(self) -> bool {
        !matches!(self, Point::MidUpload | Point::BeforeTheAnswer | Point::AfterAnInterimAnswer)
    }

    /// Of the answer, `abcdef` in all.
    fn sent(self) -> &'static [u8] {
        match self {
            Point::MidAnswer | Point::MidBoth => b"abc",
            Point::BeforeTheEnd => b"abcdef",
            _ => b"",
        }
    }
}

#[test]
fn an_origin_that_stops_at_any_point_is_an_error_and_never_a_shorter_success() {
    each_row(|row| {
        for point in POINTS {
            for how in [Leave::Stream, Leave::Connection] {
                for length in [Length::Known(6), Length::Unknown] {
                    // With all bytes of a known length there is nothing more to come.
                    if point != Point::BeforeTheEnd || length == Length::Unknown {
                        stop_at(row, point, how, length);
                    }
                }
            }
        }
    });
}

fn stop_at(row: Row, point: Point, how: Leave, length: Length) {
    let case = format!("{point:?} {how:?} {length:?}");
    let seen = Ticks::default();
    let confirmed = seen.clone();
    let pair = Pair::new(row, move |served| {
        if served.path() == "/other" {
            return served.reply(200, "other");
        }
        match point.ends_upload() {
            true => assert_eq!(served.body().unwrap().0, b"abcdef"),
            false => assert_eq!(served.bytes(3), b"abc"),
        }
        if point == Point::AfterAnInterimAnswer {
            served.interim(103, &[]);
        }
        if point.is_answered() {
            served.answer(200, &[], length);
            served.send(point.sent());
            // A reset may overtake what was sent before it.
            confirmed.wait(1);
        }
        served.leave(how);
    });
    let mut client = pair.client();
    assert!(client.begin("POST", "/", &[], length));
    assert!(client.send(if point.ends_upload() { "abcdef" } else { "abc" }));
    if point.ends_upload() {
        assert!(client.end(&[]));
    }
    if point.is_answered() {
        assert_eq!(client.head().unwrap().status, 200, "{case}");
        assert_eq!(client.bytes(point.sent().len()), point.sent(), "{case}");
        seen.tick();
        assert_eq!(client.piece(), Piece::Cut, "{case}");
        assert!(client.has_ended(), "{case}");
    } else {
        let reply = client.reply();
        assert_eq!((reply.head.status, reply.text()), (502, "502 Bad Gateway\n"), "{case}");
    }
    let logged = pair.proxy.logged();
    assert_eq!(logged.code, Some(Code::UpstreamClosed), "{case}: {}", logged.message);
    assert_eq!((logged.source, logged.attempt), (Some(Source::Upstream), 1), "{case}");
    assert!(!logged.can_retry, "{case}");
    // What is left of both connections is in order.
    let stays = row.down == Http::H2 || (!point.is_answered() && point.ends_upload());
    let mut next = if stays { client } else { pair.client() };
    assert_eq!(next.ask("GET", "/other", &[]).text(), "other", "{case}");
    assert_eq!(pair.proxy.logged().attempt, 1, "{case}");
    let shared = row.up == Http::H2 && how == Leave::Stream;
    assert_eq!(pair.origin.connections(), if shared { 1 } else { 2 }, "{case}");
    eventually("the pool has one", || pair.proxy.pool().open == 1);
}

#[test]
fn an_origin_that_closes_before_it_has_read_anything_is_an_error() {
    each_row(|row| {
        for reset in [false, true] {
            let pair = Pair::at(
                row,
                |_| {},
                |config, _| {
                    PairOrigin::raw(config, Arc::default(), move |_, wire| {
                        if reset {
                            SockRef::from(&wire.stream).set_linger(Some(millis(0))).unwrap();
                        }
                    })
                },
            );
            let mut client = pair.client();
            for round in 1..=2 {
                let reply = client.put("/", b"hello", Length::Known(5));
                assert_eq!((reply.head.status, reply.text()), (502, "502 Bad Gateway\n"));
                let logged = pair.proxy.logged();
                assert_eq!((logged.source, logged.attempt), (Some(Source::Upstream), 1));
                // HTTP/2 has to be agreed on before any request, in whatever way that fails.
                let code = match row.up {
                    Http::H1 => Code::UpstreamClosed,
                    Http::H2 => Code::ConnectFailed,
                };
                assert!(
                    logged.code == Some(code)
                        || (row.tls && logged.code == Some(Code::TlsFailed))
                        // A reset may be there before the connection is.
                        || (reset && logged.code == Some(Code::ConnectFailed)),
                    "{reset}: {}",
                    logged.message,
                );
                assert_eq!((logged.requests, pair.origin.connections()), (round, round as usize));
            }
            assert_eq!(pair.proxy.pool().open, 0);
        }
    });
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_only_if_that_is_said() {
    each_row(|row| {
        if row.up == Http::H2 {
            return;
        }
        for (said, how) in
            [(true, Leave::Stream), (false, Leave::Stream), (false, Leave::Connection)]
        {
            // In the clear the end of a connection is all that can be said.
            if !row.tls && !said && how == Leave::Stream {
                continue;
            }
            let seen = Ticks::default();
            let confirmed = seen.clone();
            let pair = Pair::new(row, move |served| {
                served.answer(200, &[], Length::Nothing);
                served.send("abc");
                confirmed.wait(1);
                if said && row.tls {
                    served.goodbye();
                }
                served.leave(how);
            });
            let mut client = pair.client();
            assert!(client.begin("GET", "/", &[], Length::Nothing));
            let head = client.head().unwrap();
            assert_eq!((head.status, head.field("content-length")), (200, None));
            assert_eq!(client.bytes(3), b"abc");
            seen.tick();
            let end = if said { Piece::End(Vec::new()) } else { Piece::Cut };
            assert_eq!(client.piece(), end, "{said} {how:?}");
            let code = (!said).then_some(Code::UpstreamClosed);
            assert_eq!(pair.proxy.logged().code, code, "{said} {how:?}");
        }
    });
}

#[test]
fn a_request_that_may_be_repeated_is_sent_again_when_a_used_connection_has_died() {
    each_row(|row| {
        for (method, repeated) in [("PUT", true), ("POST", false)] {
            let pair = Pair::new(row, |served| {
                let (body, _) = served.body().unwrap();
                match served.number {
                    1 => served.leave(Leave::Connection),
                    _ => served.reply(200, body),
                }
            });
            let mut client = pair.client();
            assert_eq!(client.put("/", b"one", Length::Known(3)).text(), "one");
            assert_eq!(pair.proxy.logged().attempt, 1);
            assert!(client.begin(method, "/", &[], Length::Known(3)));
            assert!(client.send("two") && client.end(&[]));
            let reply = client.reply();
            let logged = pair.proxy.logged();
            if repeated {
                assert_eq!((reply.head.status, reply.text()), (200, "two"));
                assert_eq!((logged.code, logged.attempt, logged.reused), (None, 2, false));
            } else {
                assert_eq!((reply.head.status, logged.code), (502, Some(Code::UpstreamClosed)));
                assert_eq!((logged.can_retry, logged.attempt), (false, 1));
            }
            assert_eq!(pair.origin.requests(), if repeated { 3 } else { 2 });
        }
    });
}
