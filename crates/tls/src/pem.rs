//! PEM, with the name of the option in every complaint.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;

/// All certificates of a text, at least one.
pub(crate) fn certificates(
    pem: &[u8],
    field: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| TlsError::new(field, format!("not valid PEM: {error}")))?;
    if all.is_empty() {
        return Err(TlsError::new(field, "there is no certificate in it"));
    }
    Ok(all)
}

/// The first private key of a text.
pub(crate) fn private_key(pem: &[u8], field: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        TlsError::new(
            field,
            match error {
                rustls::pki_types::pem::Error::NoItemsFound => {
                    "there is no private key in it, or it is encrypted".to_owned()
                }
                error => format!("not valid PEM: {error}"),
            },
        )
    })
}

/// Certificates to be trusted as those of authorities.
pub(crate) fn authorities(
    certificates: &[CertificateDer<'static>],
    field: &str,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| TlsError::new(field, format!("not a certificate: {error}")))?;
    }
    Ok(roots)
}
