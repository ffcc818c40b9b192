//! Origins that want a certificate of the proxy and do not like what they are shown. In TLS 1.3 they
//! say so when the proxy may send already.

#![allow(clippy::unwrap_used)]

#[path = "support/h2_origin.rs"]
mod h2_origin;
#[path = "support/pair/mod.rs"]
mod pair;
mod support;

use std::sync::Arc;

use h2_origin::Protocol;
use millrace_test_certs::{Authority, Issued};
use pair::{PairOrigin, Served};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use support::*;

fn post(length: usize) -> String {
    let body = "x".repeat(length);
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn origin(config: Arc<ServerConfig>) -> PairOrigin {
    let h2 = config.alpn_protocols == [b"h2"];
    let script = |served: &mut Served| {
        let (body, _) = served.body().unwrap();
        served.reply(200, body);
    };
    match h2 {
        true => PairOrigin::h2(Some(config), h2::server::Builder::new(), script),
        false => PairOrigin::h1(Some(config), script),
    }
}

fn shown(certs: &Certs, own: Option<&Issued>, protocol: Protocol) -> PeerOptions {
    let options = certs.peer(|options| {
        options.cert_pem = own.map(|own| own.cert_pem.clone());
        options.key_pem = own.map(|own| own.key_pem.clone());
    });
    PeerOptions { protocol, ..options }
}

/// The versions of TLS and HTTP that an origin speaks, and what its peer says.
const KINDS: [(bool, &str, Protocol); 8] = [
    (true, "http/1.1", Protocol::H1),
    (true, "http/1.1", Protocol::Auto),
    (true, "h2", Protocol::H2),
    (true, "h2", Protocol::Auto),
    (false, "http/1.1", Protocol::H1),
    (false, "http/1.1", Protocol::Auto),
    (false, "h2", Protocol::H2),
    (false, "h2", Protocol::Auto),
];

#[test]
fn an_origin_that_refuses_our_certificate_is_a_failed_handshake_with_its_reason() {
    let certs = Certs::new();
    let stranger = Authority::new("stranger").issue(&["client"]);
    for (new, alpn, protocol) in KINDS {
        let version = if new { &TLS13 } else { &TLS12 };
        let origin = origin(certs.wary_config(&[alpn], version));
        for (own, reason) in [(None, "CertificateRequired"), (Some(&stranger), "UnknownCA")] {
            let options = shown(&certs, own, protocol);
            let proxy = Proxy::with_peer(origin.address(), options);
            for (request, can_retry) in [(post(2), true), (post(100_000), false)] {
                let mut client = proxy.client();
                assert_eq!(client.ask(request).status, 502);
                let logged = proxy.logged();
                let case = format!("{new} {alpn} {protocol:?} {reason}: {}", logged.message);
                assert_eq!(logged.code, Some(Code::TlsFailed), "{case}");
                assert!(logged.message.contains(reason), "{case}");
                // In no case did the origin see the request; but a large one may be half gone.
                assert!(logged.can_retry || !can_retry, "{case}");
                assert_eq!(logged.attempt, 1, "{case}");
            }
            assert_eq!(proxy.pool().open, 0);
        }
        let own = certs.ca.issue(&["client"]);
        let proxy = Proxy::with_peer(origin.address(), shown(&certs, Some(&own), protocol));
        assert_eq!(proxy.client().ask(post(2)).text(), "xx");
        assert_eq!(origin.requests(), 1);
    }
}

#[test]
fn a_request_that_was_refused_with_our_certificate_can_be_sent_to_another_origin() {
    let certs = Certs::new();
    let own = certs.ca.issue(&["client"]);
    for (new, alpn, protocol) in KINDS {
        let version = if new { &TLS13 } else { &TLS12 };
        let origin = origin(certs.wary_config(&[alpn], version));
        let peers = [None, Some(&own)].map(|own| shown(&certs, own, protocol));
        let peers = peers.map(|options| peer(origin.address(), options));
        let mut phases = TestPhases::with(peers.into());
        let decide = |error: &Error| {
            assert!(error.can_retry(), "{error}");
            Decision::Retry
        };
        phases.fail_to_connect = Some(Box::new(move |_, error| decide(error)));
        phases.error_while_proxy = Some(Box::new(move |_, error| decide(error)));
        phases.upstream_peer =
            Some(Box::new(|ex, peers| Ok(peers[ex.attempt as usize - 1].clone())));
        let proxy = Proxy::new(phases, ProxyOptions::default());
        assert_eq!(proxy.client().ask(post(2)).text(), "xx", "{new} {alpn} {protocol:?}");
        assert_eq!((proxy.logged().attempt, origin.requests()), (2, 1));
    }
}
