//! Who trusts whom over TLS.
#![allow(dead_code, clippy::unwrap_used)]

use millrace_connectors::PeerOptions;
use millrace_test_certs::{Authority, Issued};
use millrace_tls::{
    CertificateOptions, ClientAuthMode, ClientAuthOptions, ClientTls, ClientTlsOptions, ServerTls,
    ServerTlsOptions,
};

use crate::common::LONG;

/// Two authorities that both stand behind an origin, and a certificate to show to it.
pub(crate) struct World {
    pub(crate) ca: Authority,
    pub(crate) other: Authority,
    pub(crate) own: Issued,
}

impl World {
    pub(crate) fn new() -> Self {
        let (ca, other) = (Authority::new("ca"), Authority::new("other"));
        let own = ca.issue(&["client"]);
        World { ca, other, own }
    }

    pub(crate) fn trusting(&self) -> ClientTlsOptions {
        ClientTlsOptions { ca_pem: Some(self.ca.ca_pem.clone()), ..Default::default() }
    }

    pub(crate) fn server(&self, change: impl Fn(&mut ServerTlsOptions)) -> ServerTls {
        let Issued { cert_pem, key_pem } = self.ca.issue(&["a.test", "b.test", "127.0.0.1"]);
        let auth =
            ClientAuthOptions { ca_pem: self.ca.ca_pem.clone(), mode: ClientAuthMode::Request };
        let mut options = ServerTlsOptions {
            certificates: vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }],
            client_auth: Some(auth),
            ..Default::default()
        };
        change(&mut options);
        ServerTls::new(options).unwrap()
    }
}

pub(crate) fn secured(options: ClientTlsOptions) -> PeerOptions {
    let tls = Some(ClientTls::new(options).unwrap());
    PeerOptions { tls, idle_timeout: LONG, ..PeerOptions::default() }
}
