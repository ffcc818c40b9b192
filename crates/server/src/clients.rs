use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use millrace_transport::Address;
use parking_lot::Mutex;

/// How many connections one client may have open at a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimit {
    /// Connections at once; further ones are closed.
    pub most: usize,
    /// How many bits of an IPv6 address tell one client from another. A client has a whole network of
    /// them, mostly a /64, so that the address alone would be no limit.
    pub v6_prefix: u8,
}

impl ClientLimit {
    /// Clients of IPv6 are told apart by their /64.
    pub fn new(most: usize) -> Self {
        ClientLimit { most, v6_prefix: 64 }
    }

    fn client(&self, ip: IpAddr) -> IpAddr {
        match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let host = 128 - u32::from(self.v6_prefix.min(128));
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
            ip => ip,
        }
    }
}

/// The connections that each client has. It holds no more clients than there are connections.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) limit: ClientLimit,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Clients {
    pub(crate) fn new(limit: ClientLimit) -> Self {
        Clients { limit, open: Arc::default() }
    }

    /// A place for another connection of a client; an error if it has none left. Clients on Unix sockets
    /// have no address that tells them apart, and no limit.
    pub(crate) fn seat(&self, client: &Address) -> Result<Option<Seat>, TooMany> {
        let Some(ip) = client.ip() else { return Ok(None) };
        let client = self.limit.client(ip);
        let mut open = self.open.lock();
        let count = open.entry(client).or_insert(0);
        if *count >= self.limit.most {
            return Err(TooMany);
        }
        *count += 1;
        drop(open);
        Ok(Some(Seat { client, open: self.open.clone() }))
    }
}

/// The client has as many connections as it may.
pub(crate) struct TooMany;

/// A connection of a client, until it is dropped.
pub(crate) struct Seat {
    client: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_address_and_by_prefix() {
        let limit = ClientLimit::new(1);
        let client = |ip: &str, prefix| {
            ClientLimit { v6_prefix: prefix, ..limit }.client(ip.parse().unwrap()).to_string()
        };
        for (ip, prefix, expected) in [
            ("10.0.0.1", 64, "10.0.0.1"),
            ("::ffff:10.0.0.1", 64, "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
            ("2001:db8::1", 128, "2001:db8::1"),
            ("2001:db8::1", 0, "::"),
        ] {
            assert_eq!(client(ip, prefix), expected, "{ip}/{prefix}");
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends_and_nothing_is_kept() {
        let clients = Clients::new(ClientLimit::new(2));
        let seat = |text: &str| clients.seat(&text.parse().unwrap());
        let (first, second) = (seat("10.0.0.1:1").ok(), seat("10.0.0.1:2").ok());
        assert!(seat("10.0.0.1:3").is_err() && seat("10.0.0.2:3").is_ok());
        assert!(matches!(seat("unix:/a"), Ok(None)));
        drop(first);
        drop(seat("10.0.0.1:3").ok().unwrap());
        drop(second);
        assert!(clients.open.lock().is_empty());
    }
}
