//! What nobody reads of streams that end is given back to the windows of their connections, in
//! every pair of versions that has such, in the clear and over TLS.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use pair::*;
use support::{Answer, Code, PATIENCE, millis};

const MIB: usize = 1 << 20;
/// A connection's window is this many times a stream's, of which there are more below.
const STREAMS: u32 = 4;
const ENDED: usize = 12;
const LARGE: usize = 2 * MIB;

/// Sends more than is taken of `/stalled` and `/replaced`, and all of anything else.
fn download(served: &mut Served, stalled: &Ticks) {
    if served.path() == "/" {
        served.answer(200, &[], Length::Known(LARGE));
        served.push(LARGE, PATIENCE);
        served.finish(&[]);
        return;
    }
    served.answer(200, &[], Length::Unknown);
    served.push(64 * MIB, millis(100));
    stalled.tick();
    served.is_left();
}

#[test]
fn answers_that_are_given_up_do_not_narrow_the_origins_connection() {
    each_row(|row| {
        if row.up == Http::H1 {
            return;
        }
        let stalled = Ticks::default();
        let stalls = stalled.clone();
        let few = |setup: &mut Setup| {
            setup.peer.h2_max_streams = STREAMS;
            setup.phases.response_filter = Some(Box::new(|head| {
                let replaced = head.fields.contains("x-replace");
                Box::pin(async move { Ok(replaced.then(|| Answer::plain(404))) })
            }));
        };
        let pair = Pair::with(row, few, move |served| {
            if served.path() == "/replaced" {
                served.answer(200, &[("x-replace", "1")], Length::Unknown);
                served.push(MIB, millis(100));
                return;
            }
            download(served, &stalls);
        });
        for number in 1..=ENDED {
            let mut client = pair.slow_client();
            assert_eq!(client.ask("GET", "/replaced", &[]).head.status, 404);
            assert_eq!(pair.proxy.logged().code, None);
            assert!(client.begin("GET", "/stalled", &[], Length::Nothing));
            stalled.wait(number);
            client.leave(Leave::Stream);
            assert_eq!(pair.proxy.logged().code, Some(Code::ClientAborted));
        }
        let mut client = pair.client();
        assert_eq!(client.ask("GET", "/", &[]).body.len(), LARGE);
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn uploads_that_are_given_up_do_not_narrow_the_clients_connection() {
    each_row(|row| {
        if row.down == Http::H1 {
            return;
        }
        let few = |setup: &mut Setup| {
            setup.options.http2.max_concurrent_streams = STREAMS;
            setup.phases.request_filter = Some(Box::new(|ex| {
                let path = ex.request.path().to_vec();
                Box::pin(async move {
                    match path.as_slice() {
                        b"/stalled" => std::future::pending().await,
                        b"/refused" => Ok(Some(Answer::plain(403))),
                        _ => Ok(None),
                    }
                })
            }));
        };
        let pair = Pair::with(row, few, |served| {
            let (count, _) = served.count();
            served.reply(200, count.to_string());
        });
        let first = pair.client();
        for _ in 0..ENDED {
            let mut client = first.beside().unwrap();
            assert!(client.begin("PUT", "/refused", &[], Length::Unknown));
            client.push(MIB, millis(10));
            assert_eq!(client.reply().head.status, 403);
            assert!(client.has_ended());
            assert_eq!(pair.proxy.logged().code, None);
            assert!(client.begin("PUT", "/stalled", &[], Length::Unknown));
            client.push(MIB, millis(10));
            client.leave(Leave::Stream);
            assert_eq!(pair.proxy.logged().code, Some(Code::ClientAborted));
        }
        let mut client = first.beside().unwrap();
        let body = vec![b'x'; LARGE];
        assert_eq!(client.put("/", &body, Length::Unknown).text(), LARGE.to_string());
    });
}
