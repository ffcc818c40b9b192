//! Phases and rules that are replaced while requests are under way.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use millrace_message::Fields;
use millrace_proxy::{Answer, Routing};
use millrace_routes::*;
use support::h2_client::{H2Client, Reply, get};
use support::*;
use tokio::sync::Notify;

fn saying(word: &'static str) -> TestPhases {
    let mut answer = Answer::new(200);
    answer.body = Bytes::from_static(word.as_bytes());
    let mut phases = TestPhases::answering(answer);
    phases.log = Some(nobody());
    phases
}

/// A log that nobody reads.
fn nobody() -> Sender<Logged> {
    let (log, logs) = channel();
    std::mem::forget(logs);
    log
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Phases that wait for `go` before they answer, and say that they have begun.
fn waiting(word: &'static str, go: &Arc<Notify>) -> (TestPhases, Receiver<()>) {
    let mut phases = saying(word);
    let (begun, begins) = channel();
    let go = go.clone();
    phases.request_filter = Some(Box::new(move |_| {
        let (begun, go) = (begun.clone(), go.clone());
        Box::pin(async move {
            begun.send(()).unwrap();
            go.notified().await;
            let mut answer = Answer::new(200);
            answer.body = Bytes::from_static(word.as_bytes());
            Ok(Some(answer))
        })
    }));
    (phases, begins)
}

#[test]
fn requests_under_way_end_with_their_phases_and_those_are_dropped_with_the_last() {
    let go = Arc::new(Notify::new());
    let (phases, begins) = waiting("second", &go);
    let proxy = Proxy::new(saying("first"), ProxyOptions::default());
    let mut other = proxy.client();
    assert!(other.ask(GET).text() == "first");
    let kept = Arc::downgrade(&proxy.app.replace(phases, None));
    let mut slow = proxy.client();
    slow.send(GET);
    begins.recv_timeout(PATIENCE).unwrap();
    proxy.app.replace(saying("third"), None);
    assert!(other.ask(GET).text() == "third");
    assert!(kept.upgrade().is_some());
    go.notify_one();
    assert!(slow.response().text() == "second");
    assert!(slow.ask(GET).text() == "third");
    eventually("the phases are dropped", || kept.upgrade().is_none());
}

#[tokio::test]
async fn streams_of_one_connection_have_the_phases_of_their_beginning() {
    let go = Arc::new(Notify::new());
    let (phases, begins) = waiting("old", &go);
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let mut client = H2Client::connect(proxy.address).await;
    let (old, _) = client.start(get("/old"), true).await;
    tokio::task::spawn_blocking(move || begins.recv_timeout(PATIENCE).unwrap()).await.unwrap();
    proxy.app.replace(saying("new"), None);
    assert_eq!(client.ask(get("/new"), b"").await.text(), "new");
    go.notify_one();
    assert_eq!(Reply::read(old).await.unwrap().text(), "old");
}

#[test]
fn rules_are_replaced_with_the_phases() {
    let routing = |path: &str| {
        let matcher =
            Matcher { paths: vec![PathPattern::new(path).unwrap()], ..Matcher::default() };
        let body = Bytes::from_static(b"rule");
        let action = Action::Respond(Respond { status: 203, fields: Fields::new(), body });
        let route = Route { matcher, action, ..Route::default() };
        let rules = Routes::new(vec![route], Route::default(), false);
        Some(Arc::new(Routing { rules, peers: Vec::new() }))
    };
    let proxy = Proxy::new(saying("first"), ProxyOptions::default());
    let status = |path: &str| {
        let response = proxy.client().ask(GET.replace(" / ", &format!(" {path} ")));
        response.status
    };
    let echoes = || TestPhases { log: Some(nobody()), ..TestPhases::to(Origin::echoes().address) };
    proxy.app.replace(echoes(), routing("/a"));
    assert_eq!([status("/a"), status("/b")], [203, 200]);
    proxy.app.replace(echoes(), routing("/b"));
    assert_eq!([status("/a"), status("/b")], [200, 203]);
}
