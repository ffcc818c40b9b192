//! The rows of the table in `docs/retries.md`, in every pair of versions, in the clear and over TLS: the
//! origin counts what it gets.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use pair::*;
use support::*;

/// Reads a request and gives it up: first so many of them, then it answers.
fn cuts(count: usize) -> impl Fn(&mut Served) + Send + Sync + 'static {
    move |served| {
        served.count();
        match served.number < count {
            true => served.leave(Leave::Stream),
            false => served.reply(200, "ok"),
        }
    }
}

fn retrying(setup: &mut Setup) {
    setup.phases.error_while_proxy = Some(Box::new(|_, _| Decision::Retry));
    setup.phases.fail_to_connect = Some(Box::new(|_, _| Decision::Retry));
}

/// Sends it, and returns the status of the answer.
#[track_caller]
fn send(client: &mut Client, method: &str, size: usize) -> u16 {
    if method == "GET" {
        return client.ask("GET", "/", &[]).head.status;
    }
    assert!(client.begin(method, "/", &[], Length::Known(size)));
    client.send(vec![b'x'; size]);
    client.end(&[]);
    client.reply().head.status
}

#[test]
fn pingora_line_2_max_retries_counts_extra_tries_and_none_is_one_try() {
    each_row(|row| {
        for max_retries in [0, 1, 3] {
            let limited = |setup: &mut Setup| {
                retrying(setup);
                setup.options.max_retries = max_retries;
            };
            let pair = Pair::with(row, limited, cuts(usize::MAX));
            assert_eq!(send(&mut pair.client(), "GET", 0), 502);
            assert_eq!(pair.origin.requests(), max_retries as usize + 1);
            let logged = pair.proxy.logged();
            assert_eq!((logged.code, logged.can_retry), (Some(Code::UpstreamClosed), true));
        }
    });
}

#[test]
fn pingora_line_3_a_post_that_went_out_is_never_sent_twice_not_even_on_a_dead_connection() {
    each_row(|row| {
        for reused in [false, true] {
            let pair = Pair::with(row, retrying, move |served| {
                served.count();
                match reused && served.number == 0 {
                    true => served.reply(200, "ok"),
                    false => served.leave(Leave::Connection),
                }
            });
            let mut client = pair.client();
            if reused {
                assert_eq!(send(&mut client, "GET", 0), 200);
                pair.proxy.logged();
            }
            assert_eq!(send(&mut client, "POST", 2), 500);
            let logged = pair.proxy.logged();
            assert_eq!((logged.code, logged.attempt), (Some(Code::RetryUnsafe), 1));
            assert_eq!((logged.reused, logged.source), (reused, Some(Source::Internal)));
            assert_eq!(pair.origin.requests(), 1 + usize::from(reused));
        }
    });
}

#[test]
fn pingora_line_4_a_reused_connection_that_dies_is_replaced_whether_writing_or_reading_tells() {
    each_row(|row| {
        for read_first in [true, false] {
            let unasked = |setup: &mut Setup| {
                setup.options.max_retries = 0;
                setup.phases.error_while_proxy =
                    Some(Box::new(|_, error| panic!("asked of {error}")));
            };
            let pair = Pair::with(row, unasked, move |served| {
                if served.number == 1 {
                    if read_first {
                        served.count();
                    }
                    // With most of the request unread its writer is cut off.
                    return served.leave(Leave::Connection);
                }
                served.count();
                served.reply(200, "ok");
            });
            let mut client = pair.client();
            for (method, attempt) in [("GET", 1), ("PUT", 2), ("GET", 1)] {
                assert_eq!(send(&mut client, method, 60_000), 200);
                let logged = pair.proxy.logged();
                assert_eq!((logged.code, logged.attempt), (None, attempt), "{}", logged.message);
            }
            assert_eq!((pair.origin.requests(), pair.origin.connections()), (4, 2));
        }
    });
}

#[test]
fn pingora_line_5_leaving_a_dead_reused_connection_undecided_gives_up_and_breaks_nothing() {
    each_row(|row| {
        let undecided = |setup: &mut Setup| {
            setup.phases.error_while_proxy = Some(Box::new(|_, _| Decision::Undecided));
        };
        // The replacement dies too: nobody but the phase could ask for a third try.
        let pair = Pair::with(row, undecided, |served| {
            served.count();
            match served.number {
                1 | 2 => served.leave(Leave::Connection),
                _ => served.reply(200, "ok"),
            }
        });
        let mut client = pair.client();
        for (status, attempt) in [(200, 1), (502, 2), (200, 1)] {
            assert_eq!(send(&mut client, "GET", 0), status);
            assert_eq!(pair.proxy.logged().attempt, attempt);
        }
        assert_eq!(pair.origin.requests(), 4);
    });
}

#[test]
fn a_peer_that_cannot_be_reached_has_got_nothing_so_that_any_method_goes_elsewhere() {
    each_row(|row| {
        for decision in [Decision::Retry, Decision::Fail] {
            let second = move |setup: &mut Setup| {
                setup.phases.peers.push(peer(Origin::nowhere(), PeerOptions::default()));
                setup.phases.upstream_peer =
                    Some(Box::new(|ex, peers| Ok(peers[usize::from(ex.attempt > 1)].clone())));
                setup.phases.fail_to_connect = Some(Box::new(move |_, error| {
                    assert!(error.can_retry());
                    decision
                }));
            };
            let pair = Pair::with(row, second, cuts(0));
            for method in ["GET", "POST"] {
                let status = send(&mut pair.client(), method, 300_000);
                assert_eq!(status, if decision == Decision::Retry { 200 } else { 502 });
            }
            assert_eq!(pair.origin.requests(), if decision == Decision::Retry { 2 } else { 0 });
        }
    });
}

#[test]
fn what_was_sent_is_tried_again_only_if_it_is_idempotent_and_its_body_is_kept() {
    each_row(|row| {
        for (method, size, safe) in
            [("GET", 0, true), ("PUT", 60_000, true), ("PUT", 300_000, false), ("POST", 1, false)]
        {
            let pair = Pair::with(row, retrying, cuts(1));
            let status = send(&mut pair.client(), method, size);
            assert_eq!(status, if safe { 200 } else { 500 }, "{method} {size}");
            let logged = pair.proxy.logged();
            assert_eq!(logged.code, (!safe).then_some(Code::RetryUnsafe));
            assert_eq!(pair.origin.requests(), 1 + usize::from(safe), "{method} {size}");
        }
    });
}

#[test]
fn a_phase_that_fails_before_anything_was_sent_may_be_followed_by_another_try_of_any_method() {
    each_row(|row| {
        let failing = |setup: &mut Setup| {
            retrying(setup);
            setup.phases.connected = Some(Box::new(|ex| {
                let first = ex.attempt == 1;
                Box::pin(async move {
                    match first {
                        true => Err(Error::new(Code::PhaseFailed, "no")),
                        false => Ok(()),
                    }
                })
            }));
        };
        let pair = Pair::with(row, failing, cuts(0));
        for (number, method) in ["GET", "POST"].into_iter().enumerate() {
            assert_eq!(send(&mut pair.client(), method, 5), 200);
            assert_eq!(pair.origin.requests(), number + 1);
        }
    });
}

#[test]
fn a_filter_that_refuses_a_response_has_the_request_tried_again_where_it_is_idempotent() {
    each_row(|row| {
        for (method, safe) in [("GET", true), ("POST", false)] {
            let failing = |setup: &mut Setup| {
                retrying(setup);
                setup.phases.response_filter = Some(Box::new(|response| {
                    let refused = response.status == 503;
                    Box::pin(async move {
                        match refused {
                            true => Err(Error::new(Code::PhaseFailed, "busy")),
                            false => Ok(None),
                        }
                    })
                }));
            };
            let pair = Pair::with(row, failing, |served| {
                served.count();
                let status = if served.number == 0 { 503 } else { 200 };
                served.reply(status, "");
            });
            assert_eq!(send(&mut pair.client(), method, 5), if safe { 200 } else { 500 });
            assert_eq!(pair.origin.requests(), 1 + usize::from(safe));
        }
    });
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another_where_that_is_safe() {
    each_row(|row| {
        for (method, safe) in [("GET", true), ("POST", false)] {
            let short = |setup: &mut Setup| {
                retrying(setup);
                setup.options.try_timeout = Some(millis(300));
            };
            let pair = Pair::with(row, short, |served| {
                served.count();
                match served.number {
                    0 => _ = served.is_left(),
                    _ => served.reply(200, "ok"),
                }
            });
            assert_eq!(send(&mut pair.client(), method, 5), if safe { 200 } else { 500 });
            assert_eq!(pair.origin.requests(), 1 + usize::from(safe));
        }
    });
}

#[test]
fn nothing_is_tried_again_once_a_byte_of_a_response_has_gone_out() {
    each_row(|row| {
        let (asked, is_asked) = channel();
        let asked = Mutex::new(asked);
        let told = move |setup: &mut Setup| {
            setup.phases.error_while_proxy = Some(Box::new(move |ex, error| {
                asked.lock().unwrap().send((ex.response_started, error.can_retry())).unwrap();
                Decision::Retry
            }));
        };
        let (go, gone) = channel();
        let gone = Mutex::new(gone);
        let pair = Pair::with(row, told, move |served| {
            served.answer(200, &[], Length::Known(9));
            served.send("half");
            // A reset could overtake them.
            gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            served.leave(Leave::Stream);
        });
        let mut client = pair.client();
        assert!(client.begin("GET", "/", &[], Length::Nothing));
        assert_eq!(client.head().unwrap().status, 200);
        go.send(()).unwrap();
        assert!(client.body().is_none());
        assert_eq!(is_asked.recv_timeout(PATIENCE).unwrap(), (true, false));
        let logged = pair.proxy.logged();
        assert_eq!((logged.code, logged.attempt), (Some(Code::UpstreamClosed), 1));
        assert_eq!(pair.origin.requests(), 1);
    });
}

#[test]
fn for_a_client_that_has_left_nothing_is_tried_again() {
    each_row(|row| {
        let (seen, is_seen) = channel();
        let seen = Mutex::new(seen);
        let unasked = |setup: &mut Setup| {
            setup.phases.error_while_proxy = Some(Box::new(|_, error| panic!("asked of {error}")));
        };
        let pair = Pair::with(row, unasked, move |served| {
            seen.lock().unwrap().send(()).unwrap();
            served.is_left();
        });
        let mut client = pair.client();
        assert!(client.begin("GET", "/", &[], Length::Nothing));
        is_seen.recv_timeout(PATIENCE).unwrap();
        client.leave(Leave::Stream);
        assert_eq!(pair.proxy.logged().code, Some(Code::ClientAborted));
        assert_eq!(pair.origin.requests(), 1);
    });
}
