use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use millrace_connectors::PeerOptions;
use millrace_test_certs::{Authority, Issued};
use millrace_tls::{CertificateOptions, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, SideData, StreamOwned, SupportedProtocolVersion,
};
use tokio_rustls::TlsConnector;

use super::{Origin, Wire};

/// A connection over TLS that a test plays one end of. Dropped, it ends without a goodbye.
pub trait Secure: Read + Write + Send {
    /// Comes to what the others tell of; otherwise that is done with the first bytes.
    fn handshake(&mut self);

    /// Says that nothing more will be sent.
    fn goodbye(&mut self);

    /// The certificate that the other side has shown.
    fn shown(&self) -> Vec<u8>;

    /// The protocol that was agreed on.
    fn alpn(&self) -> Option<String>;
}

impl<C, S> Secure for StreamOwned<C, TcpStream>
where
    C: std::ops::DerefMut<Target = ConnectionCommon<S>> + Send,
    S: SideData,
{
    fn handshake(&mut self) {
        // What fails is found again by who reads.
        while self.conn.is_handshaking() && self.conn.complete_io(&mut self.sock).is_ok() {}
    }

    fn goodbye(&mut self) {
        self.conn.send_close_notify();
        self.flush().unwrap();
    }

    fn shown(&self) -> Vec<u8> {
        self.conn.peer_certificates().unwrap()[0].to_vec()
    }

    fn alpn(&self) -> Option<String> {
        self.conn.alpn_protocol().map(|alpn| String::from_utf8(alpn.to_vec()).unwrap())
    }
}

/// An authority that all trust, and what is made with it.
pub struct Certs {
    pub ca: Authority,
}

impl Certs {
    pub fn new() -> Certs {
        Certs { ca: Authority::new("ca") }
    }

    /// A proxy's side towards its clients.
    pub fn server(&self, change: impl Fn(&mut ServerTlsOptions)) -> ServerTls {
        let certificates = vec![listed(&self.ca.issue(&["a.test", "127.0.0.1"]))];
        let mut options = ServerTlsOptions { certificates, ..Default::default() };
        change(&mut options);
        ServerTls::new(options).unwrap()
    }

    /// A proxy's side towards its origins.
    pub fn peer(&self, change: impl Fn(&mut ClientTlsOptions)) -> PeerOptions {
        let mut options =
            ClientTlsOptions { ca_pem: Some(self.ca.ca_pem.clone()), ..Default::default() };
        change(&mut options);
        PeerOptions { tls: Some(ClientTls::new(options).unwrap()), ..PeerOptions::default() }
    }

    /// A client that asks for this name, and shows a certificate if it has one.
    pub fn client(&self, name: &str, own: Option<&Issued>, alpn: &[&str]) -> TlsClient {
        self.client_of(name, own, alpn, rustls::DEFAULT_VERSIONS)
    }

    pub fn client_of(
        &self,
        name: &str,
        own: Option<&Issued>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        let builder = builder.with_root_certificates(self.roots());
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = parsed(own);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsClient { config: Arc::new(config), name: name.to_owned() }
    }

    /// What an origin with this certificate accepts handshakes with.
    pub fn accepting(&self, own: &Issued) -> Arc<ServerConfig> {
        config(own, &[])
    }

    /// An origin over TLS with this certificate.
    pub fn origin(
        &self,
        own: &Issued,
        script: impl Fn(usize, Wire) + Send + Sync + 'static,
    ) -> Origin {
        let config = self.accepting(own);
        Origin::new(move |number, wire| {
            script(number, wire.over(|stream| secured(&config, stream)));
        })
    }

    /// What an origin with a certificate that is good does handshakes with.
    pub fn good_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        config(&self.ca.issue(&["127.0.0.1"]), alpn)
    }

    /// The same of one that wants to be shown a certificate of our authority.
    pub fn wary_config(
        &self,
        alpn: &[&str],
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.roots())).build().unwrap();
        let builder = ServerConfig::builder_with_protocol_versions(&[version]);
        let builder = builder.with_client_cert_verifier(verifier);
        config_of(builder, &self.ca.issue(&["127.0.0.1"]), alpn)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.ca.ca_pem).unwrap()).unwrap();
        roots
    }

    /// The same with a certificate that is good.
    pub fn good_origin(&self, script: impl Fn(usize, Wire) + Send + Sync + 'static) -> Origin {
        self.origin(&self.ca.issue(&["127.0.0.1"]), script)
    }
}

/// Makes connections over TLS.
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: String,
}

impl TlsClient {
    pub fn over(&self, wire: Wire) -> Wire {
        let session = ClientConnection::new(self.config.clone(), self.name()).unwrap();
        wire.over(|stream| Box::new(StreamOwned::new(session, stream)))
    }

    pub async fn over_tokio(
        &self,
        stream: tokio::net::TcpStream,
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(self.name(), stream).await.unwrap()
    }

    fn name(&self) -> ServerName<'static> {
        ServerName::try_from(self.name.clone()).unwrap()
    }
}

fn config(own: &Issued, alpn: &[&str]) -> Arc<ServerConfig> {
    config_of(ServerConfig::builder().with_no_client_auth(), own, alpn)
}

fn config_of(
    builder: ConfigBuilder<ServerConfig, WantsServerCert>,
    own: &Issued,
    alpn: &[&str],
) -> Arc<ServerConfig> {
    let (chain, key) = parsed(own);
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// An origin's end over TLS.
pub fn secured(config: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Secure> {
    let session = ServerConnection::new(config.clone()).unwrap();
    Box::new(StreamOwned::new(session, stream))
}

pub fn listed(issued: &Issued) -> CertificateOptions {
    let Issued { cert_pem, key_pem } = issued.clone();
    CertificateOptions { names: Vec::new(), cert_pem, key_pem }
}

fn parsed(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(&issued.cert_pem).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(&issued.key_pem).unwrap())
}
