use std::io;

use tokio_rustls::rustls::{AlertDescription, Error};

/// Whether this error of a read says that the other side has refused the handshake, which on this
/// side was done. In TLS 1.3 a server looks at its client's certificate when that may send already;
/// it has read nothing of what was sent then (RFC 8446 §4.4.2.4, §6.2).
pub fn is_handshake_refusal(error: &io::Error) -> bool {
    use AlertDescription::*;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::AlertReceived(alert)) = inner else { return false };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alerts_about_the_handshake_refuse_it() {
        let received =
            |alert| io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert));
        for alert in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA] {
            assert!(is_handshake_refusal(&received(alert)));
        }
        for alert in [AlertDescription::InternalError, AlertDescription::BadRecordMac] {
            assert!(!is_handshake_refusal(&received(alert)));
        }
        // Ours, of what the other side has sent.
        assert!(!is_handshake_refusal(&io::Error::other(Error::DecryptError)));
        assert!(!is_handshake_refusal(&io::ErrorKind::ConnectionReset.into()));
    }
}
