//! Clients of HTTP/2 that mean ill: they are sent away, in bounded time and memory, and others
//! are served meanwhile.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::frames::*;
use support::*;

/// How long a request of another client may take while one floods: 100 ms, but the tests are not
/// optimised and share the machine with each other.
const FAIR: Duration = Duration::from_millis(300);

/// Sends what `flood` makes until it is sent away, and says with which code; none if the
/// connection is cut. Meanwhile another client is served quickly.
#[track_caller]
fn flooded(proxy: &Proxy, flood: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Option<u32> {
    let mut client = Frames::connect(proxy.address);
    let mut writer = client.wire.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let start = Instant::now();
        for n in 0.. {
            let sent = std::io::Write::write_all(&mut writer, &flood(n));
            if sent.is_err() || start.elapsed() > 2 * PATIENCE {
                return;
            }
        }
    });
    let reader = thread::spawn(move || {
        let goaway =
            std::iter::from_fn(|| client.try_next()).find(|frame| frame.kind == Frames::GOAWAY);
        let _ = client.wire.stream.shutdown(std::net::Shutdown::Both);
        goaway.map(|frame| frame.code())
    });
    let mut other = proxy.client();
    let mut slowest = Duration::ZERO;
    while !reader.is_finished() {
        let start = Instant::now();
        other.ask("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
        slowest = slowest.max(start.elapsed());
    }
    let code = reader.join().unwrap();
    sender.join().unwrap();
    assert!(slowest < FAIR, "others waited for {slowest:?}");
    code
}

fn answering() -> Proxy {
    Proxy::new(TestPhases::answering(Answer::plain(200)), ProxyOptions::default())
}

fn get_head(path: &str) -> Vec<u8> {
    fields_block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

#[test]
fn rapid_resets_end_in_goaway() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(move |ex| {
        let other = ex.request.path() == b"/other";
        count.fetch_add(usize::from(!other), Ordering::SeqCst);
        Box::pin(async move {
            if !other {
                std::future::pending::<()>().await;
            }
            Ok(Some(Answer::plain(200)))
        })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let code = flooded(&proxy, |n| {
        let stream = 2 * n + 1;
        let reset = frame(Frames::RST_STREAM, 0, stream, &Frames::CANCEL.to_be_bytes());
        [frame(Frames::HEADERS, 5, stream, &get_head("/x")), reset].concat()
    });
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    // Slowly enough that each request is begun.
    let code = flooded(&proxy, |n| {
        thread::sleep(Duration::from_micros(300));
        let stream = 2 * (n / 2) + 1;
        match n % 2 {
            0 => frame(Frames::HEADERS, 5, stream, &get_head("/x")),
            _ => frame(Frames::RST_STREAM, 0, stream, &Frames::CANCEL.to_be_bytes()),
        }
    });
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    assert!(served.load(Ordering::SeqCst) < 1000, "{served:?}");
}

#[test]
fn resets_that_the_client_makes_us_send_end_in_goaway() {
    let proxy = answering();
    // A window that overflows; and a head that is malformed.
    let code = flooded(&proxy, |n| {
        let stream = 2 * n + 1;
        let window = frame(Frames::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [frame(Frames::HEADERS, 4, stream, &get_head("/x")), window].concat()
    });
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    let code = flooded(&proxy, |n| {
        let mut block = get_head("/x");
        block.extend(fields_block(&[("connection", "close")]));
        frame(Frames::HEADERS, 5, 2 * n + 1, &block)
    });
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    // A window that does not grow is an error of the connection.
    let code = flooded(&proxy, |n| {
        let window = frame(Frames::WINDOW_UPDATE, 0, 2 * n + 1, &[0; 4]);
        [frame(Frames::HEADERS, 4, 2 * n + 1, &get_head("/x")), window].concat()
    });
    assert_eq!(code, Some(Frames::PROTOCOL_ERROR));
}

#[test]
fn streams_beyond_the_limit_are_refused_and_too_many_end_in_goaway() {
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(|ex| {
        let other = ex.request.path() == b"/other";
        Box::pin(async move {
            if !other {
                std::future::pending::<()>().await;
            }
            Ok(Some(Answer::plain(200)))
        })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let code = flooded(&proxy, |n| frame(Frames::HEADERS, 5, 2 * n + 1, &get_head("/x")));
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
}

#[test]
fn continuations_without_end_end_in_goaway() {
    let proxy = answering();
    for piece in [&b""[..], &fields_block(&[("x", "y")])] {
        let piece = piece.to_vec();
        let code = flooded(&proxy, move |n| match n {
            0 => frame(Frames::HEADERS, 0, 1, &get_head("/")),
            _ => frame(Frames::CONTINUATION, 0, 1, &piece),
        });
        assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    }
}

#[test]
fn frames_that_carry_nothing_end_in_goaway() {
    let proxy = answering();
    let settings = frame(Frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(100);
    let pings = frame(Frames::PING, 0, 0, &[0; 8]).repeat(100);
    let priorities = frame(Frames::PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(100);
    let unknown = frame(0xfe, 0, 0, &[]).repeat(100);
    let windows = frame(Frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100);
    for bytes in [settings, pings, priorities, unknown, windows] {
        let code = flooded(&proxy, move |_| bytes.clone());
        assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    }
}

#[test]
fn empty_and_tiny_pieces_of_a_body_end_in_goaway() {
    let mut phases = TestPhases::with(Vec::new());
    phases.request_filter = Some(Box::new(|ex| {
        let other = ex.request.path() == b"/other";
        Box::pin(async move {
            if !other {
                std::future::pending::<()>().await;
            }
            Ok(Some(Answer::plain(200)))
        })
    }));
    let mut options = ProxyOptions::default();
    options.http2.max_concurrent_streams = 10;
    let proxy = Proxy::new(phases, options);
    for piece in [&b""[..], b"x"] {
        let piece = frame(Frames::DATA, 0, 1, piece).repeat(10);
        let code = flooded(&proxy, move |n| match n {
            0 => frame(Frames::HEADERS, 4, 1, &get_head("/")),
            _ => piece.clone(),
        });
        assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
    }
}

#[test]
fn a_header_bomb_ends_in_goaway() {
    let proxy = answering();
    // One large field goes into the table, and is named over and over.
    let code = flooded(&proxy, |n| {
        let mut block = get_head("/");
        if n == 0 {
            block.extend([0x40, 1, b'x', 127]);
            block.extend([(3900 - 127) as u8 % 128 + 128, ((3900 - 127) / 128) as u8]);
            block.extend([b'y'; 3900]);
        }
        block.extend([0xbe; 12_000]);
        frame(Frames::HEADERS, 5, 2 * n + 1, &block)
    });
    assert_eq!(code, Some(Frames::ENHANCE_YOUR_CALM));
}

#[test]
fn pings_from_a_client_that_reads_nothing_take_no_memory_and_end() {
    let mut options = ProxyOptions::default();
    options.http2.ping_interval = Some(millis(200));
    options.http2.ping_timeout = millis(200);
    options.http2.max_control_frames = u32::MAX;
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), options);
    let client = Frames::connect(proxy.address);
    let mut writer = client.wire.stream.try_clone().unwrap();
    let pings = frame(Frames::PING, 0, 0, &[0; 8]).repeat(1000);
    writer.set_write_timeout(Some(PATIENCE)).unwrap();
    // In the end it is cut off.
    while std::io::Write::write_all(&mut writer, &pings).is_ok() {}
    eventually("it is closed", || proxy.counters().open() == 0);
}
