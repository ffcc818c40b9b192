use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use millrace_transport::{Stream, TlsInfo};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsConnector;

use crate::handshake::finished;
use crate::options::checked_alpn;
use crate::provider::provider;
use crate::verify::Verifier;
use crate::{CertifiedCert, HandshakeError, TlsError};

/// How handshakes with an origin are done.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientTlsOptions {
    /// The name that is asked for and that the certificate has to be for. The host where absent.
    /// Where it is empty none is asked for, and the certificate has to be for the host.
    pub sni: Option<String>,
    /// The authorities that may have signed the certificate, in PEM, or the certificate itself;
    /// those that Mozilla trusts where absent.
    pub ca_pem: Option<Vec<u8>>,
    /// The certificate that is shown to an origin that asks for one, in PEM.
    pub cert_pem: Option<Vec<u8>>,
    /// Its private key, in PEM, not encrypted.
    pub key_pem: Option<Vec<u8>>,
    /// Whether the certificate is looked at at all.
    pub verify_cert: bool,
    /// Whether it has to be for the right name.
    pub verify_hostname: bool,
    /// Another name that it may be for instead.
    pub alternative_name: Option<String>,
    /// The protocols that are offered (ALPN), the best first; those of the peer where absent.
    pub alpn: Option<Vec<Vec<u8>>>,
}

impl Default for ClientTlsOptions {
    fn default() -> Self {
        ClientTlsOptions {
            sni: None,
            ca_pem: None,
            cert_pem: None,
            key_pem: None,
            verify_cert: true,
            verify_hostname: true,
            alternative_name: None,
            alpn: None,
        }
    }
}

impl fmt::Debug for ClientTlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsOptions")
            .field("sni", &self.sni)
            .field("verify_cert", &self.verify_cert)
            .field("verify_hostname", &self.verify_hostname)
            .field("alternative_name", &self.alternative_name)
            .finish_non_exhaustive()
    }
}

/// Makes handshakes with origins. Cheap to clone. Two of the same content are equal, and can take
/// each other's connections.
#[derive(Clone)]
pub struct ClientTls {
    options: Arc<ClientTlsOptions>,
    connector: TlsConnector,
}

impl ClientTls {
    /// Checks the options and reads the certificates.
    pub fn new(options: ClientTlsOptions) -> Result<Self, TlsError> {
        let config = config(&options)?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(ClientTls { options: Arc::new(options), connector })
    }

    /// Does the handshake with the origin at the other end of `stream`. `host` is what it goes by,
    /// a name or an IP address; `alpn` is offered unless the options say otherwise.
    pub async fn connect(
        &self,
        stream: Stream,
        host: &str,
        alpn: &[&[u8]],
    ) -> Result<(Stream, TlsInfo), HandshakeError> {
        let ClientTls { options, connector } = self;
        let name = options.sni.as_deref().filter(|sni| !sni.is_empty()).unwrap_or(host);
        let server = server_name(name).ok_or_else(|| HandshakeError::Name(name.to_owned()))?;
        let asked = match &server {
            ServerName::DnsName(name) if connector.config().enable_sni => {
                Some(name.as_ref().to_owned())
            }
            _ => None,
        };
        let alpn = match &options.alpn {
            Some(protocols) => protocols.clone(),
            None => alpn.iter().map(|name| name.to_vec()).collect(),
        };
        let stream = connector.with_alpn(alpn).connect(server, stream).await?;
        Ok(finished(stream.into(), asked))
    }

    /// What it was made from, which is all that tells it from others.
    pub fn options(&self) -> &Arc<ClientTlsOptions> {
        &self.options
    }
}

fn config(options: &ClientTlsOptions) -> Result<ClientConfig, TlsError> {
    if let Some(sni) = options.sni.as_deref().filter(|sni| !sni.is_empty()) {
        server_name(sni).ok_or_else(|| not_a_name("sni", sni))?;
    }
    checked_alpn(options.alpn.as_deref().unwrap_or_default())?;
    let verifier = Verifier::new(options)?;
    let builder = ClientConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new("tls", error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&options.cert_pem, &options.key_pem) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let CertifiedCert { key, .. } = CertifiedCert::from_pem(cert, key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
        (Some(_), None) => return Err(TlsError::new("key", "the certificate needs its key")),
        (None, Some(_)) => return Err(TlsError::new("cert", "the key needs its certificate")),
    };
    config.enable_sni = options.sni.as_deref() != Some("");
    // A session is only resumed by peers of the same content, so that none can inherit a trust
    // that it would not have given.
    config.resumption = Resumption::in_memory_sessions(256);
    Ok(config)
}

/// A name or an IP address, which may be in brackets, as certificates have them.
pub(crate) fn server_name(text: &str) -> Option<ServerName<'static>> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_ascii_lowercase()).ok()
}

pub(crate) fn not_a_name(field: &str, text: &str) -> TlsError {
    TlsError::new(field, format!("not a name for a certificate: {text:?}"))
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.options.hash(state);
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.options).finish()
    }
}
