//! The certificate of the TLS cases, and the two ends that use it.

use std::{fs, io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{args::Args, invalid, wire::Io};

/// Makes a certificate of `localhost` that has signed itself.
pub fn certificate(cert: &str, key: &str) -> io::Result<()> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    fs::write(cert, made.cert.pem())?;
    fs::write(key, made.signing_key.serialize_pem())
}

/// The server's end, where `cert` and `key` are given.
pub fn acceptor(args: &Args) -> io::Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (args.get("cert"), args.get("key")) else { return Ok(None) };
    let certs = CertificateDer::from_pem_file(cert).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certs], key);
    let mut config = config.map_err(io::Error::other)?;
    let protocol = if args.get("h2").is_some() { "h2" } else { "http/1.1" };
    config.alpn_protocols = vec![protocol.into()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// The client's end: TCP, and TLS above it where `ca` is given.
pub struct Connector {
    to: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Connector {
    pub fn new(args: &Args, protocol: &str) -> io::Result<Self> {
        let to = args.address()?;
        let Some(ca) = args.get("ca") else { return Ok(Connector { to, tls: None }) };
        let mut roots = RootCertStore::empty();
        let cert = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
        roots.add(cert).map_err(io::Error::other)?;
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        Ok(Connector { to, tls: Some(Arc::new(config).into()) })
    }

    pub async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let stream = tls.connect(name, stream).await?;
        let spoken = stream.get_ref().1.alpn_protocol();
        // One that names none speaks HTTP/1.1.
        if tls.config().alpn_protocols[0] != spoken.unwrap_or(b"http/1.1") {
            return Err(invalid("the subject does not speak the protocol"));
        }
        Ok(Box::new(stream))
    }
}
