/// What a TLS handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The protocol that was agreed on by ALPN, such as `h2`; none if none was.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The other side's certificates in DER, its own first; empty if it showed none.
    pub certificates: Vec<Vec<u8>>,
}

impl TlsInfo {
    /// Whether HTTP/2 was agreed on.
    pub fn is_h2(&self) -> bool {
        self.alpn.as_deref() == Some(b"h2")
    }
}
