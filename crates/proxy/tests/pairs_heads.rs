//! Heads in every pair of versions, in the clear and over TLS: their size, whom they are for, and
//! what of them belongs to one connection.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use millrace_connectors::HostPolicy;
use pair::*;
use support::Code;

/// Answers with the head that it got, a line for each part.
fn echo(served: &mut Served) {
    let head = &served.head;
    let mut text = format!("{} {} {}\n", head.method, head.target, head.host().unwrap());
    // The authority has its own place in HTTP/2.
    let fields = head.fields.iter().filter(|(name, _)| name != "host" || head.authority.is_some());
    fields.for_each(|(name, value)| text.push_str(&format!("{name}: {value}\n")));
    served.reply(200, text);
}

#[test]
fn a_request_reaches_the_origin_as_it_was_sent() {
    each_row(|row| {
        let pair = Pair::new(row, echo);
        let mut client = pair.client();
        let fields =
            [("x-b", "2"), ("x-a", "1"), ("x-b", "3"), ("x-none", ""), ("x-text", "a \t,b")];
        for (method, target) in [
            ("GET", "/"),
            ("PATCH", "//a/../b;c=%2f%7B?q=%20&q=/?"),
            ("OPTIONS", "*"),
            ("X-OWN", "/x"),
        ] {
            let reply = client.ask(method, target, &fields);
            let mut lines: Vec<_> = reply.text().lines().collect();
            assert_eq!(lines.remove(0), format!("{method} {target} a"));
            // The order of fields with different names is nobody's.
            lines.sort_unstable();
            assert_eq!(lines, ["x-a: 1", "x-b: 2", "x-b: 3", "x-none: ", "x-text: a \t,b"]);
        }
    });
}

#[test]
fn heads_up_to_the_limit_pass_and_larger_ones_are_refused() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            let length = served.head.field("x-large").map_or(0, str::len);
            served.reply(200, length.to_string());
        });
        let many: Vec<_> = (0..130).map(|number| format!("x-{number}")).collect();
        for (large, count, passes) in [
            (65_000, 1, true),
            (65_600, 1, false),
            // More than HTTP/2 is told to expect.
            (90_000, 1, false),
            (10, 120, true),
            (10, 129, false),
        ] {
            let mut client = pair.client();
            let value = "v".repeat(large);
            let mut fields = vec![("x-large", value.as_str())];
            fields.extend(many.iter().take(count - 1).map(|name| (name.as_str(), "")));
            let reply = client.ask("GET", "/", &fields);
            let case = format!("{large} {count}");
            if passes {
                assert_eq!((reply.head.status, reply.text()), (200, &*large.to_string()), "{case}");
                assert_eq!(pair.proxy.logged().code, None);
                continue;
            }
            assert_eq!(reply.head.status, 431, "{case}");
            match row.down {
                Http::H1 => {
                    assert_eq!(reply.head.field("connection"), Some("close"), "{case}");
                    assert!(client.has_ended(), "{case}");
                }
                // Only the stream is over.
                Http::H2 => assert_eq!(client.ask("GET", "/", &[]).text(), "0", "{case}"),
            }
            while pair.proxy.logs.try_recv().is_ok() {}
        }
    });
}

#[test]
fn heads_of_answers_up_to_the_limit_pass_and_larger_ones_are_errors() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            let value = "v".repeat(served.path()[1..].parse().unwrap());
            served.answer(200, &[("x-large", &value)], Length::Known(0));
            served.finish(&[]);
        });
        let mut client = pair.client();
        for large in [65_000, 65_600, 90_000, 10] {
            let reply = client.ask("GET", &format!("/{large}"), &[]);
            let logged = pair.proxy.logged();
            if large < 65_536 {
                assert_eq!(reply.head.field("x-large").unwrap().len(), large);
                assert_eq!(logged.code, None, "{large}");
            } else {
                assert_eq!(reply.head.status, 502, "{large}");
                assert_eq!(logged.code, Some(Code::UpstreamInvalid), "{large}: {}", logged.message);
            }
        }
    });
}

#[test]
fn cookies_are_one_field_for_http_1_1_and_set_cookies_stay_apart() {
    each_row(|row| {
        let pair = Pair::new(row, |served| {
            let cookies = served.head.all("cookie").join(" | ");
            let fields =
                [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("x-got", &cookies)];
            served.answer(200, &fields, Length::Known(0));
            served.finish(&[]);
        });
        let mut client = pair.client();
        let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d")];
        let reply = client.ask("GET", "/", &crumbs);
        let joined = match row.down {
            // RFC 9113 §8.2.3: split for the sake of compression, put together again.
            Http::H2 => "a=1; b=2; c=3; d",
            // Not allowed, and not ours to mend.
            Http::H1 => "a=1 | b=2; c=3 | d",
        };
        assert_eq!(reply.head.field("x-got"), Some(joined));
        assert_eq!(reply.head.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    });
}

#[test]
fn the_origin_is_told_whom_the_request_is_for_once() {
    each_row(|row| {
        let pair = Pair::new(row, echo);
        let mut client = pair.client();
        client.authority = "b.test:8080".into();
        assert_eq!(client.ask("GET", "/", &[]).text(), "GET / b.test:8080\n");
        if row.down == Http::H1 {
            // A target with an authority wins (RFC 9112 §3.2.2).
            let reply = client.ask("GET", "http://c.test/x", &[]);
            assert_eq!(reply.text(), "GET /x c.test\n");
        } else {
            let reply = client.ask("GET", "/", &[("host", "B.test:8080")]);
            assert_eq!(reply.text(), "GET / b.test:8080\n");
        }
        let before = pair.origin.requests();
        let reply = client.ask("GET", "/", &[("host", "c.test")]);
        assert_eq!(reply.head.status, 400);
        assert_eq!(pair.origin.requests(), before);
    });
}

#[test]
fn a_peers_policy_replaces_what_the_client_said() {
    each_row(|row| {
        for policy in [HostPolicy::Peer, HostPolicy::Fixed("fixed.test".into())] {
            let set = |setup: &mut Setup| setup.peer.host = policy.clone();
            let pair = Pair::with(row, set, echo);
            let host = match policy {
                HostPolicy::Fixed(host) => host,
                _ => pair.origin.address().to_string(),
            };
            assert_eq!(pair.client().ask("GET", "/", &[]).text(), format!("GET / {host}\n"));
        }
    });
}

#[test]
fn what_belongs_to_the_clients_connection_stays_there() {
    each_row(|row| {
        let pair = Pair::new(row, echo);
        let mut client = pair.client();
        let fields: &[(&str, &str)] = match row.down {
            Http::H1 => &[
                ("connection", "x-hop, keep-alive, te"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "gzip"),
                ("proxy-authorization", "Basic x"),
                ("upgrade", "h2c"),
                ("x-end", "1"),
            ],
            // The others are refused: see the tests of requests that are.
            Http::H2 => &[("proxy-authorization", "Basic x"), ("x-end", "1")],
        };
        let reply = client.ask("GET", "/", fields);
        assert_eq!(reply.text(), "GET / a\nx-end: 1\n");
        assert_eq!(client.ask("GET", "/", &[]).text(), "GET / a\n");
    });
}

#[test]
fn what_belongs_to_the_origins_connection_stays_there_and_a_date_is_there_once() {
    each_row(|row| {
        const DATE: &str = "Tue, 01 Jan 2030 00:00:00 GMT";
        let pair = Pair::new(row, move |served| {
            let mut fields = vec![("x-end", "1")];
            if served.path() == "/dated" {
                fields.push(("date", DATE));
            }
            if let Side::H1(_) = &**served {
                fields.extend([
                    ("connection", "x-hop, keep-alive"),
                    ("x-hop", "1"),
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"),
                    ("upgrade", "h2c"),
                    ("proxy-authenticate", "Basic"),
                ]);
            }
            served.answer(200, &fields, Length::Known(0));
            served.finish(&[]);
        });
        let mut client = pair.client();
        for path in ["/", "/dated"] {
            let head = client.ask("GET", path, &[]).head;
            let mut names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["content-length", "date", "x-end"]);
            let date = head.field("date").unwrap();
            assert!((date == DATE) == (path == "/dated") && date.ends_with(" GMT"), "{date}");
        }
        assert_eq!(pair.origin.connections(), 1);
    });
}
