//! TLS: certificates, names and trust on both sides. Built on rustls, with ring for all its
//! cryptography.
//!
//! A [`ServerTls`] takes the handshakes of clients: it chooses a certificate by the name that they
//! ask for, out of a set that can be replaced at any time, or from a [`CertificateSource`]. A
//! [`ClientTls`] makes those with origins. Both are checked when they are made, so that what is
//! wrong with a certificate is told with the name of its option and never at the first handshake.

mod certificate;
mod client;
mod error;
mod handshake;
mod names;
mod options;
mod pem;
mod provider;
mod self_signed;
mod server;
mod source;
mod verify;
mod x509;

pub use certificate::{CertificateOptions, CertifiedCert};
pub use client::{ClientTls, ClientTlsOptions};
pub use error::{HandshakeError, TlsError};
pub use options::{ClientAuthMode, ClientAuthOptions, MinVersion, ServerTlsOptions};
pub use self_signed::self_signed;
pub use server::ServerTls;
pub use source::{CertificateSource, Finding};
