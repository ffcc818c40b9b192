//! Streams that stall beside others on the same connection, in every pair of versions, in the clear
//! and over TLS: the others run, and what is held is bounded. The figures are of this whole process.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/heap.rs"]
mod heap;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use pair::*;
use support::{PATIENCE, ProxyOptions, millis};

const MIB: usize = 1 << 20;
const LARGE: usize = 4 * MIB;
/// All streams of a connection but one.
const STALLED: usize = 99;
/// What a stalled stream may hold, with what its client and its origin hold of it.
const EACH: usize = 768 * 1024;

/// Both sides of a `/stalled` stop in the middle; all else is served.
fn serve(stalled: Ticks, over: Ticks) -> impl Fn(&mut Served) + Send + Sync + 'static {
    move |served| match (&*served.head.method, served.path()) {
        ("PUT", "/stalled") => {
            stalled.tick();
            over.wait_for_end();
        }
        ("PUT", _) => {
            let count = served.count();
            served.reply(200, format!("{count:?}"));
        }
        (_, "/stalled") => {
            served.answer(200, &[], Length::Unknown);
            assert!(served.push(64 * MIB, millis(300)) < 64 * MIB);
            stalled.tick();
            over.wait_for_end();
        }
        _ => {
            served.answer(200, &[], Length::Known(LARGE));
            served.push(LARGE, PATIENCE);
            served.finish(&[]);
        }
    }
}

/// Windows at the ends of the proxy that are not what stops anybody, and small buffers of the system.
fn wide(setup: &mut Setup) {
    setup.origin.initial_connection_window_size(1 << 26).max_concurrent_streams(200);
    setup.client.initial_connection_window_size(1 << 26);
    setup.options = ProxyOptions { min_bytes_per_second: 0, ..ProxyOptions::default() };
    setup.endpoint.options.send_buffer = Some(64 * 1024);
}

fn runs(client: &mut Client) {
    assert!(client.begin("GET", "/", &[], Length::Nothing));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.count(), (LARGE, true));
    assert!(client.begin("PUT", "/", &[], Length::Known(LARGE)));
    assert_eq!(client.push(LARGE, PATIENCE), LARGE);
    assert!(client.end(&[]));
    assert_eq!(client.reply().text(), format!("{:?}", (LARGE, true)));
}

/// Another request on the connection of `first`, or on one of its own.
fn another(pair: &Pair, first: &Client, shares: bool) -> Client {
    first.beside().filter(|_| shares).unwrap_or_else(|| pair.slow_client())
}

/// Whose connections the stalled streams are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// One client's.
    OneClients,
    /// Each has a client of its own, and they share that to the origin.
    Many,
}

/// Whose connections can be shared: those of HTTP/2.
fn sharing(row: Row) -> impl Iterator<Item = On> {
    [On::OneClients, On::Many].into_iter().filter(move |on| match on {
        On::OneClients => row.down == Http::H2,
        On::Many => row.up == Http::H2,
    })
}

#[test]
fn a_stream_runs_beside_99_downloads_that_stall() {
    let _alone = heap::alone();
    each_row(|row| {
        for on in sharing(row) {
            let (stalled, over) = (Ticks::default(), Ticks::default());
            let pair = Pair::with(row, wide, serve(stalled.clone(), over.clone()));
            let mut last = pair.client();
            let mut clients = Vec::new();
            let held = heap::growth(|| {
                for _ in 0..STALLED {
                    let mut client = another(&pair, &last, on == On::OneClients);
                    assert!(client.begin("GET", "/stalled", &[], Length::Nothing));
                    clients.push(client);
                }
                stalled.wait(STALLED);
                runs(&mut last);
            });
            if row.up == Http::H2 {
                assert_eq!(pair.origin.connections(), 1);
            }
            assert!(held < STALLED * EACH, "{on:?}: {held}");
            over.tick();
        }
    });
}

#[test]
fn a_stream_runs_beside_99_uploads_that_stall() {
    let _alone = heap::alone();
    each_row(|row| {
        for on in sharing(row) {
            let (stalled, over) = (Ticks::default(), Ticks::default());
            let stalls = stalled.clone();
            let stop = |setup: &mut Setup| {
                wide(setup);
                if row.up == Http::H1 {
                    // The system would take too much of what its origin does not.
                    setup.phases.request_filter = Some(Box::new(move |ex| {
                        let is_stalled = ex.request.path() == b"/stalled";
                        if is_stalled {
                            stalls.tick();
                        }
                        Box::pin(async move {
                            if is_stalled {
                                std::future::pending::<()>().await;
                            }
                            Ok(None)
                        })
                    }));
                }
            };
            let pair = Pair::with(row, stop, serve(stalled.clone(), over.clone()));
            let mut last = pair.client();
            let mut clients = Vec::new();
            let held = heap::growth(|| {
                for number in 1..=STALLED {
                    let mut client = another(&pair, &last, on == On::OneClients);
                    assert!(client.begin("PUT", "/stalled", &[], Length::Unknown));
                    stalled.wait(number);
                    client.push(MIB, millis(10));
                    clients.push(client);
                }
                runs(&mut last);
            });
            if row.up == Http::H2 {
                assert_eq!(pair.origin.connections(), 1);
            }
            assert!(held < STALLED * EACH, "{on:?}: {held}");
            over.tick();
        }
    });
}
