//! Clients of HTTP/2 that mean ill: they are sent away, in bounded time, and others are served
//! meanwhile. What it takes of memory is in `h2_memory.rs`.

#![allow(clippy::unwrap_used)]

#[path = "support/attack.rs"]
mod attack;
mod support;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use attack::*;
use support::frames::*;
use support::*;

/// Frames on one connection, many more than it may send of any kind.
const MANY: usize = 20_000;

/// Sends what `flood` makes until it is sent away, again and again, while another client is served.
/// With which code; none if the connection was cut.
#[track_caller]
fn flooded(
    proxy: &Proxy,
    flood: impl Fn(u32) -> Vec<u8> + Send + Sync + Clone + 'static,
) -> Vec<Option<u32>> {
    let address = proxy.address;
    let run = move || {
        let mut client = Frames::connect(address);
        let mut writer = client.wire.stream.try_clone().unwrap();
        let flood = flood.clone();
        let sender = thread::spawn(move || {
            let start = Instant::now();
            for n in 0.. {
                let sent = std::io::Write::write_all(&mut writer, &flood(n));
                if sent.is_err() || start.elapsed() > 2 * PATIENCE {
                    return;
                }
            }
        });
        let goaway =
            std::iter::from_fn(|| client.try_next()).find(|frame| frame.kind == Frames::GOAWAY);
        let _ = client.wire.stream.shutdown(std::net::Shutdown::Both);
        sender.join().unwrap();
        goaway.map(|frame| frame.code())
    };
    let (codes, others) = while_attacked(|| proxy.client(), run);
    others.were_served();
    codes
}

#[track_caller]
fn ends_calmly(proxy: &Proxy, flood: impl Fn(u32) -> Vec<u8> + Send + Sync + Clone + 'static) {
    for code in flooded(proxy, flood) {
        assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    }
}

fn answering() -> Proxy {
    Proxy::new(TestPhases::answering(Answer::plain(200)), ProxyOptions::default())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(Frames::RST_STREAM, 0, stream, &Frames::CANCEL.to_be_bytes())
}

#[test]
fn rapid_resets_end_in_goaway() {
    let (proxy, begun) = pending_but_for_others(ProxyOptions::default());
    let codes = flooded(&proxy, |n| {
        let stream = 2 * n + 1;
        [frame(Frames::HEADERS, 5, stream, &head("GET")), reset(stream)].concat()
    });
    assert!(codes.iter().all(|code| *code == Some(Frames::ENHANCE_YOUR_CALM)), "{codes:?}");
    // Slowly enough that each request is begun.
    let slow = flooded(&proxy, |n| {
        thread::sleep(Duration::from_micros(300));
        let stream = 2 * (n / 2) + 1;
        if n % 2 == 0 { frame(Frames::HEADERS, 5, stream, &head("GET")) } else { reset(stream) }
    });
    assert!(slow.iter().all(|code| *code == Some(Frames::ENHANCE_YOUR_CALM)), "{slow:?}");
    let begun = begun.load(Ordering::SeqCst);
    let connections = codes.len() + slow.len();
    assert!(begun <= 400 * connections, "{begun} requests on {connections} connections");
}

#[test]
fn resets_of_streams_that_are_over_end_in_goaway() {
    let proxy = answering();
    ends_calmly(&proxy, |n| match n {
        0 => frame(Frames::HEADERS, 5, 1, &head("GET")),
        _ => reset(1).repeat(100),
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_too_many_end_in_goaway() {
    let (proxy, begun) = pending_but_for_others(ProxyOptions::default());
    let codes = flooded(&proxy, |n| frame(Frames::HEADERS, 5, 2 * n + 1, &head("GET")));
    assert!(codes.iter().all(|code| *code == Some(Frames::ENHANCE_YOUR_CALM)), "{codes:?}");
    assert!(begun.load(Ordering::SeqCst) <= 100 * codes.len());
}

#[test]
fn streams_that_are_ignored_after_a_goaway_end_the_connection() {
    let options = ProxyOptions { max_requests_per_connection: 1, ..ProxyOptions::default() };
    let (proxy, begun) = pending_but_for_others(options);
    let run = {
        let address = proxy.address;
        move || {
            let mut client = Frames::connect(address);
            client.send(Frames::HEADERS, 5, 1, &head("GET"));
            assert_eq!(client.until(Frames::GOAWAY).code(), 0);
            let ping = client.until(Frames::PING);
            client.send(Frames::PING, 1, 0, &ping.payload);
            client.until(Frames::GOAWAY);
            let mut bytes = Vec::new();
            for n in 1..MANY as u32 {
                bytes.extend(frame(Frames::HEADERS, 5, 2 * n + 1, &head("GET")));
            }
            sent_away(client, &bytes)
        }
    };
    let (codes, others) = while_attacked(|| proxy.client(), run);
    others.were_served();
    assert!(codes.iter().all(|code| *code == Some(Frames::ENHANCE_YOUR_CALM)), "{codes:?}");
    assert_eq!(begun.load(Ordering::SeqCst), codes.len());
}

#[test]
fn continuations_without_end_end_in_goaway() {
    let proxy = answering();
    for piece in [&b""[..], &fields_block(&[("x", "y")])] {
        for first in [&b""[..], &head("GET")] {
            let (piece, first) = (piece.to_vec(), first.to_vec());
            ends_calmly(&proxy, move |n| match n {
                0 => frame(Frames::HEADERS, 0, 1, &first),
                _ => frame(Frames::CONTINUATION, 0, 1, &piece),
            });
        }
    }
}

#[test]
fn a_field_that_grows_without_end_ends_in_goaway() {
    let proxy = answering();
    // A literal of 256 MiB, of which each frame brings a little.
    let codes = flooded(&proxy, |n| match n {
        0 => {
            let literal = [&[0x10, 1, b'x', 0x7f][..], &[0xff, 0xff, 0xff, 0x7f]].concat();
            frame(Frames::HEADERS, 0, 1, &[head("GET"), literal].concat())
        }
        _ => frame(Frames::CONTINUATION, 0, 1, &[b'y'; 10_000]),
    });
    assert!(codes.iter().all(Option::is_some), "{codes:?}");
}

#[test]
fn frames_that_carry_nothing_end_in_goaway() {
    let proxy = answering();
    let settings = frame(Frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let table = frame(Frames::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
    let empty = frame(Frames::SETTINGS, 0, 0, &[]);
    let pings = frame(Frames::PING, 0, 0, &[0; 8]);
    let pongs = frame(Frames::PING, 1, 0, &[0; 8]);
    let priorities = frame(Frames::PRIORITY, 0, 1, &[0, 0, 0, 3, 0]);
    let unknown = frame(0xfe, 0, 0, &[]);
    let update = frame(0x10, 0, 0, &[0, 0, 0, 1, b'u', b'=', b'1']);
    let windows = frame(Frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let all = [settings, table, empty, pings, pongs, priorities, unknown, update, windows];
    for bytes in all {
        let bytes = bytes.repeat(100);
        ends_calmly(&proxy, move |_| bytes.clone());
    }
}

#[test]
fn windows_that_grow_by_one_end_in_goaway_also_on_a_stream() {
    let (proxy, _) = pending_but_for_others(ProxyOptions::default());
    ends_calmly(&proxy, |n| match n {
        0 => frame(Frames::HEADERS, 5, 1, &head("GET")),
        _ => frame(Frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(100),
    });
}

#[test]
fn empty_and_tiny_pieces_of_a_body_end_in_goaway() {
    let mut options = ProxyOptions::default();
    options.http2.max_concurrent_streams = 10;
    let (proxy, _) = pending_but_for_others(options);
    let padded = frame(Frames::DATA, 8, 1, &[3, 0, 0, 0]);
    for piece in [frame(Frames::DATA, 0, 1, b""), frame(Frames::DATA, 0, 1, b"x"), padded] {
        let piece = piece.repeat(10);
        ends_calmly(&proxy, move |n| match n {
            0 => frame(Frames::HEADERS, 4, 1, &head("POST")),
            _ => piece.clone(),
        });
    }
}

#[test]
fn a_header_bomb_ends_in_goaway() {
    let proxy = answering();
    // One large field goes into the table, and is named over and over.
    ends_calmly(&proxy, |n| {
        let mut block = head("GET");
        if n == 0 {
            block.extend([0x40, 1, b'x', 127]);
            block.extend([(3900 - 127) as u8 % 128 + 128, ((3900 - 127) / 128) as u8]);
            block.extend([b'y'; 3900]);
        }
        block.extend([0xbe; 12_000]);
        frame(Frames::HEADERS, 5, 2 * n + 1, &block)
    });
}

#[test]
fn floods_over_tls_end_in_goaway() {
    let certs = Certs::new();
    let (phases, begun) = phases_for_others();
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &certs.server(|_| {}));
    let address = proxy.address;
    let ping = frame(Frames::PING, 0, 0, &[0; 8]).repeat(MANY);
    let mut resets = Vec::new();
    for n in 0..1000 {
        let stream = 2 * n + 1;
        resets.extend([frame(Frames::HEADERS, 5, stream, &head("GET")), reset(stream)].concat());
    }
    for bytes in [ping, resets] {
        let client = certs.client("a.test", None, &["h2"]);
        let run = move || {
            let mut wire = client.over(Wire::connect(address));
            wire.send([PREFACE, &frame(Frames::SETTINGS, 0, 0, &[])].concat());
            sent_away(Frames { wire }, &bytes)
        };
        let others = certs.client("a.test", None, &["http/1.1"]);
        let (codes, others) = while_attacked(|| others.over(Wire::connect(address)), run);
        others.were_served();
        assert!(codes.iter().all(|code| *code == Some(Frames::ENHANCE_YOUR_CALM)), "{codes:?}");
        assert!(begun.load(Ordering::SeqCst) <= 400 * codes.len());
    }
}
