//! Requests of every kind, cut into pieces anywhere, several at a time: each is answered with its
//! own answer, in its own place.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::thread;

use support::*;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % below
    }
}

/// Answers with the request's target and body, framed in one of several ways.
fn origin() -> Origin {
    Origin::new(|connection, mut wire| {
        let mut numbers = Numbers(connection as u64);
        while let Some(head) = wire.try_head() {
            let early = numbers.next(4) == 0;
            let target = head.split(' ').nth(1).unwrap().to_owned();
            if early {
                wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            }
            let Some((body, _)) = wire.try_body(&head) else { return };
            let answer = [target.as_bytes(), b"\n", &body].concat();
            match numbers.next(4) {
                0 => {
                    wire.send("HTTP/1.1 200 OK\r\n\r\n");
                    wire.send(answer);
                    return;
                }
                1 => {
                    let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                    for chunk in answer.chunks(numbers.next(5000) + 1) {
                        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        out.extend(chunk);
                        out.extend(b"\r\n");
                    }
                    out.extend(b"0\r\n\r\n");
                    for piece in out.chunks(numbers.next(20_000) + 1000) {
                        wire.send(piece);
                    }
                }
                _ => {
                    let length = answer.len();
                    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
                    wire.send(answer);
                }
            }
        }
    })
}

#[test]
fn every_request_gets_its_own_answer() {
    let origin = origin();
    let proxy = Proxy::threads(TestPhases::to(origin.address), ProxyOptions::default(), 2);
    let address = proxy.address;
    let clients: Vec<_> = (0..8_u64)
        .map(|client| {
            thread::spawn(move || {
                let mut numbers = Numbers(client << 32);
                let (mut out, mut expected) = (Vec::new(), Vec::new());
                for number in 0..60 {
                    let length = [0, 1, 300, 5000, 40_000, 200_000][numbers.next(6)];
                    let target = format!("/{client}/{number}/{length}");
                    let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
                    match numbers.next(3) {
                        0 if length == 0 => {
                            out.extend(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").bytes());
                        }
                        1 => {
                            out.extend(
                                format!(
                                    "PUT {target} HTTP/1.1\r\nHost: a\r\n\
                                     Transfer-Encoding: chunked\r\n\r\n"
                                )
                                .bytes(),
                            );
                            for chunk in body.chunks(numbers.next(9000) + 1) {
                                out.extend(format!("{:X};x=y\r\n", chunk.len()).bytes());
                                out.extend(chunk);
                                out.extend(b"\r\n");
                            }
                            out.extend(b"0\r\nX: y\r\n\r\n");
                        }
                        _ => {
                            out.extend(
                                format!(
                                    "PUT {target} HTTP/1.1\r\nHost: a\r\n\
                                     Content-Length: {length}\r\n\r\n"
                                )
                                .bytes(),
                            );
                            out.extend(&body);
                        }
                    }
                    expected.push([target.as_bytes(), b"\n", &body].concat());
                }
                let mut wire = Wire::connect(address);
                let mut writer = wire.stream.try_clone().unwrap();
                let sending = thread::spawn(move || {
                    let mut rest = &out[..];
                    while !rest.is_empty() {
                        let most = [7, 500, 70_000][numbers.next(3)];
                        let (piece, after) =
                            rest.split_at((numbers.next(most) + 1).min(rest.len()));
                        writer.write_all(piece).unwrap();
                        rest = after;
                    }
                });
                for (number, expected) in expected.iter().enumerate() {
                    let response = loop {
                        let response = wire.response();
                        if response.status != 103 {
                            break response;
                        }
                    };
                    assert_eq!((response.status, response.closes()), (200, false));
                    assert!(response.body == *expected, "client {client}, request {number}");
                }
                sending.join().unwrap();
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let logged: Vec<_> = (0..8 * 60).map(|_| proxy.logged()).collect();
    assert!(logged.iter().all(|logged| logged.code.is_none()));
    assert_eq!(proxy.close().len(), 0);
}

#[test]
fn garbage_is_answered_or_dropped_and_never_waited_for() {
    let origin = Origin::echoes();
    let options = ProxyOptions {
        request_header_timeout: Some(millis(100)),
        body_read_timeout: Some(millis(100)),
        ..ProxyOptions::default()
    };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let words = [
        "GET ",
        "POST ",
        "/",
        "/x?y ",
        "http://a/",
        "*",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "Host: a\r\n",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: x\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "5\r\n",
        "hello",
        "0\r\n\r\n",
        "\0",
        "\u{7f}",
        "é",
        "x",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let mut numbers = Numbers(1);
    for _ in 0..300 {
        let count = numbers.next(12) + 1;
        let text: String = (0..count).map(|_| words[numbers.next(words.len())]).collect();
        let mut client = proxy.client();
        client.try_send(&text);
        if numbers.next(2) == 0 {
            client.end_sending();
            // Whatever comes, there is an end.
            client.rest();
        }
    }
    eventually("all are closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.counters().panicked(), 0);
    assert_eq!(proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}
