use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::names::normal;
use crate::provider::provider;
use crate::x509::{Facts, Validity};
use crate::{TlsError, pem};

/// What is said of a key that is none of these.
const USABLE: &str =
    "not a usable key: RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";

/// A certificate and the names it is shown for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificateOptions {
    /// The names, `*.` standing for one label. Empty for those of the certificate.
    pub names: Vec<String>,
    /// The certificate and those between it and its authority, in PEM.
    pub cert_pem: Vec<u8>,
    /// Its private key, in PEM, not encrypted.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for CertificateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateOptions").field("names", &self.names).finish_non_exhaustive()
    }
}

/// A certificate that is ready for handshakes: it has its key, and is valid now.
#[derive(Clone)]
pub struct CertifiedCert {
    pub(crate) key: Arc<CertifiedKey>,
    /// The DNS names that the certificate itself is for.
    pub(crate) names: Arc<[String]>,
    /// When it expires.
    pub(crate) end: SystemTime,
}

impl CertifiedCert {
    /// Reads and checks it. Complains of `cert` or `key`.
    pub fn from_pem(cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        CertifiedCert::read(cert_pem, key_pem, "")
    }

    /// The same, complaining of options with `prefix` before their names.
    pub(crate) fn read(cert_pem: &[u8], key_pem: &[u8], prefix: &str) -> Result<Self, TlsError> {
        let (cert, key) = (format!("{prefix}cert"), format!("{prefix}key"));
        let chain = pem::certificates(cert_pem, &cert)?;
        let private = pem::private_key(key_pem, &key)?;
        let facts = chain.first().map_or(Err(String::new()), |own| Facts::read(own));
        let facts =
            facts.map_err(|error| TlsError::new(&*cert, format!("not a certificate: {error}")))?;
        match facts.validity_now() {
            Validity::Now => {}
            Validity::Expired => return Err(TlsError::new(cert, "the certificate has expired")),
            Validity::NotYet => {
                return Err(TlsError::new(cert, "the certificate is not valid yet"));
            }
        }
        let certified = CertifiedKey::from_der(chain, private, provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::new(&*key, "the key does not belong to the certificate")
            }
            rustls::Error::InvalidCertificate(error) => {
                TlsError::new(&*cert, format!("not a certificate: {error}"))
            }
            _ => TlsError::new(&*key, USABLE),
        })?;
        let (key, end) = (Arc::new(certified), facts.end());
        Ok(CertifiedCert { key, names: facts.names.into(), end })
    }

    /// Reads the `index`th certificate of a list, with the names it is to be shown for.
    pub(crate) fn listed(
        options: &CertificateOptions,
        index: usize,
    ) -> Result<(Self, Vec<String>), TlsError> {
        let prefix = format!("certificates[{index}].");
        let cert = CertifiedCert::read(&options.cert_pem, &options.key_pem, &prefix)?;
        if options.names.is_empty() {
            let names = cert.names.to_vec();
            return Ok((cert, names));
        }
        let names = options.names.iter().map(|name| normal(name)).collect::<Vec<_>>();
        for (at, name) in names.iter().enumerate() {
            if !cert.covers(name) {
                let message = format!("the certificate is not for {name:?}");
                return Err(TlsError::new(format!("{prefix}names[{at}]"), message));
            }
        }
        Ok((cert, names))
    }

    /// Whether a client that asks for the name, in lower case, would accept the certificate.
    fn covers(&self, name: &str) -> bool {
        if name.starts_with("*.") {
            return self.names.iter().any(|own| own == name);
        }
        let own: Option<&CertificateDer<'_>> = self.key.cert.first();
        let own = own.and_then(|own| ParsedCertificate::try_from(own).ok());
        match (own, ServerName::try_from(name)) {
            (Some(own), Ok(name)) => rustls::client::verify_server_name(&own, &name).is_ok(),
            _ => false,
        }
    }
}

impl fmt::Debug for CertifiedCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedCert").field("names", &self.names).finish_non_exhaustive()
    }
}
