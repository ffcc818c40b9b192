//! Answers to uploads that have not ended, in every pair of versions, in the clear and over TLS.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use pair::*;
use support::{Code, millis};

const MIB: usize = 1 << 20;

/// Answers a PUT before it has read the body, and reads on; anything else by its path.
fn early(served: &mut Served) {
    if served.head.method == "PUT" {
        let body = if served.path() == "/large" { vec![b'n'; MIB] } else { b"no".to_vec() };
        served.reply(413, body);
        served.count();
    } else {
        let path = served.path().to_owned();
        served.reply(200, path);
    }
}

#[test]
fn what_is_left_of_a_small_upload_is_not_taken_for_the_next_request() {
    each_row(|row| {
        for (path, size) in [("/", 2), ("/large", MIB)] {
            for length in [Length::Known(40), Length::Unknown] {
                let pair = Pair::new(row, early);
                let mut client = pair.client();
                assert!(client.begin("PUT", path, &[], length));
                assert!(client.send("abc"));
                let reply = client.reply();
                assert_eq!((reply.head.status, reply.body.len()), (413, size));
                // It looks like a request, and is none.
                assert!(client.send("GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n!"));
                assert!(client.end(&[]));
                assert_eq!(client.ask("GET", "/next", &[]).text(), "/next");
                assert_eq!(pair.origin.requests(), 2);
                let (first, second) = (pair.proxy.logged(), pair.proxy.logged());
                assert_eq!((first.status, first.code, first.last), (Some(413), None, false));
                assert_eq!((&*second.target, second.requests), ("/next", 2));
                // In HTTP/1.1 the unfinished request was the last of its connection.
                let connections = if row.up == Http::H1 { 2 } else { 1 };
                assert_eq!(pair.origin.connections(), connections);
            }
        }
    });
}

#[test]
fn what_is_left_of_a_large_upload_that_comes_soon_is_skipped_as_the_answer_has_promised() {
    each_row(|row| {
        if row.down == Http::H2 {
            return;
        }
        for length in [Length::Known(2 * MIB), Length::Unknown] {
            let pair = Pair::new(row, early);
            let mut client = pair.client();
            assert!(client.begin("PUT", "/", &[], length));
            assert!(client.send("abc"));
            assert_eq!(client.reply().head.status, 413);
            assert!(client.send(vec![b'x'; 2 * MIB - 3]));
            assert!(client.end(&[]));
            assert_eq!(client.ask("GET", "/next", &[]).text(), "/next");
            assert!(!pair.proxy.logged().last);
        }
    });
}

#[test]
fn the_answer_to_a_large_upload_arrives_and_the_client_is_told_to_stop() {
    each_row(|row| {
        for length in [Length::Known(64 * MIB), Length::Unknown] {
            let pair = Pair::new(row, early);
            let mut client = pair.client();
            assert!(client.begin("PUT", "/large", &[], length));
            assert!(client.send("abc"));
            assert_eq!(client.head().unwrap().status, 413);
            // Less than a closing connection still takes, more than the system holds.
            client.push(3 * MIB, millis(50));
            let (body, _) = client.body().unwrap();
            assert_eq!(body.len(), MIB);
            // More than is waited for.
            client.push(MIB, millis(50));
            assert!(client.has_ended());
            let logged = pair.proxy.logged();
            assert_eq!((logged.status, logged.code), (Some(413), None));
            // In HTTP/2 no more than the stream has ended.
            let mut next = if row.down == Http::H2 { client } else { pair.client() };
            assert_eq!(next.ask("GET", "/next", &[]).text(), "/next");
            assert_eq!(pair.origin.requests(), 2);
        }
    });
}

#[test]
fn an_upload_beyond_the_limit_is_never_a_shorter_one_to_the_origin() {
    each_row(|row| {
        let (cut, was_cut) = std::sync::mpsc::channel();
        let cut = std::sync::Mutex::new(cut);
        let limit = |setup: &mut Setup| setup.options.max_request_body = Some(MIB as u64);
        let pair = Pair::with(row, limit, move |served| {
            if served.head.method == "PUT" {
                let (count, whole) = served.count();
                assert!(count <= MIB);
                cut.lock().unwrap().send(!whole).unwrap();
            } else {
                served.reply(200, "yes");
            }
        });
        let mut client = pair.client();
        assert!(client.begin("PUT", "/", &[], Length::Unknown));
        client.push(2 * MIB, millis(200));
        let reply = client.reply();
        assert_eq!(reply.head.status, 413);
        assert!(was_cut.recv_timeout(support::PATIENCE).unwrap());
        assert_eq!(pair.proxy.logged().code, Some(Code::BodyTooLarge));
        assert!(client.has_ended());
        let mut next = if row.down == Http::H2 { client } else { pair.client() };
        assert_eq!(next.ask("GET", "/next", &[]).text(), "yes");
    });
}
