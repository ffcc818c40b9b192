use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Address;

/// A set of addresses: networks of both families, and clients on Unix sockets or not.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    unix: bool,
}

/// A text that names no network, or perhaps another one than it was meant to.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidNetwork {
    /// It is none of what is allowed.
    NotOne(String),
    /// An IPv4 address in IPv6, with a prefix that holds more than IPv4.
    Mapped(String),
    /// Bits are set beyond the prefix.
    Beyond {
        /// What was given.
        text: String,
        /// Its address alone.
        address: IpAddr,
        /// The network that it is in.
        network: IpAddr,
        /// How many bits of it count.
        prefix: u32,
    },
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidNetwork::NotOne(text) => {
                write!(
                    f,
                    "neither an address, a network (10.0.0.0/8) nor one of their names: {text}"
                )
            }
            InvalidNetwork::Mapped(text) => {
                write!(f, "more than IPv4: {text}: {MAPPED}")
            }
            InvalidNetwork::Beyond { text, address, network, prefix } => {
                write!(f, "bits are set beyond the prefix: {text}: {network}/{prefix} or {address}")
            }
        }
    }
}

const MAPPED: &str =
    "::ffff:10.0.0.0/104 and the like, from /96 to /128, or the network of IPv4, 10.0.0.0/8";

impl InvalidNetwork {
    /// What would be allowed in its place; none where that is not known.
    pub fn allowed(&self) -> Option<String> {
        match self {
            InvalidNetwork::NotOne(_) => None,
            InvalidNetwork::Mapped(_) => Some(MAPPED.to_owned()),
            InvalidNetwork::Beyond { address, network, prefix, .. } => Some(format!(
                "{network}/{prefix} for the network, or {address} for the one address: no bits \
                 beyond the prefix"
            )),
        }
    }
}

impl std::error::Error for InvalidNetwork {}

impl Networks {
    /// Adds an address, a network in the notation of CIDR, or a name: `loopback`, `private` (RFC 1918
    /// and RFC 4193), `linklocal`, `unix`. Bits beyond the prefix have to be 0: whoever sets them has meant
    /// another network, or one address.
    pub fn add(&mut self, text: &str) -> Result<(), InvalidNetwork> {
        let networks: &[&str] = match text {
            "loopback" => &["127.0.0.0/8", "::1"],
            "private" => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
            "linklocal" => &["169.254.0.0/16", "fe80::/10"],
            "unix" => {
                self.unix = true;
                return Ok(());
            }
            text => &[text],
        };
        for network in networks {
            match network.parse()? {
                Network::V4(address, mask) => self.v4.push((address, mask)),
                Network::V6(address, mask) => self.v6.push((address, mask)),
            }
        }
        Ok(())
    }

    /// Whether this end of a connection is in it.
    pub fn contains(&self, address: &Address) -> bool {
        match address {
            Address::Ip(address) => self.contains_ip(address.ip()),
            Address::Unix(_) => self.unix,
        }
    }

    /// Whether this address is in it; one of IPv4 inside IPv6 counts as the one of IPv4.
    pub fn contains_ip(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let ip = ip.to_bits();
                self.v4.iter().any(|(network, mask)| ip & mask == *network)
            }
            IpAddr::V6(ip) => {
                let ip = ip.to_bits();
                self.v6.iter().any(|(network, mask)| ip & mask == *network)
            }
        }
    }
}

/// An address and the mask of its prefix.
enum Network {
    V4(u32, u32),
    V6(u128, u128),
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork::NotOne(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            // `parse` alone would take a sign.
            Some((address, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(digits.parse::<u32>().map_err(|_| invalid())?))
            }
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if given.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        if prefix > most {
            return Err(invalid());
        }
        // IPv4 inside IPv6 is IPv4; with a shorter prefix part of it would be IPv6, which nobody means by it.
        let (address, prefix) = match given.to_canonical() {
            inner if inner == given => (given, prefix),
            inner => match prefix.checked_sub(96) {
                Some(prefix) => (inner, prefix),
                None => return Err(InvalidNetwork::Mapped(text.to_owned())),
            },
        };
        let network = Network::of(address, prefix);
        if network.address() != address {
            let (text, network) = (text.to_owned(), network.address());
            return Err(InvalidNetwork::Beyond { text, address, network, prefix });
        }
        Ok(network)
    }
}

impl Network {
    /// The one that an address is in.
    fn of(address: IpAddr, prefix: u32) -> Self {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Network::V4(address.to_bits() & mask, mask)
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                Network::V6(address.to_bits() & mask, mask)
            }
        }
    }

    /// Its first.
    fn address(&self) -> IpAddr {
        match self {
            Network::V4(address, _) => Ipv4Addr::from_bits(*address).into(),
            Network::V6(address, _) => Ipv6Addr::from_bits(*address).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(all: &[&str]) -> Networks {
        let mut networks = Networks::default();
        for text in all {
            networks.add(text).unwrap();
        }
        networks
    }

    #[test]
    fn addresses_are_in_their_networks_and_in_no_others() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("10.1.2.3", &["10.1.2.3", "::ffff:10.1.2.3"], &["10.1.2.4", "::10.1.2.3"]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255"]),
            ("10.1.2.4/31", &["10.1.2.4", "10.1.2.5"], &["10.1.2.3", "10.1.2.6"]),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1", "2001:db8::1"]),
            ("::/0", &["::1", "2001:db8::1"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::1"]),
            ("::1", &["::1"], &["::2", "127.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.9.9.9", "::ffff:10.0.0.1"], &["11.0.0.0"]),
            ("loopback", &["127.9.9.9", "::1", "::ffff:127.0.0.1"], &["10.0.0.1", "::2"]),
            ("private", &["10.0.0.1", "172.31.0.1", "192.168.1.1", "fd00::1"], &["172.32.0.1"]),
            ("linklocal", &["169.254.1.1", "fe80::1"], &["169.253.1.1", "fec0::1"]),
            ("unix", &[], &["127.0.0.1", "::1"]),
        ];
        for (network, inside, outside) in table {
            let set = networks(&[network]);
            for address in *inside {
                assert!(set.contains_ip(address.parse().unwrap()), "{address} in {network}");
            }
            for address in *outside {
                assert!(!set.contains_ip(address.parse().unwrap()), "{address} in {network}");
            }
            assert_eq!(set.contains(&Address::Unix("/s".into())), *network == "unix");
        }
    }

    #[test]
    fn what_names_no_network_is_refused() {
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::1/129",
            "fe80::1%1",
            "10.0.0.1:80",
            "[::1]",
            " ::1",
            "Loopback",
            "10.0.0.0/8/8",
            "10.0.0.0/99999999999",
        ] {
            assert!(Networks::default().add(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_may_be_meant_otherwise_is_refused_with_what_would_be_right() {
        for (text, allowed) in [
            ("10.1.2.3/8", "10.0.0.0/8 for the network, or 10.1.2.3 for the one address"),
            ("10.0.0.0/0", "0.0.0.0/0 for the network, or 10.0.0.0 for the one"),
            ("10.0.0.1/31", "10.0.0.0/31 for"),
            ("2001:db8::1/32", "2001:db8::/32 for the network, or 2001:db8::1 for"),
            ("::1/0", "::/0 for"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8 for the network, or 10.1.2.3 for"),
            ("::ffff:10.0.0.0/8", "from /96 to /128, or the network of IPv4, 10.0.0.0/8"),
            ("::ffff:0.0.0.0/95", "from /96 to /128"),
        ] {
            let error = Networks::default().add(text).unwrap_err();
            assert!(error.allowed().unwrap().contains(allowed), "{text}: {error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        for text in ["::ffff:0.0.0.0/96", "::ffff:10.1.2.3/128", "10.1.2.3/32", "::1/128", "::/1"] {
            assert_eq!(Networks::default().add(text), Ok(()), "{text}");
        }
    }
}
