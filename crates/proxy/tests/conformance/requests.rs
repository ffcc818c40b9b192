//! Requests: refused, or forwarded as one message each that can be read in one way only.
//!
//! The steps of a row:
//! - `forwarded`: the message that the origin gets, exactly; several may follow one another.
//! - `refused 400`: the client gets this status, and its connection ends; nothing more is forwarded.
//! - `cut 400`: the same, where the origin may have got the beginning of the message: never its end.
//! - `closes`: the connection ends after the last answer, whatever came behind it.
//! - `waits`: the client is waited for. It then leaves, and the origin never sees an end.
//!
//! Without one of the last four the connection goes on, and its next request is answered.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::pieces::{WAYS, Way};
use crate::recorder::Recorder;
use crate::strict::text;
use crate::support::*;
use crate::table::{Row, file};
use millrace_proxy::ForwardingOptions;

pub(crate) struct Rig {
    pub(crate) origin: Recorder,
    pub(crate) proxy: Proxy,
    /// Somebody else, whose requests are sent over the same pool.
    other: Wire,
    asked: usize,
    /// How many requests the origin may have got the beginning of.
    may_be_cut: usize,
}

/// How a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GoesOn,
    Refused(u16),
    Cut(u16),
    Closes,
    Waits,
}

pub(crate) fn run(path: &str) {
    let mut rig = Rig::new(|_| {});
    let mut failed = Vec::new();
    for row in file(path) {
        for way in WAYS {
            let name = format!("{path}: {} ({way:?})", row.name);
            let ran = catch_unwind(AssertUnwindSafe(|| rig.row(&row, way, &name)));
            if ran.is_err() {
                failed.push(name);
                rig = Rig::new(|_| {});
            }
        }
    }
    assert_eq!(rig.proxy.counters().panicked(), 0);
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

fn expected(row: &Row, peer: &str) -> (Vec<String>, End) {
    let mut messages = Vec::new();
    let mut end = End::GoesOn;
    for step in &row.steps {
        assert_eq!(end, End::GoesOn, "a step after the last one: {}", row.name);
        let status = || step.heading.split(' ').nth(1).unwrap().parse().unwrap();
        match step.heading.split(' ').next().unwrap() {
            "forwarded" => messages.push(text(&step.bytes).replace("{peer}", peer)),
            "refused" => end = End::Refused(status()),
            "cut" => end = End::Cut(status()),
            "closes" => end = End::Closes,
            "waits" => end = End::Waits,
            other => panic!("{other} is no step"),
        }
    }
    (messages, end)
}

impl Rig {
    pub(crate) fn new(change: impl FnOnce(&mut TestPhases)) -> Rig {
        let origin = Recorder::start();
        let forwarding = ForwardingOptions { x_forwarded: false, ..ForwardingOptions::default() };
        let options = ProxyOptions { forwarding, ..ProxyOptions::default() };
        let mut phases = TestPhases::to(origin.address);
        change(&mut phases);
        let proxy = Proxy::new(phases, options);
        let other = proxy.client();
        Rig { origin, proxy, other, asked: 0, may_be_cut: 0 }
    }

    fn row(&mut self, row: &Row, way: Way, name: &str) {
        let (mut messages, end) = expected(row, &self.origin.address.to_string());
        let first = self.origin.count();
        let mut client = self.proxy.client();
        for piece in way.cut(&row.bytes) {
            // The proxy may have closed before the last of it.
            if !client.try_send(piece) {
                break;
            }
        }
        let count = messages.len();
        for (at, message) in messages.iter().enumerate() {
            let method = message.split(' ').next().unwrap();
            let closes = end == End::Closes && at + 1 == count;
            answered(&mut client, method, first + at, closes, name);
        }
        match end {
            End::GoesOn => {
                messages.push("GET /next HTTP/1.1\r\nHost: a\r\n\r\n".to_owned());
                client.send(messages.last().unwrap());
                answered(&mut client, "GET", first + count, false, name);
            }
            End::Refused(status) | End::Cut(status) => {
                let response =
                    client.response_to("GET").unwrap_or_else(|| panic!("no answer: {name}"));
                assert_eq!(response.status, status, "{name}: {}", response.head);
                assert!(response.closes() && client.rest().is_empty(), "it goes on: {name}");
            }
            End::Closes => assert_eq!(text(&client.rest()), "", "{name}"),
            End::Waits => {
                client.end_sending();
                assert_eq!(text(&client.rest()), "", "{name}");
            }
        }
        drop(client);
        let pool = || self.proxy.pool();
        eventually("nothing is under way", || pool().open == pool().idle);
        // The origin may have seen a beginning, which it did not take for all.
        self.may_be_cut += usize::from(matches!(end, End::Cut(_) | End::Waits));
        assert!(self.origin.cut() <= self.may_be_cut, "forwarded in part: {name}");
        self.asked += 1;
        messages.push(format!("GET /other/{} HTTP/1.1\r\nHost: other\r\n\r\n", self.asked));
        self.other.send(messages.last().unwrap());
        answered(&mut self.other, "GET", first + messages.len() - 1, false, name);
        assert_eq!(self.origin.since(first), messages, "{name}");
    }
}

/// Reads an answer, which has to be the one that the origin gave to its message with this number.
#[track_caller]
fn answered(client: &mut Wire, method: &str, number: usize, closes: bool, name: &str) {
    let response = loop {
        let response = client.response_to(method).unwrap_or_else(|| panic!("no answer: {name}"));
        if response.status != 100 {
            break response;
        }
    };
    assert_eq!((response.status, response.closes()), (200, closes), "{name}: {}", response.head);
    assert_eq!(response.field("x-number"), Some(&*number.to_string()), "{name}");
}
