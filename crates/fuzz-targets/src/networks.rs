use std::net::IpAddr;

use millrace_transport::{InvalidNetwork, Networks};

/// A network in the notation of CIDR: its own address is in it, and in a network of one bit less, if that is
/// one. What is refused with what would be right is right so.
pub(crate) fn network(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut networks = Networks::default();
    if let Err(error) = networks.add(text) {
        if let InvalidNetwork::Beyond { address, network, prefix, .. } = error {
            let mut right = Networks::default();
            right.add(&format!("{network}/{prefix}")).unwrap();
            assert!(right.contains_ip(address));
        }
        return;
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let Ok(ip) = address.parse::<IpAddr>() else { return };
    let prefix = prefix.parse::<u8>().ok();
    // An IPv4 address in IPv6 belongs to IPv4, unless its prefix leaves a doubt of it.
    let least = if ip.to_canonical() == ip { 0 } else { 96 };
    assert!(prefix.is_none_or(|prefix| prefix >= least));
    assert!(networks.contains_ip(ip));
    let Some(prefix) = prefix.filter(|prefix| *prefix > least) else { return };
    let mut wider = Networks::default();
    // The bit that is left may be set.
    if wider.add(&format!("{address}/{}", prefix - 1)).is_ok() {
        assert!(wider.contains_ip(ip));
    }
}
