//! CONNECT over HTTP/2 (RFC 9113 §8.5): the stream is the tunnel.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use support::frames::*;
use support::h2_client::*;
use support::*;

const MIB: usize = 1 << 20;

fn enabled() -> ProxyOptions {
    ProxyOptions { connect: true, ..ProxyOptions::default() }
}

fn proxy_to(origin: &Origin) -> Proxy {
    Proxy::new(TestPhases::to(origin.address), enabled())
}

fn ask(fields: &[(&str, &str)]) -> http::Request<()> {
    let mut builder = http::Request::builder().method("CONNECT").uri("far.test:443");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

/// A stream that is a tunnel, and whether the head of its answer is as it should be.
async fn open(client: &mut H2Client) -> (SendStream<Bytes>, RecvStream) {
    let (response, send) = client.start(ask(&[]), false).await;
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("content-length"));
    (send, response.into_body())
}

/// Exactly so many bytes.
async fn bytes(body: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let data = soon(body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    assert_eq!(all.len(), count);
    all
}

/// Waits for the end; nothing may come before it.
async fn ended(body: &mut RecvStream) {
    // It may be a frame of its own, without data.
    while let Some(data) = soon(body.data()).await {
        assert_eq!(data.unwrap(), "");
    }
}

/// How the stream was reset.
async fn reset(body: &mut RecvStream) -> Reason {
    loop {
        match soon(body.data()).await {
            Some(Ok(data)) => body.flow_control().release_capacity(data.len()).unwrap(),
            Some(Err(error)) => return error.reason().unwrap(),
            None => panic!("a clean end"),
        }
    }
}

/// An origin that plays `script` with its first connection, and what that comes to.
fn plays<T: Send + 'static>(
    script: impl Fn(&mut Wire) -> T + Send + Sync + 'static,
) -> (Origin, Receiver<T>) {
    let (tell, hear) = channel();
    let tell = Mutex::new(tell);
    let origin = Origin::new(move |_, mut wire| {
        let told = script(&mut wire);
        tell.lock().unwrap().send(told).unwrap();
    });
    (origin, hear)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_beside_other_requests_and_are_counted() {
    let origin = Origin::new(|_, mut wire| wire.echo());
    let web = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut phases = TestPhases::with(vec![
        peer(origin.address, PeerOptions::default()),
        peer(web.address, PeerOptions::default()),
    ]);
    phases.upstream_peer = Some(Box::new(|ex, peers| {
        if ex.is_connect() {
            assert_eq!(
                (ex.request.host(), &ex.request.target[..]),
                ("far.test:443", &b"far.test:443"[..])
            );
        }
        Ok(peers[usize::from(!ex.is_connect())].clone())
    }));
    let proxy = Proxy::new(phases, enabled());
    let mut client = H2Client::connect(proxy.address).await;
    let (mut send, mut body) = open(&mut client).await;
    let mut total = 0;
    for length in [1, 16_384, 16_385, 60_000, 5] {
        let piece: Vec<u8> = (0..length).map(|at| (at * 7 / 5) as u8).collect();
        send.send_data(piece.clone().into(), false).unwrap();
        assert!(bytes(&mut body, length).await == piece, "{length}");
        total += length as u64;
        assert_eq!(client.ask(get("/"), b"").await.text(), "ok");
        assert_eq!(proxy.logged().code, None);
    }
    send.send_data(Bytes::new(), true).unwrap();
    ended(&mut body).await;
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.status, logged.last), (None, Some(200), false));
    assert_eq!(logged.method, "CONNECT");
    assert!((total..total + 200).contains(&logged.received), "{}", logged.received);
    assert!((total..total + 200).contains(&logged.sent), "{}", logged.sent);
    assert_eq!(client.ask(get("/"), b"").await.text(), "ok");
    assert_eq!(proxy.pool().idle, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_along_is_the_first_of_the_tunnel() {
    let (origin, hear) = plays(Wire::rest);
    let mut phases = TestPhases::to(origin.address);
    phases.connected = Some(Box::new(|_| {
        Box::pin(async {
            tokio::time::sleep(millis(50)).await;
            Ok(())
        })
    }));
    let proxy = Proxy::new(phases, enabled());
    let mut client = H2Client::connect(proxy.address).await;
    // With an end that came with it, before the tunnel was there.
    let (response, mut send) = client.start(ask(&[("expect", "100-continue")]), false).await;
    send.send_data("hasty".into(), true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 200);
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"hasty");
    assert_eq!(proxy.logged().code, None);
    // And with nothing but an end.
    let (response, _) = client.start(ask(&[]), true).await;
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"");
    ended(&mut body).await;
    assert_eq!(proxy.logged().code, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_side_may_end_while_the_other_goes_on() {
    let (origin, hear) = plays(|wire| {
        wire.send("bye");
        wire.end_sending();
        wire.rest()
    });
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut send, mut body) = open(&mut client).await;
    assert_eq!(bytes(&mut body, 3).await, b"bye");
    ended(&mut body).await;
    send.send_data("still here".into(), true).unwrap();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"still here");
    assert_eq!(proxy.logged().code, None);

    let (origin, _hear) = plays(|wire| {
        assert_eq!(wire.rest(), b"question");
        wire.send("answer");
    });
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut send, mut body) = open(&mut client).await;
    send.send_data("question".into(), true).unwrap();
    assert_eq!(bytes(&mut body, 6).await, b"answer");
    ended(&mut body).await;
    assert_eq!(proxy.logged().code, None);
    eventually("all is closed", || proxy.pool().open == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_is_killed_is_a_connect_error_of_the_stream_alone() {
    let origin = Origin::new(|_, mut wire| match wire.piece().as_slice() {
        b"go" => wire.kill(),
        first => {
            let first = first.to_vec();
            wire.send(first);
            wire.echo();
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut other_send, mut other) = open(&mut client).await;
    let (mut send, mut body) = open(&mut client).await;
    send.send_data("go".into(), false).unwrap();
    assert_eq!(reset(&mut body).await, Reason::CONNECT_ERROR);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.last), (Some(Code::UpstreamClosed), false));
    other_send.send_data("still".into(), false).unwrap();
    assert_eq!(bytes(&mut other, 5).await, b"still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_resets_the_origin() {
    for has_ended in [false, true] {
        let open_end = Mutex::new(None);
        let (origin, hear) = plays(move |wire| {
            assert_eq!(wire.bytes(2), b"go");
            wire.send("ok");
            // It does not end its side by itself.
            *open_end.lock().unwrap() = wire.stream.try_clone().ok();
            wire.is_reset()
        });
        let proxy = proxy_to(&origin);
        let mut client = H2Client::connect(proxy.address).await;
        let (mut send, mut body) = open(&mut client).await;
        // Even where nothing more was to come of the client, as the origin knows.
        send.send_data("go".into(), has_ended).unwrap();
        assert_eq!(bytes(&mut body, 2).await, b"ok");
        send.send_reset(Reason::CANCEL);
        assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), !has_ended);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.last), (Some(Code::ClientAborted), false));
        eventually("it is closed", || proxy.pool().open == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_resets_the_origins_of_its_tunnels() {
    let (origin, hear) = plays(Wire::is_reset);
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let _one = open(&mut client).await;
    let _two = open(&mut client).await;
    client.driver.abort();
    assert!(hear.recv_timeout(PATIENCE).unwrap() && hear.recv_timeout(PATIENCE).unwrap());
    for _ in 0..2 {
        assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    }
    eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_tunnel_outlives_other_time_outs_and_ends_with_its_own() {
    for has_ended in [false, true] {
        let short = Some(millis(50));
        let options = ProxyOptions {
            body_read_timeout: short,
            keep_alive_timeout: short,
            tunnel_idle_timeout: Some(millis(300)),
            ..enabled()
        };
        let (origin, hear) = plays(move |wire| {
            if has_ended {
                wire.end_sending();
            }
            wire.is_reset()
        });
        let proxy = Proxy::new(TestPhases::to(origin.address), options);
        let mut client = H2Client::connect(proxy.address).await;
        let start = std::time::Instant::now();
        let (mut send, _body) = open(&mut client).await;
        let reason = soon(poll_fn(|cx| send.poll_reset(cx))).await.unwrap();
        assert_eq!(reason, Reason::CONNECT_ERROR);
        assert!(hear.recv_timeout(PATIENCE).unwrap() && start.elapsed() >= millis(300));
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.source), (Some(Code::ReadTimeout), Some(Source::Internal)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_of_the_server_is_the_tunnel_s_too() {
    let (origin, hear) = plays(|wire| {
        let byte = wire.bytes(1);
        wire.send(byte);
        wire.is_reset()
    });
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut send, mut body) = open(&mut client).await;
    let server = proxy.server.clone();
    let closing = std::thread::spawn(move || server.close(millis(300)));
    send.send_data("x".into(), false).unwrap();
    assert_eq!(bytes(&mut body, 1).await, b"x");
    assert!(soon(body.data()).await.is_none_or(|end| end.is_err()));
    assert!(hear.recv_timeout(PATIENCE).unwrap());
    assert_eq!(closing.join().unwrap().requests.cut, 1);
    assert_eq!(proxy.logged().code, Some(Code::ServerClosed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_sender_up_and_no_other_stream() {
    let origin = Origin::new(|number, mut wire| match number {
        // Its client takes nothing.
        0 => {
            wire.flood();
            wire.rest();
        }
        _ => wire.echo(),
    });
    let proxy = proxy_to(&origin);
    let mut builder = h2::client::Builder::new();
    // Room for the stream that is not read, and for others.
    builder.initial_connection_window_size(MIB as u32);
    let mut client = H2Client::with(proxy.address, &builder).await;
    let (_send, _untaken) = open(&mut client).await;
    let (mut send, mut body) = open(&mut client).await;
    for _ in 0..64 {
        send.send_data(vec![b'x'; 16 * 1024].into(), false).unwrap();
        bytes(&mut body, 16 * 1024).await;
    }

    // The other way round: an origin that reads nothing.
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let (origin, hear) = plays(move |wire| {
        may_go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        wire.rest().len()
    });
    let proxy = proxy_to(&origin);
    let mut client = H2Client::connect(proxy.address).await;
    let (mut send, _body) = open(&mut client).await;
    let mut total = 0;
    loop {
        send.reserve_capacity(64 * 1024);
        let room = poll_fn(|cx| match send.poll_capacity(cx) {
            Poll::Ready(room) => Poll::Ready(room.unwrap().unwrap()),
            Poll::Pending => Poll::Pending,
        });
        let Ok(room) = tokio::time::timeout(millis(300), room).await else { break };
        send.send_data(vec![b'x'; room].into(), false).unwrap();
        total += room;
        assert!(total < 32 * MIB, "{total} bytes are held somewhere");
    }
    assert!(total >= 256 * 1024, "{total}");
    go.send(()).unwrap();
    send.send_data(Bytes::new(), true).unwrap();
    assert_eq!(soon(async { hear.recv_timeout(PATIENCE).unwrap() }).await, total);
    assert_eq!(proxy.logged().received / MIB as u64, total as u64 / MIB as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_or_a_failure_is_an_answer_and_the_connection_goes_on() {
    let (full, _sockets) = Origin::never_accepts();
    let short = PeerOptions { connect_timeout: Some(millis(100)), ..PeerOptions::default() };
    let mut phases = TestPhases::with(vec![
        peer(Origin::nowhere(), PeerOptions::default()),
        peer(full, short),
        peer(Origin::new(|_, mut wire| wire.echo()).address, PeerOptions::default()),
    ]);
    phases.request_filter = Some(Box::new(|ex| {
        let asked = ex.request.fields.get("x-answer").map(<[u8]>::to_vec);
        Box::pin(async move {
            let status = asked.map(|asked| String::from_utf8(asked).unwrap().parse().unwrap());
            Ok(status.map(Answer::plain))
        })
    }));
    phases.upstream_peer = Some(Box::new(|ex, peers| {
        let index = ex.request.fields.get("x-peer").map_or(2, |digit| usize::from(digit[0] - b'0'));
        Ok(peers[index].clone())
    }));
    let proxy = Proxy::new(phases, enabled());
    let mut client = H2Client::connect(proxy.address).await;
    for (name, value, status, code) in [
        ("x-answer", "403", 403, None),
        ("x-answer", "407", 407, None),
        ("x-answer", "200", 500, Some(Code::PhaseReturn)),
        ("x-peer", "0", 502, Some(Code::ConnectRefused)),
        ("x-peer", "1", 504, Some(Code::ConnectTimeout)),
        ("content-length", "0", 400, Some(Code::BadRequest)),
    ] {
        let (response, mut send) = client.start(ask(&[(name, value)]), false).await;
        let reply = Reply::read(response).await.unwrap();
        assert_eq!(reply.status, status, "{name}: {value}");
        assert!(reply.text().starts_with(&status.to_string()));
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.last), (code, false), "{name}: {value}");
        // A client that has its answer has no more use for the stream.
        send.send_reset(Reason::NO_ERROR);
    }
    let (mut send, mut body) = open(&mut client).await;
    send.send_data("x".into(), true).unwrap();
    assert_eq!(bytes(&mut body, 1).await, b"x");
}

#[test]
fn what_is_malformed_or_extended_reaches_no_phase() {
    let origin = Origin::echoes();
    let proxy = proxy_to(&origin);
    let head = [(":method", "CONNECT"), (":authority", "a:443")];
    for more in [
        &[(":scheme", "http")][..],
        &[(":path", "/")],
        &[(":scheme", "http"), (":path", "/")],
        // RFC 8441, which was not offered.
        &[(":scheme", "http"), (":path", "/"), (":protocol", "websocket")],
        &[(":protocol", "websocket")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "close")],
    ] {
        let mut client = Frames::connect(proxy.address);
        client.head(1, 4, &[&head[..], more].concat());
        assert_eq!(client.until(Frames::RST_STREAM).code(), Frames::PROTOCOL_ERROR, "{more:?}");
    }
    let mut client = Frames::connect(proxy.address);
    let settings = client.until(Frames::SETTINGS).payload;
    let offers = settings.chunks(6).any(|one| one[..2] == 8_u16.to_be_bytes());
    assert!(!offers, "extended CONNECT is offered: {settings:?}");
    // What only we refuse is logged.
    for authority in ["a", "a:", "a:0", "u@a:1"] {
        let mut client = Frames::connect(proxy.address);
        client.head(1, 4, &[head[0], (":authority", authority)]);
        // 400 in the static table.
        assert_eq!(client.until(Frames::HEADERS).payload[0], 0x8c, "{authority}");
        assert_eq!(proxy.logged().code, Some(Code::BadRequest));
    }
    let mut client = Frames::connect(proxy.address);
    client.head(1, 4, &head[..1]);
    assert_eq!(client.until(Frames::HEADERS).payload[0], 0x8c);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn other_frames_than_data_break_a_tunnel() {
    let (origin, hear) = plays(|wire| {
        assert_eq!(wire.bytes(2), b"go");
        wire.send("ok");
        wire.is_reset()
    });
    let proxy = proxy_to(&origin);
    let mut client = Frames::connect(proxy.address);
    client.head(1, 4, &[(":method", "CONNECT"), (":authority", "a:443")]);
    client.send(Frames::DATA, 0, 1, b"go");
    assert_eq!(client.until(Frames::DATA).payload, b"ok");
    // Trailers: END_STREAM and END_HEADERS.
    client.head(1, 5, &[("x", "y")]);
    let end = client.until(Frames::RST_STREAM);
    assert_eq!((end.stream, end.code()), (1, Frames::CONNECT_ERROR));
    assert!(hear.recv_timeout(PATIENCE).unwrap());
    assert_eq!(proxy.logged().code, Some(Code::BadRequest));
}

#[test]
fn it_works_over_tls() {
    let certs = Certs::new();
    let origin = certs.good_origin(|_, mut wire| wire.echo());
    let phases = TestPhases::with(vec![peer(origin.address, certs.peer(|_| {}))]);
    let proxy = Proxy::secure(phases, enabled(), &certs.server(|options| options.h2 = true));
    let mut wire = certs.client("a.test", None, &["h2"]).over(proxy.client());
    wire.send([PREFACE, &frame(Frames::SETTINGS, 0, 0, &[])].concat());
    let mut client = Frames { wire };
    client.head(1, 4, &[(":method", "CONNECT"), (":authority", "a:443")]);
    for piece in [&[b'x'; 1][..], &[b'y'; 16_384], b"z"] {
        client.send(Frames::DATA, 0, 1, piece);
        let mut got = Vec::new();
        while got.len() < piece.len() {
            got.extend(client.until(Frames::DATA).payload);
        }
        assert!(got == piece);
    }
}
