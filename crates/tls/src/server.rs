use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_transport::{Stream, TlsInfo};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::LazyConfigAcceptor;

use crate::handshake::finished;
use crate::names::{Names, normal};
use crate::options::base;
use crate::source::Asked;
use crate::{CertificateOptions, CertifiedCert, HandshakeError, ServerTlsOptions, TlsError};

/// Takes the handshakes of clients. Cheap to clone; the clones share their certificates.
#[derive(Clone)]
pub struct ServerTls {
    inner: Arc<Inner>,
}

struct Inner {
    /// All but the certificate.
    base: ServerConfig,
    names: RwLock<Arc<Names>>,
    source: Option<Asked>,
    handshake_timeout: Duration,
}

impl ServerTls {
    /// Checks the options and reads the certificates.
    pub fn new(options: ServerTlsOptions) -> Result<Self, TlsError> {
        let base = base(&options)?;
        let source = options.source.map(|source| Asked::new(source, options.source_ttl));
        let inner = Inner {
            base,
            names: RwLock::default(),
            source,
            handshake_timeout: options.handshake_timeout,
        };
        let tls = ServerTls { inner: Arc::new(inner) };
        tls.update_certificates(&options.certificates)?;
        Ok(tls)
    }

    /// Replaces all listed certificates, for handshakes from now on, and forgets what the source has
    /// found. If one of them cannot be used, all stays as it was.
    pub fn update_certificates(&self, all: &[CertificateOptions]) -> Result<(), TlsError> {
        if all.is_empty() && self.inner.source.is_none() {
            return Err(TlsError::new("certificates", "there is none"));
        }
        let mut names = Names::default();
        for (index, options) in all.iter().enumerate() {
            let (certificate, listed) = CertifiedCert::listed(options, index)?;
            names.add(listed, self.inner.with(certificate));
        }
        *self.inner.names.write() = Arc::new(names);
        if let Some(source) = &self.inner.source {
            source.forget();
        }
        Ok(())
    }

    /// Does the handshake with a client that has just connected.
    pub async fn accept(&self, stream: Stream) -> Result<(Stream, TlsInfo), HandshakeError> {
        let handshake = self.handshake(stream);
        let done = tokio::time::timeout(self.inner.handshake_timeout, handshake).await;
        done.unwrap_or(Err(HandshakeError::TimedOut))
    }

    async fn handshake(&self, stream: Stream) -> Result<(Stream, TlsInfo), HandshakeError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let name = start.client_hello().server_name().map(normal);
        let config = self.inner.config(name.as_deref()).await;
        let stream = start.into_stream(config).await?;
        Ok(finished(stream.into(), name))
    }
}

impl Inner {
    async fn config(&self, name: Option<&str>) -> Arc<ServerConfig> {
        let names = self.names.read().clone();
        if let Some(name) = name {
            if let Some(config) = names.find(name) {
                return config.clone();
            }
            if let Some(source) = &self.source {
                let found = source.find(name.to_owned(), |certificate| self.with(certificate));
                if let Some(config) = found.await {
                    return config;
                }
            }
        }
        // Without a certificate the handshake fails in the way that tells the client so.
        names.first().cloned().unwrap_or_else(|| Arc::new(self.base.clone()))
    }

    fn with(&self, certificate: CertifiedCert) -> Arc<ServerConfig> {
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certificate.key));
        Arc::new(config)
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}
