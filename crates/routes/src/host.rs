use std::net::Ipv6Addr;

use millrace_message::{Authority, split_authority};

use crate::pattern::{InvalidPattern, invalid};

/// A set of hosts: `a.example`, or `*.example` for all names beneath it. Case and ports do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(Box<str>),
    /// An address of IPv6, in whatever way it is written.
    V6(Ipv6Addr),
    /// What ends with this, which begins with a dot.
    Beneath(Box<str>),
}

impl HostPattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        const ALLOWED: &str = "a host without a port, or *. and a domain";
        let (name, is_open) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let Some(Authority { host, port: None }) = split_authority(name.as_bytes()) else {
            return invalid(ALLOWED);
        };
        let is_v6 = name.starts_with('[');
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if name.ends_with(':') || host.contains('*') || host.is_empty() || host.starts_with('.') {
            return invalid(ALLOWED);
        }
        match host.parse() {
            Ok(address) if is_v6 && !is_open => Ok(HostPattern::V6(address)),
            _ if is_v6 => invalid(ALLOWED),
            _ if is_open => Ok(HostPattern::Beneath(format!(".{host}").into())),
            _ => Ok(HostPattern::Exact(host.into())),
        }
    }

    /// Whether a host, without its port and brackets, is in the set.
    pub fn matches(&self, host: &str) -> bool {
        // The dot at the end of a name that is spelt out to the root.
        let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
        match self {
            HostPattern::Exact(name) => name.as_bytes().eq_ignore_ascii_case(host),
            HostPattern::V6(address) => {
                std::str::from_utf8(host).is_ok_and(|host| host.parse() == Ok(*address))
            }
            HostPattern::Beneath(end) => {
                let at = host.len().checked_sub(end.len()).filter(|at| *at > 0);
                at.is_some_and(|at| host[at..].eq_ignore_ascii_case(end.as_bytes()))
            }
        }
    }

    /// Whether every host of `other` is in this set.
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Beneath(_), HostPattern::Exact(name)) => self.matches(name),
            (HostPattern::Beneath(end), HostPattern::Beneath(other)) => other.ends_with(&**end),
            _ => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_their_hosts() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "A.example",
                &["a.example", "A.EXAMPLE", "a.example."],
                &["b.a.example", "a.example.."],
            ),
            ("a.example.", &["a.example"], &[""]),
            (
                "*.a.example",
                &["x.a.example", "x.y.A.example."],
                &["a.example", ".a.example", "xa.example"],
            ),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.10"]),
            ("[::1]", &["::1", "0:0::1"], &["::2", "x"]),
        ];
        for (text, inside, outside) in table {
            let pattern = HostPattern::new(text).unwrap();
            for host in *inside {
                assert!(pattern.matches(host), "{host} in {text}");
            }
            for host in *outside {
                assert!(!pattern.matches(host), "{host} in {text}");
            }
        }
        for text in [
            "", "*", "*.", "a:80", "a:", "a b", "a.*.b", "**.a", "u@a", "*.[::1]", "::1", "a/",
            ".", "*..a",
        ] {
            assert!(HostPattern::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn patterns_cover_what_they_take_everything_of() {
        for (one, other, covers) in [
            ("a.b", "A.b", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", "*.a.b", true),
            ("*.a.b", "*.b", false),
            ("*.b", "*.ab", false),
            ("a.b", "*.b", false),
        ] {
            let pattern = |text| HostPattern::new(text).unwrap();
            assert_eq!(pattern(one).covers(&pattern(other)), covers, "{one} {other}");
        }
    }
}
