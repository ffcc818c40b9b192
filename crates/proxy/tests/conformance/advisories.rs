//! What was published of Pingora, each by its number. The tables have more of each kind.

use std::sync::{Arc, Mutex};

use crate::requests::Rig;
use crate::support::*;

const ADMIN: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a phase was asked to let through: `host target`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that lets nobody go to `/admin`, answers `/own` itself, and says what its phase saw.
fn guarded() -> (Rig, Asked) {
    let asked = Asked::default();
    let saw = asked.clone();
    let rig = Rig::new(|phases| {
        phases.request_filter = Some(Box::new(move |ex| {
            let target = String::from_utf8_lossy(&ex.request.target).into_owned();
            saw.lock().unwrap().push(format!("{} {target}", ex.request.host()));
            let status = match target.as_str() {
                "/admin" => Some(403),
                "/own" => Some(201),
                _ => None,
            };
            Box::pin(async move { Ok(status.map(Answer::plain)) })
        }));
    });
    (rig, asked)
}

/// All statuses that a client gets for what it sends, up to the end of its connection.
fn statuses(rig: &Rig, bytes: &str) -> Vec<u16> {
    let mut client = rig.proxy.client();
    client.send(bytes);
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.try_send(last);
    std::iter::from_fn(|| client.response_to("GET")).map(|response| response.status).collect()
}

#[test]
fn cve_2025_4366_a_body_that_nobody_reads_is_never_the_next_request() {
    let (rig, asked) = guarded();
    let length = ADMIN.len();
    let large = "x".repeat(100_000);
    for (request, answers) in [
        (format!("POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{ADMIN}"), 2),
        (
            format!(
                "POST /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {length:x}\r\n{ADMIN}\r\n0\r\n\r\n"
            ),
            2,
        ),
        // Too much to be read for nothing: the connection ends in its place.
        (
            format!(
                "POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{large}{ADMIN}",
                large.len() + length
            ),
            1,
        ),
        (
            format!(
                "POST /own HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\
                 \r\n\r\n{ADMIN}"
            ),
            2,
        ),
    ] {
        asked.lock().unwrap().clear();
        let got = statuses(&rig, &request);
        assert_eq!(got, [201, 200][..answers], "{request:.120}");
        assert_eq!(*asked.lock().unwrap(), ["a /own", "a /last"][..answers], "{request:.120}");
    }
}

#[test]
fn cve_2026_2833_bytes_behind_an_upgrade_that_was_not_agreed_to_pass_the_phases() {
    let (rig, asked) = guarded();
    for protocol in ["websocket", "foo", "h2c"] {
        let first = rig.origin.count();
        asked.lock().unwrap().clear();
        let upgrade = format!(
            "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        assert_eq!(statuses(&rig, &format!("{upgrade}{ADMIN}")), [200, 403, 200], "{protocol}");
        let seen = rig.origin.since(first).concat();
        assert!(seen.contains("GET /1 ") && !seen.contains("admin"), "{protocol}: {seen}");
        assert_eq!(*asked.lock().unwrap(), ["a /1", "a /admin", "a /last"], "{protocol}");
    }
}

#[test]
fn cve_2026_2835_no_body_ends_with_its_connection_and_no_coding_is_guessed() {
    let (rig, _) = guarded();
    for (head, answers) in [
        // Read until the end of the connection, all behind the head would be a body.
        ("POST / HTTP/1.0\r\nHost: a\r\n", &[200][..]),
        ("POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n", &[200, 403, 200]),
        ("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", &[200]),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", &[400]),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            &[400],
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n", &[501]),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n", &[400]),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\
             Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            &[501],
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 4\r\n", &[400]),
    ] {
        let first = rig.origin.count();
        assert_eq!(statuses(&rig, &format!("{head}\r\n{ADMIN}")), answers, "{head}");
        let seen = rig.origin.since(first).concat();
        assert!(!seen.contains("admin"), "{head}: {seen}");
        assert_eq!(rig.origin.cut(), 0, "{head}");
    }
}

/// The half of it that concerns requests: a cache key is made of what `host()` and the target say,
/// and these are what the origin is asked for. The key itself is the cache's.
#[test]
fn cve_2026_2836_phases_and_the_origin_see_the_same_host_and_target() {
    let (rig, asked) = guarded();
    for (request, host, target) in [
        ("GET /x HTTP/1.1\r\nHost: a.test:81\r\n\r\n", "a.test:81", "/x"),
        ("GET http://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n", "b.test", "/x?y"),
        ("GET HTTPS://b.test:444 HTTP/1.1\r\nHost: a.test\r\n\r\n", "b.test:444", "/"),
        ("GET http://b.test/x HTTP/1.0\r\n\r\n", "b.test", "/x"),
        ("GET http://b.test/x HTTP/1.0\r\nHost: a.test\r\n\r\n", "b.test", "/x"),
        ("OPTIONS http://b.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "b.test", "*"),
    ] {
        let first = rig.origin.count();
        asked.lock().unwrap().clear();
        assert_eq!(rig.proxy.client().ask(request).status, 200, "{request}");
        assert_eq!(*asked.lock().unwrap(), [format!("{host} {target}")], "{request}");
        let seen = rig.origin.since(first).concat();
        let method = request.split(' ').next().unwrap();
        let line = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        assert_eq!(seen.replace("Host", "host"), format!("{line}\r\n"), "{request}");
    }
}

#[test]
fn cve_2026_105299_a_client_cannot_name_away_what_a_phase_adds() {
    let rig = Rig::new(|phases| {
        phases.upstream_request = Some(Box::new(|head| {
            head.fields.set("X-Verified", "no").unwrap();
        }));
    });
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-verified\r\nX-Verified: yes\r\n\r\n";
    assert_eq!(rig.proxy.client().ask(request).status, 200);
    let seen = rig.origin.since(0).concat();
    assert_eq!(seen, "GET / HTTP/1.1\r\nHost: a\r\nX-Verified: no\r\n\r\n");
}
