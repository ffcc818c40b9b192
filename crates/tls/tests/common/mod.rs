//! Both sides of a handshake, over a real socket.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use millrace_test_certs::Issued;
use millrace_tls::*;
use millrace_transport::{Stream, TlsInfo};
use tokio::net::{TcpListener, TcpStream};

pub type Done = Result<(Stream, TlsInfo), HandshakeError>;

pub fn options(issued: &Issued) -> CertificateOptions {
    let Issued { cert_pem, key_pem } = issued.clone();
    CertificateOptions { names: Vec::new(), cert_pem, key_pem }
}

pub fn server(issued: &Issued) -> ServerTls {
    server_with(ServerTlsOptions { certificates: vec![options(issued)], ..Default::default() })
}

pub fn server_with(options: ServerTlsOptions) -> ServerTls {
    ServerTls::new(options).unwrap()
}

pub fn trusting(ca_pem: &[u8]) -> ClientTlsOptions {
    ClientTlsOptions { ca_pem: Some(ca_pem.to_vec()), ..Default::default() }
}

pub fn client(options: ClientTlsOptions) -> ClientTls {
    ClientTls::new(options).unwrap()
}

/// The two ends of a connection: the client's, the server's.
pub async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    (client.unwrap().into(), accepted.unwrap().0.into())
}

/// What the handshake comes to for both: the client, the server.
pub async fn handshake(client: &ClientTls, host: &str, server: &ServerTls) -> (Done, Done) {
    handshake_alpn(client, host, server, &[b"http/1.1"]).await
}

pub async fn handshake_alpn(
    client: &ClientTls,
    host: &str,
    server: &ServerTls,
    alpn: &[&[u8]],
) -> (Done, Done) {
    let (near, far) = pair().await;
    tokio::join!(client.connect(near, host, alpn), server.accept(far))
}

/// What the client says of the handshake that it refused.
pub async fn refusal(client: &ClientTls, host: &str, server: &ServerTls) -> String {
    handshake(client, host, server).await.0.err().unwrap().to_string()
}

/// The certificate that a server shows for a name, by the name that is in it.
pub async fn shown(server: &ServerTls, name: &str) -> Vec<u8> {
    let options = ClientTlsOptions { verify_cert: false, ..Default::default() };
    let (client, _) = handshake(&client(options), name, server).await;
    client.unwrap().1.certificates.swap_remove(0)
}
