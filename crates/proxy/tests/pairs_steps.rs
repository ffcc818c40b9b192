//! Messages that come step by step in every pair of versions, in the clear and over TLS: each step
//! arrives before the next is made, so that nothing may stay in a buffer.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use pair::*;

#[test]
fn interim_answers_pass_in_order_and_none_hides_another() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            for link in ["</a>", "</b>", "</c>"] {
                let fields: &[(&str, &str)] = match &**served {
                    Side::H1(_) => &[("link", link), ("connection", "x-hop"), ("x-hop", "1")],
                    Side::H2(_) => &[("link", link)],
                };
                served.interim(103, fields);
            }
            served.reply(200, "done");
        });
        let mut client = pair.client();
        for _ in 0..2 {
            let reply = client.ask("GET", "/", &[]);
            assert_eq!((reply.head.status, reply.text()), (200, "done"));
            let hints: Vec<_> = reply.interim.iter().map(|head| head.fields.clone()).collect();
            let expected = ["</a>", "</b>", "</c>"];
            assert_eq!(hints, expected.map(|link| vec![("link".to_owned(), link.to_owned())]));
            assert!(reply.interim.iter().all(|head| head.status == 103));
            assert_eq!(pair.proxy.logged().status, Some(200));
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn an_interim_answer_and_a_head_arrive_before_anything_follows_them() {
    each_row(|row| {
        let seen = Ticks::default();
        let confirmed = seen.clone();
        let pair = Pair::new(row, move |served| {
            served.interim(103, &[("link", "</a>")]);
            confirmed.wait(1);
            served.answer(200, &[], Length::Unknown);
            confirmed.wait(2);
            served.send("body");
            confirmed.wait(3);
            served.finish(&[]);
        });
        let mut client = pair.client();
        assert!(client.begin("GET", "/", &[], Length::Nothing));
        assert_eq!(client.head().unwrap().status, 103);
        seen.tick();
        assert_eq!(client.head().unwrap().status, 200);
        seen.tick();
        assert_eq!(client.bytes(4), b"body");
        seen.tick();
        assert_eq!(client.piece(), Piece::End(Vec::new()));
    });
}

#[test]
fn an_interim_answer_arrives_while_a_filter_of_the_answer_waits() {
    each_row(|row| {
        let seen = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let confirmed = seen.clone();
        let filter = |setup: &mut Setup| {
            setup.phases.response_filter = Some(Box::new(move |_| {
                let confirmed = confirmed.clone();
                Box::pin(async move {
                    confirmed.acquire().await.unwrap().forget();
                    Ok(None)
                })
            }));
        };
        let pair = Pair::with(row, filter, |served| {
            served.interim(103, &[("link", "</a>")]);
            served.reply(200, "done");
        });
        let mut client = pair.client();
        assert!(client.begin("GET", "/", &[], Length::Nothing));
        assert_eq!(client.head().unwrap().status, 103);
        seen.add_permits(1);
        assert_eq!(client.reply().text(), "done");
    });
}

#[test]
fn each_piece_of_an_upload_arrives_before_the_next_is_sent() {
    each_row(|row| {
        for length in [Length::Known(30), Length::Unknown] {
            let arrived = Ticks::default();
            let arrives = arrived.clone();
            let pair = Pair::new(row, move |served| {
                arrives.tick();
                for _ in 0..10 {
                    assert_eq!(served.bytes(3), b"abc");
                    arrives.tick();
                }
                assert_eq!(served.body().unwrap().0, b"");
                served.reply(200, "done");
            });
            let mut client = pair.client();
            assert!(client.begin("PUT", "/", &[], length));
            for number in 1..=10 {
                // The head goes ahead of its body.
                arrived.wait(number);
                assert!(client.send("abc"));
            }
            arrived.wait(11);
            assert!(client.end(&[]));
            assert_eq!(client.reply().text(), "done");
        }
    });
}

#[test]
fn each_piece_of_a_download_arrives_before_the_next_is_sent() {
    each_row(|row| {
        for length in [Length::Known(30), Length::Unknown] {
            let seen = Ticks::default();
            let confirmed = seen.clone();
            let pair = Pair::new(row, move |served| {
                served.answer(200, &[], length);
                for number in 0..10 {
                    confirmed.wait(number);
                    served.send("abc");
                }
                served.finish(&[]);
            });
            let mut client = pair.client();
            assert!(client.begin("GET", "/", &[], Length::Nothing));
            assert_eq!(client.head().unwrap().status, 200);
            for _ in 0..10 {
                assert_eq!(client.bytes(3), b"abc");
                seen.tick();
            }
            assert_eq!(client.piece(), Piece::End(Vec::new()));
        }
    });
}

#[test]
fn pieces_larger_than_any_buffer_arrive_whole_before_the_next_is_sent() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 3;
    each_row(|row| {
        let arrived = Ticks::default();
        let arrives = arrived.clone();
        // Little room on the way, so that most writes have to wait for some.
        let narrow = |setup: &mut Setup| setup.endpoint.options.send_buffer = Some(16 * 1024);
        let pair = Pair::with(row, narrow, move |served| {
            if served.head.method == "PUT" {
                for _ in 0..PIECES {
                    served.bytes(PIECE);
                    arrives.tick();
                }
                assert_eq!(served.body().unwrap().0, b"");
                return served.reply(200, "done");
            }
            served.answer(200, &[], Length::Unknown);
            for number in PIECES..2 * PIECES {
                arrives.wait(number);
                served.send(vec![b'x'; PIECE]);
            }
            served.finish(&[]);
        });
        let mut client = pair.slow_client();
        assert!(client.begin("PUT", "/", &[], Length::Unknown));
        for number in 1..=PIECES {
            assert!(client.send(vec![b'x'; PIECE]));
            arrived.wait(number);
        }
        assert!(client.end(&[]));
        assert_eq!(client.reply().text(), "done");
        assert!(client.begin("GET", "/", &[], Length::Nothing));
        assert_eq!(client.head().unwrap().status, 200);
        for _ in 0..PIECES {
            client.bytes(PIECE);
            arrived.tick();
        }
        assert_eq!(client.piece(), Piece::End(Vec::new()));
    });
}

#[test]
fn both_sides_talk_in_turns_within_one_exchange() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            served.answer(200, &[], Length::Unknown);
            while let Piece::Data(data) = served.piece() {
                served.send(data);
            }
            served.finish(&[("x-end", "1")]);
        });
        let mut client = pair.client();
        assert!(client.begin("POST", "/", &[("te", "trailers")], Length::Unknown));
        assert_eq!(client.head().unwrap().status, 200);
        for number in 0..20_u8 {
            assert!(client.send([number; 5]));
            assert_eq!(client.bytes(5), [number; 5]);
        }
        assert!(client.end(&[]));
        assert_eq!(client.piece(), Piece::End(vec![("x-end".into(), "1".into())]));
        // The connections are in order for more.
        assert_eq!(pair.proxy.logged().code, None);
        assert_eq!(client.put("/", b"hi", Length::Known(2)).text(), "hi");
        assert_eq!(pair.origin.connections(), 1);
    });
}
