//! Origins that speak HTTP/2 and misbehave.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_frames.rs"]
mod h2_frames;
#[path = "support/h2_origin.rs"]
mod h2_origin;
mod support;

use std::sync::mpsc::channel;
use std::time::Instant;

use h2_frames::*;
use h2_origin::*;
use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_reset_at_each_point_is_an_error_and_never_a_shorter_success() {
    type Script = fn(&mut Frames, u32);
    let scripts: [(&str, Script, bool); 6] = [
        ("at once", |_, _| {}, false),
        ("after an interim answer", |frames, stream| frames.answer(stream, 0, 103, &[]), false),
        ("after the head", |frames, stream| frames.answer(stream, 0, 200, &[]), true),
        (
            "in a body of known length",
            |frames, stream| {
                frames.answer(stream, 0, 200, &[("content-length", "9")]);
                frames.try_send(Frames::DATA, 0, stream, b"half");
            },
            true,
        ),
        (
            "in a body of unknown length",
            |frames, stream| {
                frames.answer(stream, 0, 200, &[]);
                frames.try_send(Frames::DATA, 0, stream, b"half");
            },
            true,
        ),
        (
            "after all of it but the end",
            |frames, stream| {
                frames.answer(stream, 0, 200, &[]);
                frames.try_send(Frames::DATA, 0, stream, b"half");
                frames.try_send(Frames::DATA, 0, stream, []);
            },
            true,
        ),
    ];
    // Reset, without and with an error, or the end of the connection.
    for end in [Some(Frames::CANCEL), Some(Frames::NO_ERROR), None] {
        for (point, script, begun) in scripts {
            let origin = Origin::new(move |_, wire| {
                let mut frames = Frames::accept(wire);
                let stream = frames.request();
                script(&mut frames, stream);
                match end {
                    Some(reason) => {
                        frames.reset(stream, reason);
                        frames.drain();
                    }
                    None => {
                        frames.wire.end_sending();
                        frames.drain();
                    }
                }
            });
            let proxy = proxy_to(origin.address);
            let mut client = proxy.client();
            client.send(POST);
            let mut response = client.response_to("GET");
            if response.as_ref().is_some_and(|response| response.status == 103) {
                response = client.response_to("GET");
            }
            let status = response.map(|response| response.status);
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::UpstreamClosed), "{point} {end:?}");
            assert!(!logged.can_retry, "{point} {end:?}");
            assert_eq!(status, if begun { None } else { Some(502) }, "{point} {end:?}");
        }
    }
}

#[test]
fn a_length_that_does_not_match_is_an_error() {
    for (sent, end) in [("short", true), ("much too long", true), ("much too long", false)] {
        let (origin, _) = scripted(move |_, frames, stream| {
            frames.answer(stream, 0, 200, &[("content-length", "9")]);
            frames.try_send(Frames::DATA, if end { Frames::END_STREAM } else { 0 }, stream, sent);
        });
        let proxy = proxy_to(origin.address);
        let mut client = proxy.client();
        client.send(GET);
        assert!(client.response_to("GET").is_none());
        assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid), "{sent} {end}");
    }
    // One that never comes, with the head.
    let (origin, _) = scripted(|_, frames, stream| {
        frames.answer(stream, Frames::END_STREAM, 200, &[("content-length", "9")]);
    });
    let proxy = proxy_to(origin.address);
    assert_eq!(proxy.client().ask(GET).status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
}

#[test]
fn heads_that_are_not_valid_are_errors() {
    let table: [&[(&str, &str)]; 8] = [
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("Upper", "x")],
        &[("a", "x\r\ny: z")],
        &[("a", " x")],
        &[("content-length", "1"), ("content-length", "2")],
        &[("content-length", "1, 1")],
        &[("a", "b"), (":status", "200")],
    ];
    for fields in table {
        let (origin, _) = scripted(move |_, frames, stream| {
            frames.answer(stream, Frames::END_STREAM, 200, fields);
        });
        let proxy = proxy_to(origin.address);
        let response = proxy.client().ask(GET);
        assert_eq!(response.status, 502, "{fields:?}");
        assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid), "{fields:?}");
    }
    let (origin, _) = scripted(|_, frames, stream| frames.answer(stream, 0, 101, &[]));
    let proxy = proxy_to(origin.address);
    assert_eq!(proxy.client().ask(GET).status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));
}

#[test]
fn a_head_beyond_the_limits_is_an_error() {
    let (origin, _) = scripted(|_, frames, stream| {
        let names: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
        let value = "v".repeat(120);
        let fields: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        frames.answer(stream, Frames::END_STREAM, 200, &fields);
    });
    for (max_bytes, max_fields, fits) in
        [(65_536, 128, true), (8_192, 128, false), (65_536, 99, false)]
    {
        let limits = millrace_http1::HeadLimits { max_bytes, max_fields };
        let options = ProxyOptions { limits, ..ProxyOptions::default() };
        let proxy = Proxy::new(phases_to(origin.address), options);
        assert_eq!(proxy.client().ask(GET).status, if fits { 200 } else { 502 });
        let code = (!fits).then_some(Code::UpstreamInvalid);
        assert_eq!(proxy.logged().code, code, "{max_bytes} {max_fields}");
    }
}

#[test]
fn an_origin_that_speaks_something_else_is_told_apart_before_anything_is_sent() {
    let garbage = Origin::new(|_, mut wire| {
        wire.bytes(24);
        wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        wire.rest();
    });
    let mut phases = phases_to(garbage.address);
    phases.fail_to_connect = Some(Box::new(|_, error| {
        assert!(error.can_retry());
        Decision::Fail
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(POST).status, 502);
    assert_eq!(proxy.logged().code, Some(Code::UpstreamInvalid));

    let closes = Origin::new(|_, mut wire| _ = wire.bytes(24));
    let proxy = proxy_to(closes.address);
    assert_eq!(proxy.client().ask(POST).status, 502);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.can_retry), (Some(Code::ConnectFailed), true));
}

#[test]
fn an_origin_that_never_sends_settings_is_a_connect_timeout_for_all_who_wait() {
    let origin = Origin::new(|_, mut wire| _ = wire.rest());
    let options = PeerOptions { connect_timeout: Some(millis(200)), ..PeerOptions::default() };
    let peers = vec![h2_peer(origin.address, options)];
    let proxy = Proxy::new(TestPhases::with(peers), ProxyOptions::default());
    let start = Instant::now();
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(POST));
    for client in &mut clients {
        assert_eq!(client.response().status, 504);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::ConnectTimeout), true));
    }
    assert!(start.elapsed() < millis(1_500), "{:?}", start.elapsed());
    // More than one only if a client came after the first had failed.
    assert!(origin.connections() <= 2);
}

#[test]
fn time_outs_end_a_stream_and_leave_the_connection() {
    let (reset, was_reset) = channel();
    let reset = std::sync::Mutex::new(reset);
    let origin = Origin::new(move |_, wire| {
        let mut frames = Frames::accept(wire);
        // Silence; then half an answer; then a window that never opens.
        frames.request();
        reset.lock().unwrap().send(frames.find(Frames::RST_STREAM).unwrap().payload).unwrap();
        let stream = frames.request();
        frames.answer(stream, 0, 200, &[]);
        reset.lock().unwrap().send(frames.find(Frames::RST_STREAM).unwrap().payload).unwrap();
        frames.request();
        reset.lock().unwrap().send(frames.find(Frames::RST_STREAM).unwrap().payload).unwrap();
        let stream = frames.request();
        ok(&mut frames, stream);
        frames.drain();
    });
    let options = PeerOptions {
        read_timeout: Some(millis(100)),
        write_timeout: Some(millis(100)),
        ..PeerOptions::default()
    };
    let peers = vec![h2_peer(origin.address, options)];
    let proxy = Proxy::new(TestPhases::with(peers), ProxyOptions::default());
    let upload = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    );
    for (request, status, code) in [
        (GET, Some(504), Code::ReadTimeout),
        (GET, None, Code::ReadTimeout),
        (upload.as_str(), Some(504), Code::WriteTimeout),
    ] {
        let mut client = proxy.client();
        client.send(request);
        assert_eq!(client.response_to("GET").map(|response| response.status), status);
        assert_eq!(proxy.logged().code, Some(code));
        let reason = was_reset.recv_timeout(PATIENCE).unwrap();
        assert_eq!(reason, Frames::CANCEL.to_be_bytes());
    }
    assert_eq!(proxy.client().ask(GET).text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn floods_of_an_origin_end_with_its_request_and_hold_nobody_else_up() {
    for kind in [Frames::PING, Frames::SETTINGS, Frames::RST_STREAM] {
        let flooding = Origin::new(move |_, wire| {
            let mut frames = Frames::accept(wire);
            let stream = frames.request();
            // Answers are read aside, as a flood may fill the way back.
            let mut back = Wire::new(frames.wire.stream.try_clone().unwrap());
            std::thread::spawn(move || back.drop_all());
            let payload: &[u8] = match kind {
                Frames::PING => &[0; 8],
                Frames::SETTINGS => &[],
                _ => &[0, 0, 0, 8],
            };
            let stream = if kind == Frames::RST_STREAM { stream } else { 0 };
            while frames.try_send(kind, 0, stream, payload) {}
        });
        let options = PeerOptions {
            read_timeout: Some(millis(300)),
            idle_timeout: millis(200),
            ..PeerOptions::default()
        };
        let fine = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let peers =
            vec![h2_peer(flooding.address, options), peer(fine.address, Default::default())];
        let mut phases = TestPhases::with(peers);
        phases.upstream_peer = Some(Box::new(|ex, peers| {
            Ok(peers[usize::from(ex.request.target != b"/flood")].clone())
        }));
        let proxy = Proxy::new(phases, ProxyOptions::default());
        let mut victim = proxy.client();
        victim.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = proxy.client();
        for _ in 0..20 {
            let start = Instant::now();
            assert_eq!(client.ask(GET).text(), "ok");
            assert!(start.elapsed() < PATIENCE / 3, "{kind}: {:?}", start.elapsed());
        }
        let response = victim.response();
        assert!(response.status >= 500, "{kind}");
        eventually("the flooded connection is closed", || proxy.pool().open <= 1);
    }
}
