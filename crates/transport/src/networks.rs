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

/// A text that names no network.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidNetwork(String);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "neither an address, a network (10.0.0.0/8) nor one of their names: {}", self.0)
    }
}

impl std::error::Error for InvalidNetwork {}

impl Networks {
    /// Adds an address, a network in the notation of CIDR, or a name: `loopback`, `private` (RFC 1918
    /// and RFC 4193), `linklocal`, `unix`. Bits beyond the prefix do not count.
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
                Network::V4(address, mask) => self.v4.push((address & mask, mask)),
                Network::V6(address, mask) => self.v6.push((address & mask, mask)),
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
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            // `parse` alone would take a sign.
            Some((address, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(digits.parse::<u32>().map_err(|_| invalid())?))
            }
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let v4 = |address: Ipv4Addr, prefix: u32| {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Network::V4(address.to_bits(), mask)
        };
        match (address.parse().map_err(|_| invalid())?, prefix) {
            (IpAddr::V4(address), None) => Ok(v4(address, 32)),
            (IpAddr::V4(address), Some(prefix @ 0..=32)) => Ok(v4(address, prefix)),
            (IpAddr::V6(address), prefix @ (None | Some(0..=128))) => {
                let prefix = prefix.unwrap_or(128);
                match address.to_ipv4_mapped() {
                    // IPv4 inside IPv6, where the prefix leaves no doubt of it.
                    Some(address) if prefix >= 96 => Ok(v4(address, prefix - 96)),
                    _ => Ok(v6(address, prefix)),
                }
            }
            _ => Err(invalid()),
        }
    }
}

fn v6(address: Ipv6Addr, prefix: u32) -> Network {
    Network::V6(address.to_bits(), u128::MAX.checked_shl(128 - prefix).unwrap_or(0))
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
            ("10.1.2.3/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255"]),
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
}
