use std::error::Error;
use std::fmt;
use std::io;

use rustls::{CertificateError, Error as Tls};

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The option, by its name in the public API: `certificates[0].key`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl TlsError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        TlsError { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Error for TlsError {}

/// A handshake that came to nothing.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection failed or ended.
    Io(io::Error),
    /// The two sides do not agree, or one does not trust the other.
    Tls(Tls),
    /// The host is no name that a certificate could be for.
    Name(String),
    /// It took too long.
    TimedOut,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Tls>() {
            Ok(error) => HandshakeError::Tls(error),
            Err(error) => HandshakeError::Io(error),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Io(error) => error.fmt(f),
            HandshakeError::Tls(Tls::InvalidCertificate(error)) => {
                write!(f, "{}: {error}", failed_check(error))
            }
            HandshakeError::Tls(error) => error.fmt(f),
            HandshakeError::Name(name) => write!(f, "not a name for a certificate: {name:?}"),
            HandshakeError::TimedOut => f.write_str("the handshake took too long"),
        }
    }
}

impl Error for HandshakeError {}

/// Which check a certificate did not pass, in the words of the options.
fn failed_check(error: &CertificateError) -> &'static str {
    use CertificateError::*;
    match error {
        Expired | ExpiredContext { .. } => "the certificate has expired",
        NotValidYet | NotValidYetContext { .. } => "the certificate is not valid yet",
        UnknownIssuer => "no trusted ca has signed the certificate",
        NotValidForName | NotValidForNameContext { .. } => "the certificate is for another name",
        InvalidPurpose | InvalidPurposeContext { .. } => "the certificate is for another purpose",
        BadSignature => "the certificate's signature is wrong",
        // What a certificate that has signed itself is to those who trust others.
        Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is an authority's own, or has signed itself"
        }
        _ => "the certificate is not valid",
    }
}
