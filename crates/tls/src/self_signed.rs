use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use crate::TlsError;

/// How long it is valid.
const VALID: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far the clocks of others may be behind.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// A certificate that has signed itself, for names and IP addresses, and its key, in PEM. It is
/// valid for a year, and trusted by nobody who was not told to.
pub fn self_signed(names: &[String]) -> Result<(String, String), TlsError> {
    let wrong = |error: rcgen::Error| TlsError::new("names", error.to_string());
    let mut params = CertificateParams::new(names).map_err(wrong)?;
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + VALID).into();
    params.distinguished_name.push(DnType::CommonName, "millrace self-signed");
    // Without it clients that were told to trust it do not take it for the authority that it needs.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.self_signed(&key).map_err(wrong)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CertifiedCert;

    #[test]
    fn it_can_be_shown_for_its_names() {
        let (cert, key) = self_signed(&["Localhost".into(), "127.0.0.1".into()]).unwrap();
        let read = CertifiedCert::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(&*read.names, ["localhost"]);
        assert_eq!(self_signed(&["nö".into()]).unwrap_err().field, "names");
    }
}
