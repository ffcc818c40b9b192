//! Clients that make the proxy reset their streams, in each way there is to do so (CVE-2025-8671):
//! they are sent away after few requests, and others are served meanwhile.

#![allow(clippy::unwrap_used)]

#[path = "support/attack.rs"]
mod attack;
mod support;

use std::sync::atomic::Ordering;

use attack::*;
use support::frames::*;
use support::*;

/// Sequences that a client tries to send on one connection: far more than it may.
const TRIES: u32 = 2000;
/// Requests that may be begun on a connection before its client is sent away: what may be reset at
/// once, and what is open beside.
const MOST: usize = 200 + 100 + 50;

const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

/// Sends what `make` makes for each of many streams. The codes with which it is sent away.
#[track_caller]
fn resets(options: ProxyOptions, make: impl Fn(u32) -> Vec<u8>) -> Vec<u32> {
    let (proxy, begun) = pending_but_for_others(options);
    let mut bytes = frame(Frames::SETTINGS, 1, 0, &[]);
    (0..TRIES).for_each(|n| bytes.extend(make(2 * n + 1)));
    let address = proxy.address;
    let run = move || sent_away(Frames::connect(address), &bytes).unwrap();
    let (codes, others) = while_attacked(|| proxy.client(), run);
    others.were_served();
    let begun = begun.load(Ordering::SeqCst);
    assert!(begun <= MOST * codes.len(), "{begun} requests on {} connections", codes.len());
    codes
}

#[track_caller]
fn end_in(code: u32, make: impl Fn(u32) -> Vec<u8>) {
    for found in resets(ProxyOptions::default(), make) {
        assert_eq!(found, code);
    }
}

/// The same, where it may also be that a stream beyond the limit was refused: what follows for it is
/// then an error of the connection.
#[track_caller]
fn end(make: impl Fn(u32) -> Vec<u8>) {
    let expected = [Frames::ENHANCE_YOUR_CALM, Frames::PROTOCOL_ERROR];
    let codes = resets(ProxyOptions::default(), make);
    assert!(codes.iter().all(|code| expected.contains(code)), "{codes:?}");
}

fn open(stream: u32) -> Vec<u8> {
    frame(Frames::HEADERS, 4, stream, &head("POST"))
}

fn complete(stream: u32) -> Vec<u8> {
    frame(Frames::HEADERS, 5, stream, &head("GET"))
}

#[test]
fn by_a_window_that_overflows() {
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        let window = frame(Frames::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [open(stream), window].concat()
    });
}

#[test]
fn by_a_window_that_overflows_behind_a_whole_request() {
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        let window = frame(Frames::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [complete(stream), window].concat()
    });
}

#[test]
fn by_a_window_that_does_not_grow() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        [open(stream), frame(Frames::WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    });
}

#[test]
fn by_a_window_of_the_wrong_length() {
    let codes = resets(ProxyOptions::default(), |stream| {
        [open(stream), frame(Frames::WINDOW_UPDATE, 0, stream, &[0; 3])].concat()
    });
    assert!(codes.iter().all(|code| [Frames::PROTOCOL_ERROR, FRAME_SIZE_ERROR].contains(code)));
}

#[test]
fn by_a_head_behind_the_end() {
    end(|stream| [complete(stream), frame(Frames::HEADERS, 4, stream, &head("GET"))].concat());
    end_in(Frames::PROTOCOL_ERROR, |stream| [complete(stream), complete(stream)].concat());
}

#[test]
fn by_a_second_head() {
    end(|stream| [open(stream), open(stream)].concat());
}

#[test]
fn by_data_behind_the_end() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        [complete(stream), frame(Frames::DATA, 0, stream, b"x")].concat()
    });
}

#[test]
fn by_a_stream_that_depends_on_itself() {
    let itself = |stream: u32| [&stream.to_be_bytes()[..], &[0]].concat();
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        [complete(stream), frame(Frames::PRIORITY, 0, stream, &itself(stream))].concat()
    });
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        let payload = [itself(stream), head("GET")].concat();
        frame(Frames::HEADERS, 5 | 0x20, stream, &payload)
    });
    // Also streams that were never opened.
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| frame(Frames::PRIORITY, 0, stream, &itself(stream)));
}

#[test]
fn by_a_priority_of_the_wrong_length() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        [complete(stream), frame(Frames::PRIORITY, 0, stream, &[0; 4])].concat()
    });
}

#[test]
fn by_a_reset_of_the_wrong_length() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        [complete(stream), frame(Frames::RST_STREAM, 0, stream, &[0; 3])].concat()
    });
}

#[test]
fn by_a_body_that_is_not_as_long_as_it_says() {
    let head = |stream, length| {
        let mut block = head("POST");
        block.extend(fields_block(&[("content-length", length)]));
        frame(Frames::HEADERS, 4, stream, &block)
    };
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        [head(stream, "1"), frame(Frames::DATA, 0, stream, b"xy")].concat()
    });
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        [head(stream, "1"), frame(Frames::DATA, 1, stream, b"")].concat()
    });
}

#[test]
fn by_more_data_than_the_window_takes() {
    let mut options = ProxyOptions::default();
    options.http2.initial_stream_window = 100;
    let codes = resets(options, |stream| {
        [open(stream), frame(Frames::DATA, 0, stream, &[0; 101])].concat()
    });
    // First the stream's window is too small, then the connection's.
    let expected = [Frames::ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR];
    assert!(codes.iter().all(|code| expected.contains(code)), "{codes:?}");
}

#[test]
fn by_trailers_that_are_none() {
    let trailers = |flags| {
        move |stream, fields: &[(&str, &str)]| {
            frame(Frames::HEADERS, flags, stream, &fields_block(fields))
        }
    };
    end(|stream| [open(stream), trailers(4)(stream, &[("x", "1")])].concat());
    end(|stream| [open(stream), trailers(5)(stream, &[("connection", "close")])].concat());
    end(|stream| [open(stream), trailers(5)(stream, &[(":path", "/")])].concat());
}

#[test]
fn by_heads_that_are_malformed_or_empty() {
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        let mut block = head("GET");
        block.extend(fields_block(&[("connection", "close")]));
        frame(Frames::HEADERS, 5, stream, &block)
    });
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| frame(Frames::HEADERS, 5, stream, &[]));
    end_in(Frames::ENHANCE_YOUR_CALM, |stream| {
        let end = frame(Frames::CONTINUATION, 4, stream, &[]);
        [frame(Frames::HEADERS, 1, stream, &[]), end].concat()
    });
}

#[test]
fn by_padding_that_is_longer_than_its_frame() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        [open(stream), frame(Frames::DATA, 8, stream, &[5, 0])].concat()
    });
}

#[test]
fn by_a_push() {
    end_in(Frames::PROTOCOL_ERROR, |stream| {
        let promise = [&(stream + 1).to_be_bytes()[..], &head("GET")].concat();
        [open(stream), frame(5, 4, stream, &promise)].concat()
    });
}
