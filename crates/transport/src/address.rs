use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket. The path is empty at the end that was never bound: a client's. One that begins
    /// with a zero is a name without a file (Linux, "abstract"), in text `@name`.
    Unix(PathBuf),
}

impl Address {
    /// The address with an IPv4 address inside IPv6 (`::ffff:a.b.c.d`) written as IPv4, which is
    /// how a listener for both families sees its IPv4 clients.
    pub fn canonical(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => Address::Ip(SocketAddr::new(ip, address.port())),
            // As it is: a link-local address means nothing without its scope.
            IpAddr::V6(_) => Address::Ip(address),
        }
    }

    /// The IP address or the path as text.
    pub fn host(&self) -> Cow<'_, str> {
        match self {
            Address::Ip(address) => Cow::Owned(address.ip().to_string()),
            Address::Unix(path) => match self.abstract_name() {
                Some(name) => Cow::Owned(format!("@{name}")),
                None => path.to_string_lossy(),
            },
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// The IP address, where there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|address| address.ip())
    }

    /// The IP address and port, where there are any.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The name of a Unix socket that has no file.
    pub fn abstract_name(&self) -> Option<Cow<'_, str>> {
        let name = self.path()?.as_os_str().as_encoded_bytes().strip_prefix(b"\0")?;
        Some(String::from_utf8_lossy(name))
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Ip(_) => None,
            Address::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => fmt::Display::fmt(address, f),
            Address::Unix(_) => write!(f, "unix:{}", self.host()),
        }
    }
}

/// A text that is no address: neither `ip:port`, `[ipv6]:port`, `unix:/path` nor `unix:@name`.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an address (ip:port, [ipv6]:port, unix:/path or unix:@name): {}", self.0)
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        match text.strip_prefix("unix:") {
            Some("" | "@") => Err(invalid()),
            Some(text) if text.contains('\0') => Err(invalid()),
            Some(text) if text.starts_with('@') => {
                Ok(Address::Unix(format!("\0{}", &text[1..]).into()))
            }
            Some(path) => Ok(Address::Unix(path.into())),
            None => text.parse().map(Address::Ip).map_err(|_| invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_address_lead_to_each_other() {
        for text in ["127.0.0.1:80", "[::1]:443", "unix:/run/app.sock", "unix:@app"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "127.0.0.1",
            "::1:80:",
            "unix:",
            "unix:@",
            "unix:/a\0",
            "1.2.3.4:70000",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn host_and_port_are_those_of_the_address() {
        let ip: Address = "[::1]:443".parse().unwrap();
        assert_eq!((&*ip.host(), ip.port(), ip.path()), ("::1", Some(443), None));
        let unix: Address = "unix:/a".parse().unwrap();
        assert_eq!((&*unix.host(), unix.port(), unix.path()), ("/a", None, Some(Path::new("/a"))));
        assert_eq!(unix.abstract_name(), None);
        let name: Address = "unix:@a".parse().unwrap();
        assert_eq!((&*name.host(), name.path()), ("@a", Some(Path::new("\0a"))));
        assert_eq!(name.abstract_name().as_deref(), Some("a"));
    }

    #[test]
    fn a_mapped_address_is_written_as_ipv4_and_a_scope_is_kept() {
        let mapped = Address::canonical("[::ffff:10.0.0.1]:8".parse().unwrap());
        assert_eq!(mapped.to_string(), "10.0.0.1:8");
        let scoped: SocketAddr = "[fe80::1%3]:8".parse().unwrap();
        assert_eq!(Address::canonical(scoped), Address::Ip(scoped));
    }
}
