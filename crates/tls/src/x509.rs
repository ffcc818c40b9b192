//! What rustls does not tell of a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The dates and names of a certificate.
pub(crate) struct Facts {
    not_before: Duration,
    not_after: Duration,
    /// The DNS names it is for, in lower case; `*.` before those for one more label.
    pub(crate) names: Vec<String>,
}

/// When a certificate may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Now.
    Now,
    /// Not any more.
    Expired,
    /// Later.
    NotYet,
}

impl Facts {
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
        let content = certificate.tbs_certificate;
        let mut names = Vec::new();
        let alternatives = content.get::<SubjectAltName>().map_err(|error| error.to_string())?;
        for name in alternatives.into_iter().flat_map(|(_, alternatives)| alternatives.0) {
            if let GeneralName::DnsName(name) = name {
                names.push(name.as_str().to_ascii_lowercase());
            }
        }
        Ok(Facts {
            not_before: content.validity.not_before.to_unix_duration(),
            not_after: content.validity.not_after.to_unix_duration(),
            names,
        })
    }

    pub(crate) fn validity(&self, at: Duration) -> Validity {
        if at < self.not_before {
            Validity::NotYet
        } else if at > self.not_after {
            Validity::Expired
        } else {
            Validity::Now
        }
    }

    pub(crate) fn validity_now(&self) -> Validity {
        self.validity(now())
    }

    /// The last moment that it is valid.
    pub(crate) fn end(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(self.not_after).unwrap_or(UNIX_EPOCH)
    }
}

/// Since 1970, before which no certificate was valid.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
