use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::Ticketer;
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::provider::provider;
use crate::{CertificateOptions, CertificateSource, TlsError, pem};

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// They may. One that is shown has to be valid.
    Request,
    /// They have to.
    Require,
}

/// Which certificates of clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthOptions {
    /// The authorities that may have signed them, in PEM.
    pub ca_pem: Vec<u8>,
    /// Whether there has to be one.
    pub mode: ClientAuthMode,
}

/// How handshakes with clients are done.
#[derive(Clone)]
pub struct ServerTlsOptions {
    /// The first of them is shown for names that none of them is for, and where no name is asked
    /// for. May be empty if there is a source.
    pub certificates: Vec<CertificateOptions>,
    /// Asked for names that none of the certificates is for.
    pub source: Option<Arc<dyn CertificateSource>>,
    /// How long an answer of the source is used. That it has none, at most 10 s.
    pub source_ttl: Duration,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub h2: bool,
    /// The protocols that are offered (ALPN), the best first; those of `h2` where absent.
    pub alpn: Option<Vec<Vec<u8>>>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Which certificates of clients are accepted; they are not asked for one where absent.
    pub client_auth: Option<ClientAuthOptions>,
    /// Whether clients may resume a session, which saves them and us half of the work.
    pub session_tickets: bool,
    /// For the whole handshake.
    pub handshake_timeout: Duration,
}

impl Default for ServerTlsOptions {
    fn default() -> Self {
        ServerTlsOptions {
            certificates: Vec::new(),
            source: None,
            source_ttl: Duration::from_secs(3600),
            h2: true,
            alpn: None,
            min_version: MinVersion::Tls12,
            client_auth: None,
            session_tickets: true,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// What the options come to, but for the certificate.
pub(crate) fn base(options: &ServerTlsOptions) -> Result<ServerConfig, TlsError> {
    let versions: &[&SupportedProtocolVersion] = match options.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider().clone());
    let builder = builder
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::new("minVersion", error.to_string()))?;
    let builder = match &options.client_auth {
        None => builder.with_no_client_auth(),
        Some(ClientAuthOptions { ca_pem, mode }) => {
            let field = "clientAuth.ca";
            let roots = pem::authorities(&pem::certificates(ca_pem, field)?, field)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider().clone());
            let verifier = match mode {
                ClientAuthMode::Request => verifier.allow_unauthenticated(),
                ClientAuthMode::Require => verifier,
            };
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| TlsError::new(field, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.alpn_protocols = match &options.alpn {
        Some(protocols) => checked_alpn(protocols)?,
        None if options.h2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        None => vec![b"http/1.1".to_vec()],
    };
    if options.session_tickets {
        let ticketer = Ticketer::new();
        config.ticketer =
            ticketer.map_err(|error| TlsError::new("sessionTickets", error.to_string()))?;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// The names of protocols, where none is empty or too long (RFC 7301 §3.1).
pub(crate) fn checked_alpn(protocols: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, TlsError> {
    let is_name = |name: &Vec<u8>| (1..=255).contains(&name.len());
    match protocols.iter().position(|name| !is_name(name)) {
        Some(at) => Err(TlsError::new(format!("alpn[{at}]"), "not 1 to 255 bytes long")),
        None => Ok(protocols.to_vec()),
    }
}
