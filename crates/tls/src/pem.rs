//! PEM, with the name of the option in every complaint.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;
use crate::x509::{Facts, Validity};

/// All certificates of a text, at least one.
pub(crate) fn certificates(
    pem: &[u8],
    field: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| TlsError::new(field, said(&error)))?;
    if all.is_empty() {
        return Err(TlsError::new(field, "there is no certificate in it"));
    }
    Ok(all)
}

/// The first private key of a text.
pub(crate) fn private_key(pem: &[u8], field: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let is_encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let message = match error {
            _ if is_encrypted => "the key is encrypted",
            Error::NoItemsFound => "there is no private key in it",
            error => said(&error),
        };
        TlsError::new(field, message)
    })
}

/// What is wrong with it. PEM itself is never quoted, as it may be a key.
fn said(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => "not valid PEM: it is cut off, as a section has no end",
        Error::IllegalSectionStart { .. } => "not valid PEM: the start of a section is malformed",
        Error::Base64Decode(_) => "not valid PEM: what is in a section is not Base64",
        Error::SectionTooLarge => "not valid PEM: a section is too large",
        _ => "not valid PEM",
    }
}

/// Certificates to be trusted as those of authorities.
pub(crate) fn authorities(
    certificates: &[CertificateDer<'static>],
    field: &str,
) -> Result<RootCertStore, TlsError> {
    let facts = certificates.iter().map(|certificate| Facts::read(certificate));
    // Of many some may have: that is what the others are for.
    if facts.flatten().all(|facts| facts.validity_now() == Validity::Expired) {
        return Err(TlsError::new(field, "all certificates in it have expired"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| TlsError::new(field, format!("not a certificate: {error}")))?;
    }
    Ok(roots)
}
