//! Bodies and trailers in every pair of versions, in the clear and over TLS.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use pair::*;

const TE: &[(&str, &str)] = &[("te", "trailers")];

/// Answers with what it got.
fn echo(served: &mut Served) {
    let length = served.head.field("content-length").map(str::to_owned);
    let Some((body, trailers)) = served.body() else { return };
    let got = format!("{length:?} {trailers:?} ");
    served.reply(200, [got.as_bytes(), &body].concat());
}

fn fine(pair: &Pair) {
    let logged = pair.proxy.logged();
    assert_eq!((logged.code, logged.attempt), (None, 1), "{}", logged.message);
}

#[test]
fn bodies_of_known_and_unknown_length_go_up() {
    each_row(|row| {
        let pair = Pair::new(row, echo);
        let mut client = pair.client();
        for (body, length, known) in [
            (&b"hello"[..], Length::Known(5), Some("5")),
            (b"hello", Length::Unknown, None),
            (b"", Length::Known(0), Some("0")),
            (b"", Length::Unknown, None),
        ] {
            let reply = client.put("/", body, length);
            let text = String::from_utf8_lossy(body);
            assert_eq!(reply.text(), format!("{known:?} [] {text}"), "{length:?}");
            fine(&pair);
        }
        // No body is not an empty one.
        assert_eq!(client.ask("PUT", "/", &[]).text(), "None [] ");
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn a_body_of_known_length_is_all_there_before_its_end_is_told() {
    each_row(|row| {
        let pair = Pair::new(row, |served| match served.head.method.as_str() {
            "PUT" => {
                let body = served.bytes(5);
                served.reply(200, body);
            }
            _ => served.reply(200, ""),
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", &[], Length::Known(5)) && client.send("hello"));
        assert_eq!(client.reply().text(), "hello");
        fine(&pair);
        assert_eq!(client.ask("GET", "/", &[]).head.status, 200);
        // Over HTTP/1.1 the first had left nothing open.
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn bodies_of_known_and_unknown_length_come_down() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            let body: &[u8] = if served.path().starts_with("/empty") { b"" } else { b"hello" };
            if served.path().ends_with("known") {
                return served.reply(200, body);
            }
            served.answer(200, &[], Length::Unknown);
            body.chunks(2).for_each(|piece| _ = served.send(piece));
            served.finish(&[]);
        });
        let mut client = pair.client();
        for (path, body, length) in [
            ("/known", "hello", Some("5")),
            ("/", "hello", None),
            ("/empty/known", "", Some("0")),
            ("/empty", "", None),
        ] {
            let reply = client.ask("GET", path, TE);
            assert_eq!((reply.text(), reply.head.field("content-length")), (body, length));
            assert!(reply.trailers.is_empty(), "{path}");
            fine(&pair);
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn megabytes_go_both_ways_and_come_back_as_they_were() {
    const SIZE: usize = 3 << 19;
    each_row(|row| {
        let small = |setup: &mut Setup| {
            setup.origin.initial_window_size(40_000).initial_connection_window_size(70_000);
            setup.client.initial_window_size(40_000).initial_connection_window_size(70_000);
            setup.options.http2.initial_stream_window = 50_000;
        };
        let pair = Pair::with(row, small, |served| {
            let (body, _) = served.body().unwrap();
            let length = match served.head.field("content-length") {
                Some(_) => Length::Known(body.len()),
                None => Length::Unknown,
            };
            served.answer(200, &[], length);
            body.chunks(50_000).for_each(|piece| _ = served.send(piece));
            served.finish(&[]);
        });
        let body: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
        let mut client = pair.client();
        for length in [Length::Known(SIZE), Length::Unknown] {
            assert!(client.put("/", &body, length).body == body, "{length:?}");
            let logged = pair.proxy.logged();
            assert_eq!(logged.code, None);
            assert!(logged.received >= SIZE as u64 && logged.sent >= SIZE as u64);
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn trailers_go_up() {
    each_row(|row| {
        let pair = Pair::new(row, echo);
        let mut client = pair.client();
        for (body, got) in [(&b"hello"[..], "hello"), (b"", "")] {
            client.begin("POST", "/", &[], Length::Unknown);
            client.send(body);
            // Those that may not be trailers stay behind.
            client.end(&[("x-sum", "1"), ("authorization", "x"), ("x-sum", "2")]);
            let reply = client.reply();
            assert_eq!(reply.text(), format!(r#"None [("x-sum", "1"), ("x-sum", "2")] {got}"#),);
            fine(&pair);
        }
    });
}

#[test]
fn trailers_come_down_to_those_who_take_them() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            // What HTTP/1.1 says of a client's wishes is for the proxy alone; HTTP/2 has its own.
            let te = served.head.field("te").map(str::to_owned);
            let body: &[u8] = if served.path() == "/" { b"body" } else { b"" };
            served.answer(200, &[("x-te", &format!("{te:?}"))], Length::Unknown);
            served.send(body);
            served.finish(&[("grpc-status", "0"), ("set-cookie", "x"), ("x-a", "b")]);
        });
        let mut client = pair.client();
        for (path, body) in [("/", "body"), ("/empty", "")] {
            let fields: &[(&str, &str)] = match row.down {
                Http::H1 => &[("te", "trailers"), ("connection", "te")],
                Http::H2 => TE,
            };
            let with = client.ask("GET", path, fields);
            let expected = [("grpc-status", "0"), ("x-a", "b")];
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!((with.text(), &with.trailers[..]), (body, &expected[..]));
            let te = if row.up == Http::H2 { r#"Some("trailers")"# } else { "None" };
            assert_eq!(with.head.field("x-te"), Some(te));
            let without = client.ask("GET", path, &[]);
            assert_eq!(without.text(), body);
            assert_eq!(without.head.field("x-te"), Some("None"));
            // Every client of HTTP/2 can read them.
            let taken = row.down == Http::H2;
            assert_eq!(without.trailers.is_empty(), !taken);
            fine(&pair);
            fine(&pair);
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}

#[test]
fn answers_without_a_body_have_none_and_keep_their_length() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            let status = served.path()[1..4].parse().unwrap();
            let fields: &[(&str, &str)] = match served.path().ends_with("long") {
                true => &[("content-length", "42"), ("etag", "e")],
                false => &[("etag", "e")],
            };
            served.answer(status, fields, Length::Nothing);
        });
        let mut client = pair.client();
        for (method, path, status, length) in [
            ("HEAD", "/200/long", 200, Some("42")),
            ("HEAD", "/200", 200, None),
            ("HEAD", "/404/long", 404, Some("42")),
            ("GET", "/204", 204, None),
            ("DELETE", "/204", 204, None),
            ("GET", "/304/long", 304, Some("42")),
            ("GET", "/304", 304, None),
            ("HEAD", "/304/long", 304, Some("42")),
        ] {
            let reply = client.ask(method, path, &[]);
            assert_eq!((reply.head.status, reply.text()), (status, ""), "{method} {path}");
            let case = format!("{method} {path}: {:?}", reply.head);
            assert_eq!(reply.head.field("content-length"), length, "{case}");
            assert_eq!(reply.head.field("transfer-encoding"), None, "{case}");
            assert_eq!(reply.head.field("etag"), Some("e"), "{case}");
            fine(&pair);
        }
        // Nothing of them was taken for a body, on either side.
        assert_eq!(pair.origin.connections(), 1);
    });
}
