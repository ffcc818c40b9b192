use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address, with its port if there is one, that an entry of X-Forwarded-For or the `for` of
/// Forwarded names: `a.b.c.d`, `v6`, `[v6]`, each of the first and the last with or without a port.
/// None for `unknown`, for what hides behind a word (RFC 7239 §6.3), and for anything else. Port 0
/// stands for none.
pub(crate) fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if rest.is_empty() { 0 } else { port(rest.strip_prefix(':')?)? };
        return Some(SocketAddr::new(IpAddr::V6(address).to_canonical(), port));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    let (address, digits) = text.rsplit_once(':')?;
    // An IPv6 address has to be in brackets to have a port.
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    Some(SocketAddr::new(address.into(), port(digits)?))
}

fn port(digits: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_ports() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:47011", Some("192.0.2.1:47011")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:47011", Some("[2001:db8::1]:47011")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("[::ffff:192.0.2.1]:1", Some("192.0.2.1:1")),
            ("", None),
            ("unknown", None),
            ("_hidden", None),
            ("_hidden:80", None),
            ("192.0.2.1:_port", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:+80", None),
            ("192.0.2.1:65536", None),
            ("192.0.2", None),
            ("192.0.2.01", None),
            ("192.0.2.1 ", None),
            ("[192.0.2.1]", None),
            ("[::1]80", None),
            ("[::1", None),
            ("[fe80::1%1]", None),
            ("fe80::1%eth0", None),
            ("\"192.0.2.1\"", None),
            ("client.example", None),
            ("\u{0661}92.0.2.1", None),
        ] {
            let expected = expected.map(|text| text.parse::<SocketAddr>().unwrap());
            assert_eq!(node(text.as_bytes()), expected, "{text:?}");
        }
    }
}
