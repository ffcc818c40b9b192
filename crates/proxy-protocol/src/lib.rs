//! The PROXY protocol, versions 1 and 2: headers in front of a connection by which a proxy says whose it is.
//!
//! [`parse`] reads one, [`missing`] says how much may be read before it without reading past its end,
//! [`write`] makes one. No sockets.

mod checksum;
mod v1;
mod v2;

use std::fmt;

use millrace_transport::Address;

/// Which way a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// The two ends of the connection that a header is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Who connected.
    pub client: Address,
    /// Where the client connected to.
    pub server: Address,
}

/// What a header says: whose the connection is; none if it is the sender's own, or not said.
pub type Said = Option<Addresses>;

/// What is no header. It cannot become one by bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no header of the PROXY protocol: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The longest header that is read, in bytes. One of version 1 has at most 107; one of version 2 may say
/// 65,551, of which nobody needs more than this: addresses and a few fields.
pub const LONGEST: usize = 4096;

/// Reads the header that `bytes` begin with: what it says and how long it is; none while it is not all
/// there. Whatever is malformed is refused as soon as it can be.
pub fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(_) => v2::parse(bytes),
    }
}

/// How many bytes a header that begins like this lacks at least: as many can be read, and none of them is
/// behind it. At least one where `parse` finds that it is not all there.
pub fn missing(bytes: &[u8]) -> usize {
    let missing = match bytes.first() {
        // The shortest of version 1; one of version 2 is longer.
        None => v1::SHORTEST,
        Some(b'P') => v1::missing(bytes),
        Some(_) => v2::missing(bytes),
    };
    missing.max(1)
}

/// A header for a connection of a client, or for one of the sender's own. Addresses of different families
/// are both written as IPv6; what a version has no words for is left out: Unix sockets in version 1.
pub fn write(version: Version, said: Option<&Addresses>) -> Vec<u8> {
    match version {
        Version::V1 => v1::write(said),
        Version::V2 => v2::write(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, server: &str) -> Addresses {
        Addresses { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[test]
    fn what_is_written_is_read_again_however_it_is_cut() {
        for (client, server) in [
            ("192.0.2.1:56324", "198.51.100.7:443"),
            ("[2001:db8::1]:1", "[::1]:65535"),
            ("0.0.0.0:0", "255.255.255.255:0"),
        ] {
            let ends = ends(client, server);
            for version in [Version::V1, Version::V2] {
                let header = write(version, Some(&ends));
                for cut in 0..header.len() {
                    assert_eq!(parse(&header[..cut]), Ok(None), "{version:?} {cut}");
                    assert!((1..=header.len() - cut).contains(&missing(&header[..cut])));
                }
                let whole = [&header[..], b"PROXY GET"].concat();
                assert_eq!(parse(&whole), Ok(Some((Some(ends.clone()), header.len()))));
            }
        }
    }

    #[test]
    fn the_senders_own_connection_is_nobody_elses() {
        for version in [Version::V1, Version::V2] {
            let header = write(version, None);
            assert_eq!(parse(&header), Ok(Some((None, header.len()))));
        }
    }

    #[test]
    fn families_that_differ_are_written_as_ipv6_and_read_as_what_they_are() {
        let mixed = ends("192.0.2.1:5", "[2001:db8::1]:80");
        for version in [Version::V1, Version::V2] {
            let header = write(version, Some(&mixed));
            assert_eq!(parse(&header), Ok(Some((Some(mixed.clone()), header.len()))));
        }
        assert!(write(Version::V1, Some(&mixed)).starts_with(b"PROXY TCP6 ::ffff:192.0.2.1 "));
    }

    #[test]
    fn unix_sockets_are_said_in_version_2_and_not_in_version_1() {
        let ends = ends("unix:/client", "unix:/run/app.sock");
        let header = write(Version::V2, Some(&ends));
        assert_eq!(header.len(), 16 + 216);
        assert_eq!(parse(&header), Ok(Some((Some(ends.clone()), header.len()))));
        assert_eq!(write(Version::V1, Some(&ends)), b"PROXY UNKNOWN\r\n");
        let mixed = Addresses { client: "1.2.3.4:5".parse().unwrap(), ..ends };
        assert_eq!(parse(&write(Version::V2, Some(&mixed))), Ok(Some((None, 16))));
    }
}
