//! Options that cannot be used are refused at once, each by its name.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use millrace_test_certs::Authority;
use millrace_tls::*;

fn refused(options: ServerTlsOptions) -> (String, String) {
    let TlsError { field, message } = ServerTls::new(options).err().unwrap();
    (field, message)
}

#[track_caller]
fn is(found: (String, String), field: &str, part: &str) {
    assert!(found.0 == field && found.1.contains(part), "{found:?}");
}

#[test]
fn a_certificate_that_cannot_be_shown_is_refused() {
    let ca = Authority::new("ca");
    let (good, other) = (ca.issue(&["a.test"]), ca.issue(&["b.test"]));
    let second = |change: &dyn Fn(&mut CertificateOptions)| {
        let mut bad = options(&good);
        change(&mut bad);
        let certificates = vec![options(&good), bad];
        refused(ServerTlsOptions { certificates, ..Default::default() })
    };
    let cert = "certificates[1].cert";
    is(second(&|bad| bad.cert_pem = b"nonsense".into()), cert, "no certificate");
    is(second(&|bad| bad.cert_pem = good.key_pem.clone()), cert, "no certificate");
    let broken = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    is(second(&|bad| bad.cert_pem = broken.into()), cert, "not valid PEM");
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    is(second(&|bad| bad.cert_pem = empty.into()), cert, "not a certificate");
    let key = "certificates[1].key";
    is(second(&|bad| bad.key_pem = Vec::new()), key, "no private key");
    is(second(&|bad| bad.key_pem = other.key_pem.clone()), key, "does not belong");
    let expired = ca.issue_for(&["a.test"], (2000, 2010));
    is(second(&|bad| *bad = options(&expired)), cert, "has expired");
    let early = ca.issue_for(&["a.test"], (3000, 3010));
    is(second(&|bad| *bad = options(&early)), cert, "not valid yet");
    is(refused(ServerTlsOptions::default()), "certificates", "none");
}

#[test]
fn a_name_that_the_certificate_is_not_for_is_refused() {
    let issued = Authority::new("ca").issue(&["a.test", "*.b.test", "*.d.test"]);
    let named = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let certificates = vec![CertificateOptions { names, ..options(&issued) }];
        ServerTls::new(ServerTlsOptions { certificates, ..Default::default() })
    };
    for good in ["a.test", "A.Test.", "*.b.test", "x.b.test", "*.D.test"] {
        assert!(named(&[good]).is_ok(), "{good}");
    }
    for bad in ["c.test", "*.a.test", "b.test", "x.y.b.test", "*.x.b.test", "not a name", ""] {
        let error = named(&["a.test", bad]).err().unwrap();
        assert_eq!(error.field, "certificates[0].names[1]", "{bad}");
    }
}

#[test]
fn authorities_and_protocols_of_a_server_are_looked_at() {
    let issued = Authority::new("ca").issue(&["a.test"]);
    let with = |change: &dyn Fn(&mut ServerTlsOptions)| {
        let certificates = vec![options(&issued)];
        let mut options = ServerTlsOptions { certificates, ..Default::default() };
        change(&mut options);
        refused(options)
    };
    for ca_pem in [b"nonsense".to_vec(), issued.key_pem.clone()] {
        let auth = ClientAuthOptions { ca_pem, mode: ClientAuthMode::Request };
        let found = with(&|options| options.client_auth = Some(auth.clone()));
        is(found, "clientAuth.ca", "no certificate");
    }
    let found = with(&|options| options.alpn = Some(vec![b"h2".to_vec(), Vec::new()]));
    is(found, "alpn[1]", "1 to 255");
}

#[test]
fn options_of_a_client_are_looked_at() {
    let ca = Authority::new("ca");
    let (one, two) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let with = |change: &dyn Fn(&mut ClientTlsOptions)| {
        let mut options = ClientTlsOptions::default();
        change(&mut options);
        ClientTls::new(options).err().map(|error| error.field)
    };
    assert_eq!(with(&|options| options.sni = Some("not a name".into())).unwrap(), "sni");
    assert_eq!(with(&|options| options.sni = Some(String::new())), None);
    let found = with(&|options| options.alternative_name = Some("not a name".into()));
    assert_eq!(found.unwrap(), "alternativeName");
    assert_eq!(with(&|options| options.ca_pem = Some(b"nonsense".into())).unwrap(), "ca");
    assert_eq!(with(&|options| options.cert_pem = Some(one.cert_pem.clone())).unwrap(), "key");
    assert_eq!(with(&|options| options.key_pem = Some(one.key_pem.clone())).unwrap(), "cert");
    let found = with(&|options| {
        options.cert_pem = Some(one.cert_pem.clone());
        options.key_pem = Some(two.key_pem.clone());
    });
    assert_eq!(found.unwrap(), "key");
    assert_eq!(with(&|options| options.alpn = Some(vec![vec![0; 256]])).unwrap(), "alpn[0]");
}

#[test]
fn keys_are_not_shown_to_those_who_debug() {
    let issued = Authority::new("ca").issue(&["a.test"]);
    let key = std::str::from_utf8(&issued.key_pem).unwrap().lines().nth(1).unwrap();
    let options = ClientTlsOptions {
        cert_pem: Some(issued.cert_pem.clone()),
        key_pem: Some(issued.key_pem.clone()),
        ..Default::default()
    };
    let bytes = format!("{:?}", &issued.key_pem[..20]);
    let bytes = bytes.trim_matches(['[', ']']);
    for shown in [
        format!("{options:?} {:?}", client(options.clone())),
        format!("{:?} {:?}", common::options(&issued), server(&issued)),
    ] {
        assert!(!shown.contains(key) && !shown.contains(bytes), "{shown}");
    }
}
