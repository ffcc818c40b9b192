use std::sync::LazyLock;

use millrace_tls::{CertifiedCert, ClientTls, ClientTlsOptions};

static CERT: LazyLock<Vec<u8>> = LazyLock::new(|| crate::seeds::file("__test__/certs/example.pem"));
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| crate::seeds::file("__test__/certs/example.key"));

/// Certificates and keys that users hand in: refused or taken.
pub(crate) fn pem(data: &[u8]) {
    let _ = CertifiedCert::from_pem(data, data);
    let _ = CertifiedCert::from_pem(data, &KEY);
    let _ = CertifiedCert::from_pem(&CERT, data);
    let _ = ClientTls::new(ClientTlsOptions {
        ca_pem: Some(data.to_vec()),
        ..ClientTlsOptions::default()
    });
}
