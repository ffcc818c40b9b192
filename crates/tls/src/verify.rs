use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::client::{not_a_name, server_name};
use crate::provider::provider;
use crate::x509::{Facts, Validity};
use crate::{ClientTlsOptions, TlsError, pem};

/// Looks at an origin's certificate, as far as the options ask for it.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// None accepts any certificate.
    trust: Option<Trust>,
    verify_hostname: bool,
    alternative: Option<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trust {
    roots: Arc<RootCertStore>,
    /// Trusted as they are, whoever signed them: self-signed ones for the most part.
    itself: Vec<CertificateDer<'static>>,
}

/// The authorities that Mozilla trusts, as Node.js has them too: the same on every system, and
/// there where a container has none of its own.
static USUAL: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

impl Verifier {
    pub(crate) fn new(options: &ClientTlsOptions) -> Result<Self, TlsError> {
        let trust = match &options.ca_pem {
            None => Trust { roots: USUAL.clone(), itself: Vec::new() },
            Some(pem) => {
                let itself = pem::certificates(pem, "ca")?;
                Trust { roots: Arc::new(pem::authorities(&itself, "ca")?), itself }
            }
        };
        let alternative = options
            .alternative_name
            .as_deref()
            .map(|name| server_name(name).ok_or_else(|| not_a_name("alternativeName", name)));
        Ok(Verifier {
            trust: options.verify_cert.then_some(trust),
            verify_hostname: options.verify_hostname,
            alternative: alternative.transpose()?,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    fn verify_names(
        &self,
        own: &ParsedCertificate<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        if !self.verify_hostname {
            return Ok(());
        }
        verify_server_name(own, name).or_else(|error| match &self.alternative {
            Some(alternative) => verify_server_name(own, alternative).map_err(|_| error),
            None => Err(error),
        })
    }
}

impl Trust {
    fn verify(
        &self,
        own: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if !self.itself.contains(own) {
            let all = algorithms.all;
            return verify_server_cert_signed_by_trust_anchor(
                parsed,
                &self.roots,
                between,
                now,
                all,
            );
        }
        let facts = Facts::read(own).map_err(|_| CertificateError::BadEncoding)?;
        match facts.validity(Duration::from_secs(now.as_secs())) {
            Validity::Now => Ok(()),
            Validity::Expired => Err(CertificateError::Expired.into()),
            Validity::NotYet => Err(CertificateError::NotValidYet.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trust) = &self.trust {
            let parsed = ParsedCertificate::try_from(own)?;
            trust.verify(own, &parsed, between, now, &self.algorithms)?;
            self.verify_names(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Certificates that nothing can be verified with are accepted too where any is.
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, own, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, own, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
