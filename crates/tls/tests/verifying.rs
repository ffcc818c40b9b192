//! Which certificates of an origin are accepted.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use millrace_test_certs::{Authority, Issued, self_signed};
use millrace_tls::*;

#[track_caller]
fn is(refusal: &str, part: &str) {
    assert!(refusal.contains(part), "{refusal}");
}

#[tokio::test]
async fn a_certificate_has_to_come_from_a_trusted_authority() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = server(&ca.issue(&["a.test"]));
    let trusted = client(trusting(&ca.ca_pem));
    let (near, far) = handshake(&trusted, "a.test", &server).await;
    let (near, far) = (near.unwrap().1, far.unwrap().1);
    assert_eq!((near.version, near.cipher), ("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
    assert_eq!(near.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!((near.version, near.cipher, &near.alpn), (far.version, far.cipher, &far.alpn));
    assert_eq!(near.server_name.as_deref(), Some("a.test"));
    assert_eq!(far.server_name.as_deref(), Some("a.test"));
    assert_eq!((near.certificates.len(), far.certificates.len()), (1, 0));

    let untrusting = client(trusting(&other.ca_pem));
    is(&refusal(&untrusting, "a.test", &server).await, "no trusted ca");
    // The usual authorities do not know it either.
    let usual = client(ClientTlsOptions::default());
    is(&refusal(&usual, "a.test", &server).await, "no trusted ca");
}

#[tokio::test]
async fn those_between_it_and_its_authority_come_with_it() {
    let ca = Authority::new("ca");
    let server = server(&ca.issue_through("between", &["a.test"]));
    let (near, _) = handshake(&client(trusting(&ca.ca_pem)), "a.test", &server).await;
    assert_eq!(near.unwrap().1.certificates.len(), 2);
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_if_it_is_given() {
    let (own, other) = (self_signed(&["a.test"]), self_signed(&["a.test"]));
    let trusted = client(trusting(&own.cert_pem));
    assert!(handshake(&trusted, "a.test", &server(&own)).await.0.is_ok());
    is(&refusal(&trusted, "b.test", &server(&own)).await, "another name");
    let refused = refusal(&trusted, "a.test", &server(&other)).await;
    is(&refused, "the certificate");
}

#[tokio::test]
async fn it_has_to_be_for_the_host_or_the_alternative_name() {
    let ca = Authority::new("ca");
    let server = server(&ca.issue(&["a.test", "*.b.test", "127.0.0.1", "::1"]));
    let trust = || trusting(&ca.ca_pem);
    let accepts = async |options: ClientTlsOptions, host: &str| {
        handshake(&client(options), host, &server).await.0.is_ok()
    };
    for host in ["a.test", "A.TEST.", "x.b.test", "127.0.0.1", "::1", "[::1]"] {
        assert!(accepts(trust(), host).await, "{host}");
    }
    for host in ["c.test", "b.test", "x.y.b.test", "127.0.0.2", "::2"] {
        is(&refusal(&client(trust()), host, &server).await, "another name");
    }
    let alternative =
        |name: &str| ClientTlsOptions { alternative_name: Some(name.into()), ..trust() };
    assert!(accepts(alternative("a.test"), "c.test").await);
    assert!(accepts(alternative("c.test"), "a.test").await);
    assert!(accepts(alternative("127.0.0.1"), "c.test").await);
    assert!(!accepts(alternative("d.test"), "c.test").await);
    let sni = |name: &str| ClientTlsOptions { sni: Some(name.into()), ..trust() };
    assert!(accepts(sni("a.test"), "c.test").await);
    assert!(!accepts(sni("c.test"), "a.test").await, "it is the name that has to be right");
}

#[tokio::test]
async fn line_12_an_empty_sni_or_an_ip_address_does_not_turn_verification_off() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = server(&ca.issue(&["a.test", "127.0.0.1"]));
    for (host, wrong, sent) in [("a.test", "b.test", false), ("127.0.0.1", "127.0.0.2", false)] {
        for sni in [None, Some(String::new())] {
            let trust = ClientTlsOptions { sni: sni.clone(), ..trusting(&ca.ca_pem) };
            let trust = client(trust);
            let (near, far) = handshake(&trust, host, &server).await;
            assert!(near.is_ok());
            let named = far.unwrap().1.server_name.is_some();
            assert_eq!(named, sent || (sni.is_none() && host == "a.test"));
            is(&refusal(&trust, wrong, &server).await, "another name");
            let trust = ClientTlsOptions { sni, ..trusting(&other.ca_pem) };
            is(&refusal(&client(trust), host, &server).await, "no trusted ca");
        }
    }
}

#[tokio::test]
async fn what_is_turned_off_is_off_and_nothing_else() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = server(&ca.issue(&["a.test"]));
    let any_name =
        |ca: &Authority| ClientTlsOptions { verify_hostname: false, ..trusting(&ca.ca_pem) };
    assert!(handshake(&client(any_name(&ca)), "b.test", &server).await.0.is_ok());
    is(&refusal(&client(any_name(&other)), "b.test", &server).await, "no trusted ca");
    for server in [server, common::server(&self_signed(&["a.test"]))] {
        let blind = ClientTlsOptions { verify_cert: false, ..trusting(&other.ca_pem) };
        assert!(handshake(&client(blind), "b.test", &server).await.0.is_ok());
    }
}

#[tokio::test]
async fn a_host_that_is_no_name_is_an_error_and_not_a_panic() {
    let ca = Authority::new("ca");
    let (near, _far) = pair().await;
    let done = client(trusting(&ca.ca_pem)).connect(near, "[example", &[]).await;
    assert!(matches!(done, Err(HandshakeError::Name(_))));
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_those_who_ask() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let (issued, own) = (ca.issue(&["a.test"]), ca.issue(&["client"]));
    let foreign = other.issue(&["client"]);
    let showing = |own: Option<&Issued>| {
        client(ClientTlsOptions {
            cert_pem: own.map(|own| own.cert_pem.clone()),
            key_pem: own.map(|own| own.key_pem.clone()),
            ..trusting(&ca.ca_pem)
        })
    };
    for mode in [ClientAuthMode::Request, ClientAuthMode::Require] {
        let server = server_with(ServerTlsOptions {
            certificates: vec![options(&issued)],
            client_auth: Some(ClientAuthOptions { ca_pem: ca.ca_pem.clone(), mode }),
            ..Default::default()
        });
        let seen = async |client: ClientTls| {
            let (_near, far) = handshake(&client, "a.test", &server).await;
            far.map(|(_, info)| info.certificates.len()).map_err(|error| error.to_string())
        };
        assert_eq!(seen(showing(Some(&own))).await, Ok(1));
        is(&seen(showing(Some(&foreign))).await.unwrap_err(), "no trusted ca");
        match mode {
            ClientAuthMode::Request => assert_eq!(seen(showing(None)).await, Ok(0)),
            ClientAuthMode::Require => is(&seen(showing(None)).await.unwrap_err(), "certificate"),
        }
    }
}
