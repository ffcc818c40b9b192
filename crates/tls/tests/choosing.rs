//! Which certificate a client is shown, and what both agree on.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use common::*;
use millrace_test_certs::{Authority, Issued};
use millrace_tls::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

/// A certificate as it is shown.
fn der(issued: &Issued) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(&issued.cert_pem).unwrap().to_vec()
}

fn listing(all: &[&Issued]) -> ServerTls {
    let certificates = all.iter().map(|issued| options(issued)).collect();
    server_with(ServerTlsOptions { certificates, ..Default::default() })
}

#[tokio::test]
async fn the_name_itself_goes_before_a_wildcard_and_the_first_is_for_all_others() {
    let ca = Authority::new("ca");
    let (first, wild) = (ca.issue(&["first.test"]), ca.issue(&["*.b.test"]));
    let (exact, late) = (ca.issue(&["A.b.test", "c.test"]), ca.issue(&["c.test"]));
    let server = listing(&[&first, &wild, &exact, &late]);
    for (name, expected) in [
        ("first.test", &first),
        ("a.b.test", &exact),
        ("A.B.TEST", &exact),
        ("x.b.test", &wild),
        ("X.B.test", &wild),
        ("x.y.b.test", &first),
        ("b.test", &first),
        ("c.test", &exact),
        ("other.test", &first),
        ("127.0.0.1", &first),
    ] {
        assert!(shown(&server, name).await == der(expected), "{name}");
    }
}

#[tokio::test]
async fn names_may_be_fewer_than_those_of_the_certificate() {
    let ca = Authority::new("ca");
    let (first, second) = (ca.issue(&["first.test"]), ca.issue(&["a.test", "b.test"]));
    let names = vec!["b.test".to_owned()];
    let certificates = vec![options(&first), CertificateOptions { names, ..options(&second) }];
    let server = server_with(ServerTlsOptions { certificates, ..Default::default() });
    assert!(shown(&server, "a.test").await == der(&first));
    assert!(shown(&server, "b.test").await == der(&second));
}

#[tokio::test]
async fn certificates_are_replaced_without_touching_open_connections() {
    let ca = Authority::new("ca");
    let (old, new) = (ca.issue(&["a.test"]), ca.issue(&["a.test"]));
    let server = server(&old);
    let trust = client(trusting(&ca.ca_pem));
    let (near, far) = handshake(&trust, "a.test", &server).await;
    let ((mut near, _), (mut far, _)) = (near.unwrap(), far.unwrap());

    server.clone().update_certificates(&[options(&new)]).unwrap();
    assert!(shown(&server, "a.test").await == der(&new));
    let broken = CertificateOptions { key_pem: old.key_pem.clone(), ..options(&new) };
    let error = server.update_certificates(&[options(&old), broken]).unwrap_err();
    assert_eq!(error.field, "certificates[1].key");
    assert_eq!(server.update_certificates(&[]).unwrap_err().field, "certificates");
    assert!(shown(&server, "a.test").await == der(&new));

    near.write_all(b"still there").await.unwrap();
    near.flush().await.unwrap();
    let mut read = [0; 11];
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still there");
}

#[tokio::test]
async fn alpn_and_the_oldest_version_are_agreed_on() {
    let ca = Authority::new("ca");
    let issued = ca.issue(&["a.test"]);
    let with = |change: &dyn Fn(&mut ServerTlsOptions)| {
        let certificates = vec![options(&issued)];
        let mut options = ServerTlsOptions { certificates, ..Default::default() };
        change(&mut options);
        server_with(options)
    };
    let trust = client(trusting(&ca.ca_pem));
    let agreed = async |server: &ServerTls, alpn: &[&[u8]]| {
        let (near, far) = handshake_alpn(&trust, "a.test", server, alpn).await;
        let far = far.map(|(_, info)| info);
        near.ok().map(|(_, info)| {
            assert_eq!(info.alpn, far.unwrap().alpn);
            info.alpn.map(|alpn| String::from_utf8(alpn).unwrap())
        })
    };
    let protocol = |name: &str| Some(Some(name.to_owned()));
    let (both, old) = (with(&|_| {}), with(&|options| options.h2 = false));
    assert_eq!(agreed(&both, &[b"http/1.1", b"h2"]).await, protocol("h2"));
    assert_eq!(agreed(&both, &[b"http/1.1"]).await, protocol("http/1.1"));
    assert_eq!(agreed(&both, &[]).await, Some(None));
    assert_eq!(agreed(&both, &[b"spdy"]).await, None);
    assert_eq!(agreed(&old, &[b"h2", b"http/1.1"]).await, protocol("http/1.1"));
    assert_eq!(agreed(&old, &[b"h2"]).await, None);
    let own = with(&|options| options.alpn = Some(vec![b"spdy".to_vec()]));
    assert_eq!(agreed(&own, &[b"h2", b"spdy"]).await, protocol("spdy"));
}

/// Answers with one certificate for some names, when it is let.
struct Slow {
    issued: Issued,
    asked: Mutex<Vec<String>>,
    answers: Arc<Semaphore>,
}

impl Slow {
    fn new(issued: Issued, answers: usize) -> Arc<Self> {
        Arc::new(Slow {
            issued,
            asked: Mutex::default(),
            answers: Arc::new(Semaphore::new(answers)),
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl CertificateSource for Slow {
    fn find(&self, name: String) -> Finding {
        self.asked.lock().unwrap().push(name.clone());
        let Issued { cert_pem, key_pem } = self.issued.clone();
        let answers = self.answers.clone();
        Box::pin(async move {
            answers.acquire().await.unwrap().forget();
            let found = CertifiedCert::from_pem(&cert_pem, &key_pem).ok();
            found.filter(|_| name.starts_with("known"))
        })
    }
}

fn asking(source: &Arc<Slow>, listed: &[&Issued]) -> ServerTls {
    let certificates = listed.iter().map(|issued| options(issued)).collect();
    let source: Arc<dyn CertificateSource> = source.clone();
    server_with(ServerTlsOptions { certificates, source: Some(source), ..Default::default() })
}

#[tokio::test]
async fn a_source_is_asked_for_unknown_names_once_and_its_answer_is_kept() {
    let ca = Authority::new("ca");
    let (listed, found) = (ca.issue(&["listed.test"]), ca.issue(&["known.test"]));
    let source = Slow::new(found.clone(), 100);
    let server = asking(&source, &[&listed]);
    assert!(shown(&server, "listed.test").await == der(&listed));
    assert!(shown(&server, "127.0.0.1").await == der(&listed), "no name is asked for");
    assert_eq!(source.asked(), [""; 0]);
    for _ in 0..2 {
        assert!(shown(&server, "Known.test").await == der(&found));
        assert!(shown(&server, "unknown.test").await == der(&listed));
    }
    assert_eq!(source.asked(), ["known.test", "unknown.test"]);
}

#[tokio::test]
async fn all_who_want_a_name_wait_for_one_answer() {
    let ca = Authority::new("ca");
    let found = ca.issue(&["known.test"]);
    let source = Slow::new(found.clone(), 0);
    let server = asking(&source, &[]);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { shown(&server, "known.test").await })
        })
        .collect();
    while source.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.answers.add_permits(1);
    for task in tasks {
        assert!(task.await.unwrap() == der(&found));
    }
    assert_eq!(source.asked().len(), 1);
}

#[tokio::test]
async fn without_any_certificate_for_a_name_the_handshake_fails() {
    let source = Slow::new(Authority::new("ca").issue(&["known.test"]), 100);
    let server = asking(&source, &[]);
    let any = client(ClientTlsOptions { verify_cert: false, ..Default::default() });
    let (near, far) = handshake(&any, "unknown.test", &server).await;
    assert!(matches!(near, Err(HandshakeError::Tls(_))));
    assert!(matches!(far, Err(HandshakeError::Tls(_))));
}

#[tokio::test]
async fn a_source_that_never_answers_is_cut_by_the_time_of_the_handshake() {
    let source = Slow::new(Authority::new("ca").issue(&["known.test"]), 0);
    let server = server_with(ServerTlsOptions {
        source: Some(source),
        handshake_timeout: Duration::from_millis(50),
        ..Default::default()
    });
    let any = client(ClientTlsOptions { verify_cert: false, ..Default::default() });
    let (near, far) = handshake(&any, "known.test", &server).await;
    assert!(matches!(far, Err(HandshakeError::TimedOut)));
    assert!(matches!(near, Err(HandshakeError::Io(_))));
}
