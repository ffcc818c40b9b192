//! Bodies that a phase reads before an upstream is chosen, and bodies beyond the limit, in every pair of
//! versions, in the clear and over TLS.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use pair::*;
use support::*;

const MIB: usize = 1 << 20;

/// Has every phase wait for a body of at most so many bytes.
fn reads(setup: &mut Setup, most: usize) {
    setup.phases.request_filter =
        Some(Box::new(move |ex| Box::pin(async move { ex.body.read(most).await.map(|_| None) })));
}

#[test]
fn a_body_that_a_phase_read_goes_upstream_with_its_length_and_its_trailers() {
    each_row(|row| {
        let pair = Pair::with(
            row,
            |setup| reads(setup, MIB),
            |served| {
                let length = served.head.field("content-length").map(str::to_owned);
                let (body, trailers) = served.body().unwrap();
                served.reply(200, format!("{length:?} {trailers:?} {}", body.len()));
            },
        );
        let mut client = pair.client();
        for size in [0, 5, MIB] {
            for length in [Length::Known(size), Length::Unknown] {
                let reply = client.put("/", &vec![b'x'; size], length);
                assert_eq!(reply.text(), format!("Some(\"{size}\") [] {size}"), "{length:?}");
            }
        }
        assert!(client.begin("PUT", "/", &[], Length::Unknown));
        assert!(client.send("abc") && client.end(&[("x-sum", "1")]));
        assert_eq!(client.reply().text(), r#"None [("x-sum", "1")] 3"#);
        assert_eq!(client.ask("PUT", "/", &[]).text(), "None [] 0");
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn a_body_that_a_phase_read_is_sent_again_whatever_its_size() {
    each_row(|row| {
        let again = |setup: &mut Setup| {
            reads(setup, MIB);
            setup.phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
        };
        let pair = Pair::with(row, again, |served| {
            let (body, _) = served.body().unwrap();
            match served.number {
                0 => served.leave(Leave::Stream),
                _ => served.reply(200, body),
            }
        });
        let body: Vec<u8> = (0..MIB).map(|at| (at * 7 % 251) as u8).collect();
        assert!(pair.client().put("/", &body, Length::Unknown).body == body);
        let logged = pair.proxy.logged();
        assert_eq!((logged.code, logged.attempt), (None, 2), "{}", logged.message);
    });
}

#[test]
fn a_client_that_leaves_in_mid_body_ends_the_phase_that_waits_for_it() {
    each_row(|row| {
        for how in [Leave::Stream, Leave::Connection] {
            let (began, has_begun) = channel();
            let began = Mutex::new(began);
            let waits = |setup: &mut Setup| {
                setup.phases.request_filter = Some(Box::new(move |ex| {
                    began.lock().unwrap().send(()).unwrap();
                    Box::pin(async move { ex.body.read(MIB).await.map(|_| None) })
                }));
            };
            let pair = Pair::with(row, waits, |served| served.reply(200, ""));
            let mut client = pair.client();
            assert!(client.begin("PUT", "/", &[], Length::Known(10)));
            assert!(client.send("half"));
            has_begun.recv_timeout(PATIENCE).unwrap();
            client.leave(how);
            let logged = pair.proxy.logged();
            assert_eq!((logged.code, logged.status), (Some(Code::ClientAborted), None), "{how:?}");
            assert_eq!((logged.source, pair.origin.requests()), (Some(Source::Downstream), 0));
        }
    });
}

#[test]
fn a_phase_that_caught_the_refusal_of_a_large_body_lets_it_go_up_unread() {
    each_row(|row| {
        let tries = |setup: &mut Setup| {
            setup.phases.request_filter = Some(Box::new(|ex| {
                Box::pin(async {
                    let error = ex.body.read(10).await.unwrap_err();
                    assert_eq!((error.code(), error.status()), (Code::BodyTooLarge, 413));
                    Ok(None)
                })
            }));
        };
        let pair = Pair::with(row, tries, |served| {
            let (body, _) = served.body().unwrap();
            served.reply(200, body);
        });
        let body = vec![b'x'; 300_000];
        let mut client = pair.client();
        for length in [Length::Known(body.len()), Length::Unknown] {
            assert!(client.put("/", &body, length).body == body, "{length:?}");
        }
    });
}

#[test]
fn max_request_body_refuses_a_length_before_any_phase_in_every_pair() {
    each_row(|row| {
        let phases = std::sync::Arc::new(AtomicUsize::new(0));
        let count = phases.clone();
        let limited = |setup: &mut Setup| {
            setup.options.max_request_body = Some(10);
            setup.phases.request_filter = Some(Box::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(None) })
            }));
        };
        let pair = Pair::with(row, limited, |served| {
            let (body, _) = served.body().unwrap();
            served.reply(200, body);
        });
        let expects = [("expect", "100-continue")];
        for fields in [&[][..], &expects] {
            let mut client = pair.client();
            assert!(client.begin("PUT", "/", fields, Length::Known(11)));
            // No 100 before it, and no byte of the body was waited for.
            let reply = client.reply();
            assert_eq!((reply.head.status, reply.interim.len()), (413, 0));
            assert_eq!(pair.proxy.logged().code, Some(Code::BodyTooLarge));
        }
        assert_eq!((phases.load(Ordering::SeqCst), pair.origin.requests()), (0, 0));
        assert_eq!(pair.client().put("/", b"0123456789", Length::Known(10)).text(), "0123456789");
        assert_eq!(phases.load(Ordering::SeqCst), 1);
    });
}
