use std::net::IpAddr;

use millrace_transport::Networks;

/// A network in the notation of CIDR: its own address is in it, and in a network of one bit less.
pub(crate) fn network(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut networks = Networks::default();
    if networks.add(text).is_err() {
        return;
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let Ok(ip) = address.parse::<IpAddr>() else { return };
    let prefix = prefix.parse::<u8>().ok();
    // An IPv4 address in IPv6 belongs to IPv4, unless its prefix leaves a doubt of it.
    let least = if ip.to_canonical() == ip { 0 } else { 96 };
    if prefix.is_some_and(|prefix| prefix < least) {
        return;
    }
    assert!(networks.contains_ip(ip));
    let Some(prefix) = prefix.filter(|prefix| *prefix > least) else { return };
    let mut wider = Networks::default();
    wider.add(&format!("{address}/{}", prefix - 1)).unwrap();
    assert!(wider.contains_ip(ip));
}
