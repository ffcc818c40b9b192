use std::fmt;

use millrace_message::{validate_name, validate_value};

use crate::PeerAddress;

/// A proxy on the way to a peer. It is spoken to in the clear, and asked for a tunnel to the peer's
/// host and port (CONNECT, RFC 9110 §9.3.6): a name is resolved there and not here.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConnectProxy {
    address: PeerAddress,
    fields: Vec<(String, Vec<u8>)>,
}

/// A field that a proxy cannot be sent: it is not valid, or says how the message is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxyField(pub String);

/// Set here, or wrong in a message without a body.
const NOT_THEIRS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "expect"];

impl ConnectProxy {
    /// A proxy, and what it is sent beside Host: `Proxy-Authorization`, say.
    pub fn new(
        address: PeerAddress,
        fields: Vec<(String, Vec<u8>)>,
    ) -> Result<Self, InvalidProxyField> {
        for (name, value) in &fields {
            let is_own = NOT_THEIRS.iter().any(|own| name.eq_ignore_ascii_case(own));
            if is_own || !validate_name(name.as_bytes()) || !validate_value(value) {
                return Err(InvalidProxyField(name.clone()));
            }
        }
        Ok(ConnectProxy { address: address.normal(), fields })
    }

    /// Where it is.
    pub fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// Names and values of the fields it is sent.
    pub(crate) fn fields(&self) -> &[(String, Vec<u8>)] {
        &self.fields
    }
}

impl fmt::Debug for ConnectProxy {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ConnectProxy")
            .field("address", &self.address)
            .field("fields", &names)
            .finish()
    }
}

impl fmt::Display for InvalidProxyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a field that a proxy can be sent: {:?}", self.0)
    }
}

impl std::error::Error for InvalidProxyField {}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(name: &str, value: &str) -> Result<ConnectProxy, InvalidProxyField> {
        let fields = vec![(name.to_owned(), value.as_bytes().to_vec())];
        ConnectProxy::new(PeerAddress::host("p", 3128), fields)
    }

    #[test]
    fn fields_that_would_break_the_message_are_refused() {
        for (name, value) in [
            ("Host", "a"),
            ("content-length", "0"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
            ("a b", "c"),
            ("", "c"),
            ("a", "b\r\nc: d"),
            ("a", " b"),
        ] {
            assert_eq!(proxy(name, value), Err(InvalidProxyField(name.to_owned())), "{value}");
        }
        assert!(proxy("Proxy-Authorization", "Basic eA==").is_ok());
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", proxy("Proxy-Authorization", "Basic secret").unwrap());
        assert!(shown.contains("Proxy-Authorization") && !shown.contains("secret"), "{shown}");
    }
}
