//! Bodies, in both directions and every framing.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const MIB: usize = 1 << 20;

#[test]
fn head_204_and_304_have_no_body_and_the_connection_goes_on() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            wire.send(match head.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/none" => "HTTP/1.1 200 OK\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            });
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for (method, path, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("7")),
        ("HEAD", "/head", 200, Some("7")),
        ("HEAD", "/chunked", 200, None),
        ("HEAD", "/none", 200, None),
        ("GET", "/", 200, Some("2")),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response_to(method).unwrap();
        assert_eq!((response.status, response.field("content-length")), (status, length), "{path}");
        assert_eq!(response.field("transfer-encoding"), None, "{path}");
        assert!(!response.closes(), "{path}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn own_answers_to_head_have_the_length_and_no_body() {
    let proxy = Proxy::new(TestPhases::answering(Answer::plain(200)), ProxyOptions::default());
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response_to("HEAD").unwrap();
    assert_eq!(response.field("content-length"), Some("7"));
    assert_eq!(client.ask(GET).text(), "200 OK\n");
}

#[test]
fn a_phase_may_change_a_status_to_one_without_a_body_and_back() {
    for (answer, status, text) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 204, ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 304, ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", 200, ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 200, ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 500, "ok"),
    ] {
        let mut phases = TestPhases::to(Origin::says(answer).address);
        phases.response_filter = Some(Box::new(move |head| {
            head.status = status;
            Box::pin(async { Ok(None) })
        }));
        let proxy = Proxy::new(phases, ProxyOptions::default());
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.ask(GET);
            assert_eq!((response.status, response.text()), (status, text), "{answer}");
        }
    }
}

#[test]
fn chunked_bodies_go_up_and_down_with_their_trailers() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            let (body, trailers) = wire.try_body(&head).unwrap();
            let body = String::from_utf8(body).unwrap() + "|" + &trailers;
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 {:x}\r\n{body}\r\n0\r\nX-Sum: 9\r\nContent-Length: 3\r\n\r\n",
                body.len()
            ));
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for (te, trailers) in [("", ""), ("TE: trailers\r\n", "X-Sum: 9\r\n")] {
        let response = client.ask(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{te}Transfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\nHost: b\r\n\r\n"
        ));
        assert_eq!(response.text(), "abcde|X-End: 1\r\n");
        assert_eq!(response.trailers, trailers);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_body_that_ends_with_its_connection_is_chunked_for_the_client() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask(GET);
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!((response.text(), response.closes()), ("until the end", false));
    }
}

#[test]
fn an_origin_cut_short_never_looks_whole() {
    for (answer, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", true),
    ] {
        for version in ["1.0", "1.1"] {
            let (got, is_got) = channel();
            let is_got = Mutex::new(is_got);
            let origin = Origin::new(move |_, mut wire| {
                wire.head();
                wire.send(answer);
                if reset {
                    // Once the client has its half, or the reset would overtake it.
                    is_got.lock().unwrap().recv().unwrap();
                    let socket = socket2::SockRef::from(&wire.stream);
                    socket.set_linger(Some(millis(0))).unwrap();
                }
            });
            let proxy = Proxy::to(origin.address);
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            // With all of it at once, a reset may overtake even the head.
            let head = client.try_head();
            assert!(head.is_some() || version == "1.0");
            if reset {
                assert!(head.is_some());
                got.send(()).unwrap();
            }
            let whole = head.is_some_and(|head| {
                let lower = head.to_lowercase();
                match lower.contains("content-length") || lower.contains("transfer-encoding") {
                    true => client.try_body(&head).is_some(),
                    false => !client.is_reset(),
                }
            });
            assert!(!whole, "{answer:?} to {version}");
            let logged = proxy.logged();
            assert_eq!(logged.code, Some(Code::UpstreamClosed), "{answer:?} to {version}");
            assert_eq!(proxy.pool().open, 0);
        }
    }
}

#[test]
fn an_origin_that_closes_before_or_within_its_head_is_a_502() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let origin = Origin::new(move |_, mut wire| {
            wire.request();
            wire.send(answer);
        });
        let proxy = Proxy::to(origin.address);
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!((response.status, response.closes()), (502, false));
            assert_eq!(proxy.logged().code, Some(Code::UpstreamClosed));
        }
    }
}

#[test]
fn continue_is_asked_for_and_passed_on() {
    let origin = Origin::new(|_, mut wire| {
        while let Some(head) = wire.try_head() {
            assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = wire.try_body(&head).unwrap().0;
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            wire.send(body);
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    for _ in 0..2 {
        let request =
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let interim = client.ask(request);
        assert_eq!((interim.status, interim.head.as_str()), (100, "HTTP/1.1 100 Continue\r\n\r\n"));
        assert_eq!(client.ask("hi").text(), "hi");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_origin_that_never_says_continue_gets_the_body_anyway() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = proxy.client();
    let request = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(client.ask(request).status, 100);
    assert!(client.ask("hi").text().ends_with("hi"));
}

#[test]
fn a_client_that_does_not_wait_for_continue_needs_none() {
    let proxy = Proxy::to(Origin::echoes().address);
    let mut client = proxy.client();
    let response =
        client.ask("PUT / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
    assert_eq!(response.status, 200);
    assert!(!response.text().to_lowercase().contains("expect"));
}

#[test]
fn a_final_answer_in_place_of_continue_ends_the_connection() {
    // Whether the body follows is the client's choice: what comes next could be either.
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
        wire.rest();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    let request = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let response = client.ask(request);
    assert_eq!((response.status, response.text(), response.closes()), (401, "no", true));
    client.send("GET /not-a-body HTTP/1.1\r\nHost: a\r\n\r\n");
    client.ended();
    assert_eq!(proxy.logged().status, Some(401));
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn interim_answers_go_to_those_who_know_them() {
    let origin = Origin::says(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    // A 100 only answers those who asked.
    let seen: Vec<u16> = (0..3).map(|_| client.response().status).collect();
    assert_eq!(seen, [103, 102, 200]);
    assert_eq!(proxy.client().ask("GET / HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn sixty_four_mib_stream_up_and_down_at_once() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        // Its answer is under way before the request has ended, and ends with the connection.
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        let mut left = 64 * MIB;
        while left > 0 {
            let piece = wire.piece();
            assert!(!piece.is_empty());
            left -= piece.len();
            wire.send(piece);
        }
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
    let mut writer = client.stream.try_clone().unwrap();
    let upload = thread::spawn(move || {
        let mut piece = vec![0; MIB];
        for n in 0..64_u8 {
            piece.fill(n);
            writer.write_all(&piece).unwrap();
        }
    });
    let response = client.response();
    upload.join().unwrap();
    assert_eq!(response.body.len(), 64 * MIB);
    assert!(
        response
            .body
            .chunks(MIB)
            .enumerate()
            .all(|(n, piece)| { piece.iter().all(|byte| usize::from(*byte) == n) })
    );
    let logged = proxy.logged();
    assert!(logged.received > 64 * MIB as u64 && logged.sent > 64 * MIB as u64);
}

#[test]
fn a_slow_side_holds_the_other_back() {
    // Down: an origin without end, and a client that does not read.
    let (sent, sent_up) = channel();
    let sent = Mutex::new(sent);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        wire.stream.set_write_timeout(Some(millis(300))).unwrap();
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        let mut total = 0;
        while let Ok(count) = wire.stream.write(&[b'x'; 65536]) {
            total += count;
        }
        sent.lock().unwrap().send(total).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    let total = sent_up.recv_timeout(PATIENCE).unwrap();
    // All of it lies in the buffers of the system: four sockets' worth.
    assert!(total < 24 * MIB, "{total}");

    // Up: a client without end, and an origin that does not read.
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        thread::park_timeout(PATIENCE);
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
    client.stream.set_write_timeout(Some(millis(300))).unwrap();
    let mut total = 0;
    while let Ok(count) = client.stream.write(&[b'x'; 65536]) {
        total += count;
    }
    assert!(total < 24 * MIB, "{total}");
}

#[test]
fn interim_answers_that_a_client_does_not_take_are_not_kept_for_it() {
    const COUNT: usize = 800;
    let (sent, is_sent) = channel();
    let sent = Mutex::new(sent);
    let origin = Origin::new(move |_, mut wire| {
        wire.head();
        let hint = format!("HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n", "x".repeat(60_000));
        for _ in 0..COUNT {
            wire.send(&hint);
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        sent.lock().unwrap().send(()).unwrap();
    });
    let proxy = Proxy::to(origin.address);
    let mut client = proxy.client();
    client.send(GET);
    is_sent.recv_timeout(PATIENCE).unwrap();
    let mut hints = 0;
    let last = loop {
        let response = client.response();
        if response.status != 103 {
            break response;
        }
        hints += 1;
    };
    assert_eq!((last.status, last.text()), (200, "ok"));
    assert!(hints > 0 && hints < COUNT / 2, "{hints}");
}

#[test]
fn a_status_that_is_no_answer_is_not_sent() {
    for status in [0, 100, 101, 199, 1000] {
        let proxy = Proxy::new(TestPhases::answering(Answer::new(status)), ProxyOptions::default());
        assert_eq!(proxy.client().ask(GET).status, 500);
        assert_eq!(proxy.logged().code, Some(Code::PhaseReturn));
        let origin = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let mut phases = TestPhases::to(origin.address);
        phases.response_filter = Some(Box::new(move |head| {
            head.status = status;
            Box::pin(async { Ok(None) })
        }));
        let proxy = Proxy::new(phases, ProxyOptions::default());
        assert_eq!(proxy.client().ask(GET).status, 500);
        assert_eq!(proxy.logged().code, Some(Code::PhaseReturn));
    }
}

#[test]
fn an_early_answer_is_whole_however_much_the_client_sends_before_it_reads_it() {
    const SIZE: usize = 2 << 20;
    let mut answer = Answer::new(200);
    answer.body = vec![b'a'; SIZE].into();
    let proxy = Proxy::new(TestPhases::answering(answer), ProxyOptions::default());
    for _ in 0..4 {
        let mut client = proxy.client();
        let mut writer = client.stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            let length = 24 << 20;
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            writer.write_all(head.as_bytes()).unwrap();
            // Refused once the client has closed, at the latest.
            let _ = writer.write_all(&vec![b'x'; length]);
        });
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for _ in 0..128 {
            assert!(client.bytes(SIZE / 128).iter().all(|byte| *byte == b'a'));
            thread::sleep(millis(1));
        }
        client.ended();
        client.stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
        sending.join().unwrap();
    }
}
