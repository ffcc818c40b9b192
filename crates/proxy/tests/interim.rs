//! Interim responses: what phases do with those of origins, and those they send by themselves.

#![allow(clippy::unwrap_used)]

mod support;

use millrace_message::ResponseHead;
use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Phases that send a hint from `request_filter`, and go on.
fn hinting(address: std::net::SocketAddr, count: usize) -> TestPhases {
    let mut phases = TestPhases::to(address);
    phases.request_filter = Some(Box::new(move |ex| {
        let mut head = ResponseHead::new(103);
        head.fields.append("link", "</own>").unwrap();
        for _ in 0..count {
            ex.interims.send(head.clone());
        }
        Box::pin(async { Ok(None) })
    }));
    phases
}

#[test]
fn line_10_a_phase_changes_one_and_drops_another() {
    let origin = Origin::says(format!("{HINT}HTTP/1.1 102 Processing\r\n\r\n{OK}"));
    let mut phases = TestPhases::to(origin.address);
    phases.interim = Some(Box::new(|head| {
        let _ = head.fields.set("link", "</b>");
        head.status == 103
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    let hint = client.ask(GET);
    assert_eq!((hint.status, hint.field("link")), (103, Some("</b>")));
    assert_eq!(client.response().status, 200);
}

#[test]
fn phases_are_not_asked_about_a_100() {
    let origin = Origin::new(|_, mut wire| {
        wire.head();
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        wire.bytes(2);
        wire.send(OK);
    });
    let mut phases = TestPhases::to(origin.address);
    phases.interim = Some(Box::new(|_| false));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hi");
    assert_eq!(client.response().status, 200);
}

#[test]
fn own_ones_go_first_and_are_bounded() {
    let origin = Origin::says(format!("{HINT}{OK}"));
    let proxy = Proxy::new(hinting(origin.address, 100), ProxyOptions::default());
    let mut client = proxy.client();
    client.send(GET);
    let mut links = Vec::new();
    let last = loop {
        let response = client.response();
        if response.status != 103 {
            break response;
        }
        links.push(response.field("link").unwrap().to_owned());
    };
    assert_eq!(last.status, 200);
    assert_eq!((links.len(), &*links[15], &*links[16]), (17, "</own>", "</a>"));
}

#[test]
fn a_client_of_http_1_0_gets_none() {
    let origin = Origin::says(format!("{HINT}{OK}"));
    let proxy = Proxy::new(hinting(origin.address, 1), ProxyOptions::default());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn the_log_is_told_of_an_error_as_the_phases_want() {
    let mut phases = TestPhases::to(Origin::nowhere());
    phases.summary = Some("a summary".into());
    phases.suppress = Some(Box::new(|error| error.message().contains("never")));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(GET).status, 502);
    proxy.logged();
    assert!(proxy.lines.0.lock().unwrap()[0].starts_with("502 a summary, client 127.0.0.1:"));

    let mut phases = TestPhases::to(Origin::nowhere());
    phases.suppress = Some(Box::new(|_| true));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    assert_eq!(proxy.client().ask(GET).status, 502);
    proxy.logged();
    assert!(proxy.lines.0.lock().unwrap().is_empty());
}
