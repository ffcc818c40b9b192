//! Bodies larger than anything that may be held of them, in every pair of versions, in the clear and
//! over TLS. The figures are of this whole process: proxy, client and origin.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/heap.rs"]
mod heap;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use pair::*;
use support::{PATIENCE, millis};

const MIB: usize = 1 << 20;
/// Without optimisation TLS takes its time.
const SIZE: usize = if cfg!(debug_assertions) { 16 * MIB } else { 1024 * MIB };
/// What one exchange may hold, on both sides of the proxy and in those at its ends.
const HELD: usize = MIB;
/// More than the system's buffers hold of a few connections.
const ENDLESS: usize = 1024 * MIB;

/// Takes a PUT and says how much it was; sends as much to a GET.
fn serve(served: &mut Served) {
    if served.head.method == "PUT" {
        let (count, whole) = served.count();
        return served.reply(200, format!("{count} {whole}"));
    }
    let known = served.path() == "/known";
    served.answer(200, &[], if known { Length::Known(SIZE) } else { Length::Unknown });
    if served.push(SIZE, PATIENCE) == SIZE {
        served.finish(&[]);
    }
}

#[test]
fn large_bodies_pass_both_ways_and_memory_stays_flat() {
    let _alone = heap::alone();
    each_row(|row| {
        let pair = Pair::new(row, serve);
        let mut client = pair.client();
        client.put("/", b"warm", Length::Known(4));
        for (path, length) in [("/known", Length::Known(SIZE)), ("/", Length::Unknown)] {
            let up = heap::growth(|| {
                assert!(client.begin("PUT", path, &[], length));
                assert_eq!(client.push(SIZE, PATIENCE), SIZE);
                assert!(client.end(&[]));
                assert_eq!(client.reply().text(), format!("{SIZE} true"));
            });
            let down = heap::growth(|| {
                assert!(client.begin("GET", path, &[], Length::Nothing));
                assert_eq!(client.head().unwrap().status, 200);
                assert_eq!(client.count(), (SIZE, true));
            });
            assert!(up < HELD && down < HELD, "{up} up, {down} down");
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn what_is_not_taken_is_held_within_a_bound_and_read_no_further() {
    let _alone = heap::alone();
    each_row(|row| {
        let (sent, was_sent) = channel();
        let (sent, left) = (Mutex::new(sent), Ticks::default());
        let leaves = left.clone();
        let pair = Pair::new(row, move |served| {
            if served.head.method == "GET" {
                served.answer(200, &[], Length::Unknown);
                sent.lock().unwrap().send(served.push(ENDLESS, millis(300))).unwrap();
            } else {
                // Nothing of the upload is read.
                leaves.wait(1);
            }
        });
        let mut client = pair.slow_client();
        let mut from_origin = 0;
        let down = heap::growth(|| {
            assert!(client.begin("GET", "/", &[], Length::Nothing));
            from_origin = was_sent.recv_timeout(PATIENCE).unwrap();
        });
        client.leave(Leave::Connection);
        let mut client = pair.client();
        let mut from_client = 0;
        let up = heap::growth(|| {
            assert!(client.begin("PUT", "/", &[], Length::Unknown));
            from_client = client.push(ENDLESS, millis(300));
        });
        client.leave(Leave::Connection);
        left.tick();
        assert!(up < HELD && down < HELD, "{up} up, {down} down");
        // The rest is in the buffers of the system.
        assert!(from_client < ENDLESS && from_origin < ENDLESS);
    });
}

#[test]
fn small_pieces_of_an_answer_that_is_not_taken_keep_no_buffers_of_other_answers() {
    const PIECES: usize = 2_000;
    let _alone = heap::alone();
    each_row(|row| {
        if (row.down, row.up) != (Http::H2, Http::H2) {
            return;
        }
        let (turn, over) = (Ticks::default(), Ticks::default());
        let (turns, ends) = (turn.clone(), over.clone());
        let pair = Pair::new(row, move |served| {
            served.answer(200, &[], Length::Unknown);
            let busy = served.path() == "/busy";
            // A small piece behind each large one.
            for number in 0..PIECES {
                turns.wait(2 * number + usize::from(!busy));
                assert!(served.send(if busy { &[b'l'; 16 * 1024][..] } else { b"s" }));
                turns.tick();
            }
            ends.wait(1);
        });
        let mut closed = h2::client::Builder::new();
        let mut stalled = pair.client_with(closed.initial_window_size(0));
        assert!(stalled.begin("GET", "/stalled", &[], Length::Nothing));
        assert_eq!(stalled.head().unwrap().status, 200);
        let mut busy = pair.client();
        let held = heap::growth(|| {
            assert!(busy.begin("GET", "/busy", &[], Length::Nothing));
            assert_eq!(busy.head().unwrap().status, 200);
            let mut got = 0;
            while got < PIECES * 16 * 1024 {
                let Piece::Data(data) = busy.piece() else { panic!("{got} bytes") };
                got += data.len();
            }
            turn.wait(2 * PIECES);
        });
        assert_eq!(pair.origin.connections(), 1);
        assert!(held < HELD, "{held}");
        over.tick();
    });
}
