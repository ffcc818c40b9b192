use millrace_transport::{Stream, TlsInfo};
use rustls::{CipherSuite, CommonState, ProtocolVersion};
use tokio_rustls::TlsStream;

/// A connection whose handshake is done, and what that came to.
pub(crate) fn finished(stream: TlsStream<Stream>, name: Option<String>) -> (Stream, TlsInfo) {
    let info = info(stream.get_ref().1, name);
    (stream.into(), info)
}

fn info(session: &CommonState, server_name: Option<String>) -> TlsInfo {
    let certificates = session.peer_certificates().unwrap_or_default();
    TlsInfo {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| iana_name(suite.suite())),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        server_name,
        certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
    }
}

/// The name that the IANA registers; rustls marks those of TLS 1.3.
fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
