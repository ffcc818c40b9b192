//! Filters of bodies in every pair of versions, in the clear and over TLS.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bytes::Bytes;
use pair::*;
use support::*;

fn upper(data: &Bytes) -> Bytes {
    data.to_ascii_uppercase().into()
}

/// Answers with how it was sent what it got, and with that.
fn echo(served: &mut Served) {
    let length = served.head.field("content-length").map(str::to_owned);
    let Some((body, trailers)) = served.body() else { return };
    let got = format!("{length:?} {trailers:?} ");
    served.reply(200, [got.as_bytes(), &body].concat());
}

#[test]
fn pingora_line_8_an_error_of_a_request_body_filter_ends_the_request_the_same_way_in_every_pair() {
    each_row(|row| {
        let (seen, is_seen) = channel();
        let seen = Mutex::new(seen);
        let failing = |setup: &mut Setup| {
            setup.phases.request_body = Some(Box::new(|| {
                let each = |data: Bytes, end| match &data[..] {
                    b"bad" => Err(Error::new(Code::PhaseFailed, "no")),
                    _ => Ok(Filtered::piece(data, end)),
                };
                Box::new(Piecewise { each, holds_head: false })
            }));
            setup.phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked of {error}")));
        };
        let pair = Pair::with(row, failing, move |served| match served.path() {
            "/next" => served.reply(200, "next"),
            _ => {
                assert_eq!(served.piece(), Piece::Data(b"good".to_vec()));
                seen.lock().unwrap().send(false).unwrap();
                let (_, is_whole) = served.count();
                seen.lock().unwrap().send(is_whole).unwrap();
            }
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", &[], Length::Known(10)));
        assert!(client.send("good"));
        is_seen.recv_timeout(PATIENCE).unwrap();
        assert!(client.send("bad"));
        let reply = client.reply();
        assert_eq!((reply.head.status, reply.text()), (500, "500 Internal Server Error\n"));
        // To the origin it is never a shorter request, which it might act on.
        assert!(!is_seen.recv_timeout(PATIENCE).unwrap());
        let logged = pair.proxy.logged();
        assert_eq!((logged.code, logged.source), (Some(Code::PhaseFailed), Some(Source::Internal)));
        assert_eq!((logged.status, logged.attempt), (Some(500), 1));
        assert_eq!(pair.client().ask("GET", "/next", &[]).text(), "next");
        assert_eq!(pair.origin.requests(), 2);
    });
}

#[test]
fn pingora_line_9_framing_follows_filters_the_same_way_in_every_pair() {
    each_row(|row| {
        let filters = |setup: &mut Setup| {
            setup.phases.request_body = Some(Box::new(|| {
                let each = |data: Bytes, end| Ok(Filtered::piece(upper(&data), end));
                Box::new(Piecewise { each, holds_head: false })
            }));
            setup.phases.response_body = Some(Box::new(|ex| {
                let path = ex.request.path().to_vec();
                if path == b"/none" {
                    return None;
                }
                let each = move |data: Bytes, end| {
                    let ends = path == b"/first" || path == b"/ends";
                    let data = if path == b"/dropped" { Bytes::new() } else { data };
                    Ok(Filtered::piece(data, end || ends))
                };
                let holds_head = ex.request.path() == b"/ends" || ex.request.path() == b"/dropped";
                Some(Box::new(Piecewise { each, holds_head }))
            }));
        };
        let pair = Pair::with(row, filters, echo);
        let mut client = pair.client();
        for length in [Length::Known(4), Length::Unknown] {
            // What goes up has no length any more, whatever the client said.
            let reply = client.put("/none", b"text", length);
            assert_eq!(reply.text(), "None [] TEXT");
            assert_eq!(reply.head.field("content-length"), Some("12"));
            for (path, body, declared) in [
                ("/", "None [] TEXT", None),
                ("/first", "None [] TEXT", None),
                // Where the head waits for all of the body, its length is known.
                ("/ends", "None [] TEXT", Some("12")),
                ("/dropped", "", Some("0")),
            ] {
                let reply = client.put(path, b"text", length);
                assert_eq!((reply.text(), reply.head.field("content-length")), (body, declared));
                let chunked = row.down == Http::H1 && declared.is_none();
                let coding = reply.head.field("transfer-encoding");
                assert_eq!(coding, chunked.then_some("chunked"), "{path}");
            }
        }
        // A response without a body keeps no length that was another body's.
        let reply = client.ask("HEAD", "/", &[]);
        assert_eq!((reply.head.status, reply.head.field("content-length")), (200, None));
    });
}

#[test]
fn an_error_of_a_response_body_filter_is_told_and_the_client_sees_that_the_body_is_not_whole() {
    each_row(|row| {
        for holds_head in [false, true] {
            let (asked, is_asked) = channel();
            let asked = Mutex::new(asked);
            let failing = move |setup: &mut Setup| {
                setup.phases.response_body = Some(Box::new(move |_| {
                    let each = |data: Bytes, end| match end {
                        true => Err(Error::new(Code::PhaseFailed, "no")),
                        false => Ok(Filtered::piece(data, false)),
                    };
                    Some(Box::new(Piecewise { each, holds_head }))
                }));
                setup.phases.error_while_proxy = Some(Box::new(move |ex, error| {
                    asked.lock().unwrap().send((ex.response_started, error.can_retry())).unwrap();
                    Decision::Undecided
                }));
            };
            let pair = Pair::with(row, failing, |served| served.reply(200, ""));
            let mut client = pair.client();
            assert!(client.begin("GET", "/", &[], Length::Nothing));
            let status = client.try_reply().map(|reply| reply.head.status);
            // As long as the head has waited an answer can be given, and another try made.
            assert_eq!(status, holds_head.then_some(500));
            let asked = is_asked.recv_timeout(PATIENCE).unwrap();
            assert_eq!(asked, (!holds_head, holds_head));
            let logged = pair.proxy.logged();
            assert_eq!((logged.code, logged.attempt), (Some(Code::PhaseFailed), 1));
        }
    });
}

#[test]
fn a_body_cut_short_while_the_head_waits_for_all_of_it_may_be_asked_for_again() {
    each_row(|row| {
        let whole = |setup: &mut Setup| {
            setup.phases.response_body = Some(Box::new(|_| {
                let mut all = Vec::new();
                let each = move |data: Bytes, end| {
                    all.extend_from_slice(&data);
                    let data =
                        if end { Bytes::from(std::mem::take(&mut all)) } else { Bytes::new() };
                    Ok(Filtered::piece(data, end))
                };
                Some(Box::new(Piecewise { each, holds_head: true }))
            }));
            setup.phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
        };
        let pair = Pair::with(row, whole, |served| {
            served.answer(200, &[], Length::Known(8));
            served.send("half");
            if served.number > 0 {
                served.send("half");
                served.finish(&[]);
            } else {
                served.leave(Leave::Stream);
            }
        });
        let mut client = pair.client();
        let reply = client.ask("GET", "/", &[]);
        assert_eq!((reply.text(), reply.head.field("content-length")), ("halfhalf", Some("8")));
        let logged = pair.proxy.logged();
        assert_eq!((logged.code, logged.attempt, pair.origin.requests()), (None, 2, 2));
    });
}
