//! Who talks to whom over TLS: certificates, names, versions and protocols, through the proxy.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use millrace_tls::{ClientAuthMode, ClientAuthOptions, MinVersion};
use support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn phases_see_the_certificate_of_the_client() {
    let certs = Certs::new();
    let own = certs.ca.issue(&["client.test"]);
    let tls = certs.server(|options| {
        let ca_pem = certs.ca.ca_pem.clone();
        let mode = ClientAuthMode::Require;
        options.client_auth = Some(ClientAuthOptions { ca_pem, mode });
    });
    let seen = Arc::new(Mutex::new(None));
    let mut phases = TestPhases::answering(Answer::new(200));
    let sees = seen.clone();
    phases.logging = Some(Box::new(move |ex| *sees.lock().unwrap() = ex.connection.tls.clone()));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let client = certs.client("a.test", Some(&own), &[]);
    assert_eq!(client.over(proxy.client()).ask(GET).status, 200);
    proxy.logged();
    eventually("it is seen", || seen.lock().unwrap().is_some());
    let info = seen.lock().unwrap().clone().unwrap();
    assert_eq!((info.version, info.alpn.as_deref()), ("TLSv1.3", None));
    assert_eq!(info.server_name.as_deref(), Some("a.test"));
    assert_eq!(info.certificates, [der(&own)]);

    let mut stranger = certs.client("a.test", None, &[]).over(proxy.client());
    stranger.try_send(GET);
    assert!(is_refused(&mut stranger));
    assert_eq!(proxy.close().len(), 0);
}

/// A certificate as it is shown.
fn der(issued: &millrace_test_certs::Issued) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(&issued.cert_pem).unwrap().to_vec()
}

/// Whether a handshake fails, for whatever reason.
fn is_refused(client: &mut Wire) -> bool {
    let mut byte = [0];
    std::io::Read::read(client.secure(), &mut byte).is_err()
}

#[test]
fn the_certificate_follows_the_name_and_can_be_replaced() {
    let certs = Certs::new();
    let (one, two, new) = (
        certs.ca.issue(&["one.test"]),
        certs.ca.issue(&["*.two.test"]),
        certs.ca.issue(&["one.test"]),
    );
    let tls = certs.server(|options| options.certificates = vec![listed(&one), listed(&two)]);
    let phases = TestPhases::answering(Answer::new(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let connect = |name: &str| {
        let mut client = certs.client(name, None, &[]).over(proxy.client());
        assert_eq!(client.ask(GET).status, 200);
        client
    };
    assert!(connect("x.two.test").secure().shown() == der(&two));
    let mut before = connect("one.test");
    assert!(before.secure().shown() == der(&one));
    tls.update_certificates(&[listed(&new), listed(&two)]).unwrap();
    assert!(connect("one.test").secure().shown() == der(&new));
    assert_eq!(before.ask(GET).status, 200);
    // The first is shown for a name that none is for, and this client does not take it.
    let mut other = certs.client("other.test", None, &[]).over(proxy.client());
    other.try_send(GET);
    assert!(is_refused(&mut other));
}

#[test]
fn an_origin_whose_certificate_does_not_hold_gets_no_request() {
    let certs = Certs::new();
    let expired = certs.ca.issue_for(&["127.0.0.1"], (2000, 2010));
    let stranger = millrace_test_certs::Authority::new("stranger").issue(&["127.0.0.1"]);
    let elsewhere = certs.ca.issue(&["127.0.0.2"]);
    for (own, part) in
        [(&expired, "has expired"), (&stranger, "no trusted ca"), (&elsewhere, "for another name")]
    {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let origin = certs.origin(own, move |_, mut wire| {
            if wire_reads(&mut wire) {
                tell.lock().unwrap().send(()).unwrap();
            }
        });
        let proxy = Proxy::with_peer(origin.address, certs.peer(|_| {}));
        assert_eq!(proxy.client().ask(GET).status, 502);
        let logged = proxy.logged();
        assert_eq!((logged.code, logged.can_retry), (Some(Code::TlsFailed), true));
        assert!(logged.message.contains(part), "{}", logged.message);
        assert!(told.recv_timeout(millis(50)).is_err());
    }
}

/// Whether a byte arrives that was meant for it.
fn wire_reads(wire: &mut Wire) -> bool {
    std::io::Read::read(wire.secure(), &mut [0]).is_ok_and(|count| count > 0)
}

#[test]
fn what_both_sides_cannot_agree_on_is_no_request() {
    let certs = Certs::new();
    let tls = certs.server(|options| {
        options.min_version = MinVersion::Tls13;
        options.h2 = false;
    });
    let phases = TestPhases::answering(Answer::new(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &tls);
    let old = [&rustls::version::TLS12];
    let new = [&rustls::version::TLS13];
    let versions: [&[_]; 2] = [&old, &new];
    for versions in versions {
        for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[], &["h2"]] {
            let client = certs.client_of("a.test", None, alpn, versions);
            let mut client = client.over(proxy.client());
            if versions == new && alpn != ["h2"] {
                assert_eq!(client.ask(GET).status, 200);
                let agreed = alpn.contains(&"http/1.1").then_some("http/1.1");
                assert_eq!(client.secure().alpn().as_deref(), agreed);
            } else {
                client.try_send(GET);
                assert!(is_refused(&mut client));
            }
        }
    }
    assert_eq!(proxy.close().len(), 3);
}

#[test]
fn a_request_in_the_clear_is_closed_and_nothing_more() {
    let certs = Certs::new();
    let phases = TestPhases::answering(Answer::new(200));
    let proxy = Proxy::secure(phases, ProxyOptions::default(), &certs.server(|_| {}));
    let mut client = proxy.client();
    client.send(GET);
    // An alert at most.
    assert!(client.rest().len() <= 7);
    eventually("it is closed", || proxy.counters().open() == 0);
    assert_eq!(proxy.close().len(), 0);
}
