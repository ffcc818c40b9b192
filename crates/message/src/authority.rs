//! Hosts and ports (RFC 3986 §3.2).

/// A host with its port, if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host; an IPv6 address without its brackets.
    pub host: &'a str,
    /// The port; none if it is missing or empty.
    pub port: Option<u16>,
}

/// The parts of `host`, `host:port`, `[v6]` or `[v6]:port`; none if it is anything else, if the
/// host is empty, or if it names a user.
pub fn split_authority(authority: &[u8]) -> Option<Authority<'_>> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']')?;
            // A zone (`%eth0`) means nothing to another machine, and is refused with the rest.
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            if !is_reg_name(host.as_bytes()) {
                return None;
            }
            (host, rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some("") => None,
        // `parse` alone would take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    Some(Authority { host, port })
}

/// Whether `host` may stand in a Host field: a host that is not empty, with or without a port.
pub fn validate_host(host: &[u8]) -> bool {
    split_authority(host).is_some()
}

/// RFC 3986's reg-name, not empty. An IPv4 address is one too.
fn is_reg_name(host: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = host.get(at) {
        at += match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => 1,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => 1,
            b'%' if matches!(host.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit)) => {
                3
            }
            _ => return false,
        };
    }
    !host.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        type Case = (&'static str, Option<(&'static str, Option<u16>)>);
        let table: &[Case] = &[
            ("a", Some(("a", None))),
            ("a.b:80", Some(("a.b", Some(80)))),
            ("a:", Some(("a", None))),
            ("127.0.0.1:65535", Some(("127.0.0.1", Some(65535)))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:8080", Some(("::1", Some(8080)))),
            ("a%20b", Some(("a%20b", None))),
            ("a_b", Some(("a_b", None))),
            ("", None),
            (":80", None),
            ("a:65536", None),
            ("a:+80", None),
            ("a:-1", None),
            ("a:80:80", None),
            ("a:8 0", None),
            ("a b", None),
            ("a\t", None),
            ("a/b", None),
            ("a?b", None),
            ("a#b", None),
            ("a\\b", None),
            ("u@a", None),
            ("u:p@a", None),
            ("[::1", None),
            ("::1", None),
            ("[::1]x", None),
            ("[a]", None),
            ("[]", None),
            ("[fe80::1%25eth0]", None),
            ("a%2", None),
            ("a%zz", None),
            ("é", None),
            ("a\0", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(host, port)| Authority { host, port });
            assert_eq!(split_authority(text.as_bytes()), expected, "{text:?}");
        }
    }
}
