//! Clients that wait for a 100 before they send their body, in every pair of versions, in the clear and
//! over TLS: those that get one get it once, before the head of the response.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use bytes::Bytes;
use millrace_error::Result;
use millrace_proxy::{BodyFilter, Filtering, RequestPiece, RequestPieces};
use pair::*;
use support::*;
use tokio::sync::oneshot;

const EXPECTS: &[(&str, &str)] = &[("expect", "100-continue")];

/// A piece that has been asked for.
type Asked = oneshot::Receiver<Result<Option<RequestPiece>>>;

fn ask(pieces: &RequestPieces) -> Asked {
    let (give, piece) = oneshot::channel();
    pieces.ask(move |outcome| drop(give.send(outcome)));
    piece
}

/// The body of a request as that of its answer.
struct Echo {
    pieces: RequestPieces,
    asked: Option<Asked>,
}

impl BodyFilter for Echo {
    fn filter(&mut self, _data: Bytes, _end: bool) -> Filtering {
        self.more()
    }

    fn more(&mut self) -> Filtering {
        let piece = self.asked.take().unwrap_or_else(|| ask(&self.pieces));
        Filtering::Later(Box::pin(async move {
            let data = piece.await.unwrap()?.map(|piece| piece.data);
            Ok(Filtered { more: data.is_some(), data: data.unwrap_or_default(), end: false })
        }))
    }
}

/// Answers with the request's body, which is asked for before the head or behind it; `/no` without.
fn answers(setup: &mut Setup, asks_before: bool) {
    setup.phases.request_filter = Some(Box::new(move |ex| {
        let pieces = ex.body.pieces();
        let asked = asks_before.then(|| ask(&pieces));
        let mut answer = Answer::new(200);
        if ex.request.target != b"/no" {
            answer.stream = Some(Box::new(Echo { pieces, asked }));
        }
        Box::pin(async { Ok(Some(answer)) })
    }));
}

#[test]
fn a_body_that_is_expected_is_sent_when_the_origin_asks_for_it() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            assert_eq!(served.head.field("expect"), Some("100-continue"));
            served.interim(100, &[]);
            let (body, _) = served.body().unwrap();
            served.reply(200, body);
        });
        let mut client = pair.client();
        for length in [Length::Known(5), Length::Unknown] {
            assert!(client.begin("PUT", "/", &[("expect", "100-continue")], length));
            let go_on = client.head().unwrap();
            assert_eq!((go_on.status, go_on.fields), (100, Vec::new()));
            assert!(client.send("hello") && client.end(&[]));
            assert_eq!(client.reply().text(), "hello");
            assert_eq!(pair.proxy.logged().code, None);
        }
    });
}

#[test]
fn a_body_that_the_origin_does_not_ask_for_is_never_sent() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            if served.head.method == "PUT" {
                return served.reply(401, "no");
            }
            served.reply(200, "yes");
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", &[("expect", "100-continue")], Length::Known(5)));
        let reply = client.reply();
        assert_eq!((reply.head.status, reply.text(), reply.interim.len()), (401, "no", 0));
        match row.down {
            // What comes next on the connection could be the body.
            Http::H1 => {
                assert_eq!(reply.head.field("connection"), Some("close"));
                assert!(client.has_ended());
            }
            Http::H2 => assert_eq!(client.ask("GET", "/", &[]).text(), "yes"),
        }
    });
}

#[test]
fn an_answer_made_of_the_body_invites_it_before_its_head_whenever_it_asks() {
    each_row(|row| {
        for asks_before in [true, false] {
            let pair = Pair::with(row, |setup| answers(setup, asks_before), |_| {});
            for length in [Length::Known(10), Length::Unknown] {
                let mut client = pair.client();
                assert!(client.begin("PUT", "/", EXPECTS, length));
                let heads = [(); 2].map(|()| client.head().unwrap());
                assert_eq!(heads.each_ref().map(|head| head.status), [100, 200], "{asks_before}");
                assert!(heads[0].fields.is_empty());
                assert!(client.send("hello"));
                assert_eq!(client.bytes(5), b"hello");
                assert!(client.send("again") && client.end(&[]));
                assert_eq!(client.body().unwrap().0, b"again");
                assert_eq!(pair.proxy.logged().code, None);
                // Of a body whose end nobody can foresee it has to be known that it is read.
                let goes_on = asks_before || length == Length::Known(10) || row.down == Http::H2;
                assert_eq!(heads[1].field("connection"), (!goes_on).then_some("close"));
            }
        }
    });
}

#[test]
fn an_answer_without_the_body_does_not_invite_it_even_where_it_was_asked_for() {
    each_row(|row| {
        for asks_before in [true, false] {
            let pair = Pair::with(row, |setup| answers(setup, asks_before), |_| {});
            for method in ["PUT", "HEAD"] {
                let mut client = pair.client();
                let path = if method == "PUT" { "/no" } else { "/" };
                assert!(client.begin(method, path, EXPECTS, Length::Known(5)));
                let reply = client.reply();
                assert_eq!((reply.head.status, reply.interim.len()), (200, 0), "{asks_before}");
                if row.down == Http::H1 {
                    assert_eq!(reply.head.field("connection"), Some("close"));
                    assert!(client.has_ended());
                }
                assert_eq!(pair.proxy.logged().code, None);
            }
        }
    });
}

#[test]
fn a_body_that_passes_a_filter_is_invited_when_the_origin_asks_and_not_when_it_answers() {
    each_row(|row| {
        let filters = |setup: &mut Setup| {
            setup.phases.request_body = Some(Box::new(|| {
                let each =
                    |data: Bytes, end| Ok(Filtered::piece(data.to_ascii_uppercase().into(), end));
                Box::new(Piecewise { each, holds_head: false })
            }));
        };
        let pair = Pair::with(row, filters, |served| {
            if served.path() == "/no" {
                return served.reply(401, "no");
            }
            served.interim(100, &[]);
            let (body, _) = served.body().unwrap();
            served.reply(200, body);
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", EXPECTS, Length::Known(5)));
        assert_eq!(client.head().unwrap().status, 100);
        assert!(client.send("hello") && client.end(&[]));
        let reply = client.reply();
        assert_eq!((reply.text(), reply.interim.len()), ("HELLO", 0));
        assert!(client.begin("PUT", "/no", EXPECTS, Length::Known(5)));
        let reply = client.reply();
        assert_eq!((reply.head.status, reply.interim.len()), (401, 0));
    });
}

#[test]
fn a_body_that_is_sent_again_is_invited_once() {
    each_row(|row| {
        let again = |setup: &mut Setup| {
            setup.phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
        };
        let pair = Pair::with(row, again, |served| {
            served.interim(100, &[]);
            let (body, _) = served.body().unwrap();
            match served.number {
                0 => served.leave(Leave::Stream),
                _ => served.reply(200, body),
            }
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", EXPECTS, Length::Known(5)));
        assert_eq!(client.head().unwrap().status, 100);
        assert!(client.send("hello") && client.end(&[]));
        let reply = client.reply();
        assert_eq!((reply.text(), reply.interim.len()), ("hello", 0));
        let logged = pair.proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2), "{}", logged.message);
    });
}
