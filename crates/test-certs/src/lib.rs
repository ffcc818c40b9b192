//! Certificates for tests, made while they run. Only tests depend on it, so that it may panic.

#![allow(clippy::unwrap_used)]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub ca_pem: Vec<u8>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, and those between it and its authority.
    pub cert_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
}

/// The first and the last year of a certificate, from January to January.
pub type Years = (i32, i32);

const VALID: Years = (2020, 4000);

impl Authority {
    /// An authority that signs by itself.
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let ca_pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Authority { issuer: Issuer::new(params, key), ca_pem }
    }

    /// A certificate for names and IP addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(names, VALID)
    }

    /// One that is valid in certain years.
    pub fn issue_for(&self, names: &[&str], years: Years) -> Issued {
        let key = KeyPair::generate().unwrap();
        let cert = leaf(names, years).signed_by(&key, &self.issuer).unwrap();
        Issued { cert_pem: cert.pem().into_bytes(), key_pem: key.serialize_pem().into_bytes() }
    }

    /// One that an authority between has signed, whose certificate comes with it.
    pub fn issue_through(&self, between: &str, names: &[&str]) -> Issued {
        let (params, key) = (authority(between), KeyPair::generate().unwrap());
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let between = Authority { issuer: Issuer::new(params, key), ca_pem: Vec::new() };
        let mut issued = between.issue(names);
        issued.cert_pem.extend_from_slice(cert.pem().as_bytes());
        issued
    }
}

/// A certificate that signs itself and says that it is an authority's, as `openssl req -x509`
/// makes them.
pub fn self_signed(names: &[&str]) -> Issued {
    let (mut params, key) = (leaf(names, VALID), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap();
    Issued { cert_pem: cert.pem().into_bytes(), key_pem: key.serialize_pem().into_bytes() }
}

fn leaf(names: &[&str], (first, last): Years) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a test");
    (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = leaf(&[], VALID);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
