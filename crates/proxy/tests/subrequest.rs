//! Requests that phases make by themselves.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_connectors::{Peer, PeerOptions};
use millrace_error::Code;
use millrace_message::{Method, RequestHead};
use millrace_proxy::{Answer, Exchange, HttpProxy, Subrequest, Subresponse};
use support::*;
use tokio::runtime::Handle;

type App = Arc<OnceLock<Arc<HttpProxy<TestPhases>>>>;

fn start(
    app: &App,
    ex: &Exchange,
    target: &str,
    body: &[u8],
    to: Option<Arc<Peer>>,
) -> Subresponse {
    let mut head = RequestHead::new(Method::new(b"POST").unwrap(), target);
    head.fields.append("host", "sub").unwrap();
    let sub = Subrequest {
        head,
        body: Bytes::copy_from_slice(body).into(),
        connection: ex.connection.clone(),
        peer: to,
        discard: false,
    };
    app.get().unwrap().subrequest(sub, &Handle::current()).1
}

/// Answers with the status and the body of a subrequest, or with the code of its error.
async fn told(response: Subresponse) -> Answer {
    let mut answer = Answer::new(200);
    let head = match response.head().await {
        Ok(head) => head,
        Err(error) => {
            answer.body = error.code().as_str().into();
            return answer;
        }
    };
    let mut text = format!("{} ", head.status).into_bytes();
    while let Some(piece) = response.piece().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    answer.body = text.into();
    answer
}

/// A proxy whose phases make one for each request of a client: straight, if there is a peer.
fn making(origin: std::net::SocketAddr, straight: Option<std::net::SocketAddr>) -> Proxy {
    let app = App::default();
    let mine = app.clone();
    let mut phases = TestPhases::to(origin);
    phases.request_filter = Some(Box::new(move |ex| {
        if ex.request.host() == "sub" {
            return Box::pin(async { Ok(None) });
        }
        let to = straight.map(|address| peer(address, PeerOptions::default()));
        let response = start(&mine, ex, "/sub", b"body", to);
        Box::pin(async move { Ok(Some(told(response).await)) })
    }));
    let proxy = Proxy::new(phases, ProxyOptions::default());
    let _ = app.set(proxy.app.clone());
    proxy
}

const GET: &str = "GET /client HTTP/1.1\r\nHost: a\r\n\r\n";
const MADE: &str = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";

#[test]
fn it_goes_through_the_phases_or_straight_with_its_body() {
    for is_straight in [false, true] {
        let origin = Origin::new(|_, mut wire| {
            let (head, body) = wire.request();
            assert!(head.starts_with("POST /sub HTTP/1.1\r\n"), "{head}");
            assert_eq!(body, b"body");
            assert!(head.to_ascii_lowercase().contains("\r\ncontent-length: 4\r\n"));
            wire.send(MADE);
        });
        let proxy = match is_straight {
            false => making(origin.address, None),
            true => making(Origin::nowhere(), Some(origin.address)),
        };
        assert_eq!(proxy.client().ask(GET).text(), "201 hi");
        let mut targets = vec![proxy.logged().target];
        if !is_straight {
            targets.push(proxy.logged().target);
            targets.sort();
        }
        assert_eq!(
            targets.last().map(|target| &**target),
            Some(if is_straight { "/client" } else { "/sub" })
        );
    }
}

#[test]
fn a_failure_is_a_page_through_the_phases_and_an_error_straight() {
    let proxy = making(Origin::nowhere(), None);
    assert!(proxy.client().ask(GET).text().starts_with("502 "));
    let proxy = making(Origin::nowhere(), Some(Origin::nowhere()));
    assert_eq!(proxy.client().ask(GET).text(), Code::ConnectRefused.as_str());
    proxy.logged();
    assert!(proxy.lines.0.lock().unwrap().is_empty());
}

#[test]
fn one_that_is_dropped_lets_go_of_its_origin() {
    let gone = Arc::new(AtomicBool::new(false));
    let noted = gone.clone();
    let origin = Origin::new(move |_, mut wire| {
        wire.request();
        wire.ended();
        noted.store(true, Ordering::Release);
    });
    let proxy = making(Origin::nowhere(), Some(origin.address));
    let mut client = proxy.client();
    client.send(GET);
    eventually("the origin is asked", || origin.connections() == 1);
    drop(client);
    assert_eq!(proxy.logged().code, Some(Code::ClientAborted));
    eventually("the origin is let go", || gone.load(Ordering::Acquire));
}
