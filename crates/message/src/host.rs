use crate::{RequestHead, Version, validate_host};

/// Refuses a request whose Host is missing, ambiguous or not a host (RFC 9112 §3.2): two parties
/// that read it differently would route or cache it differently.
///
/// HTTP/1.1 needs exactly one, and so does HTTP/2, where it is the authority (RFC 9113 §8.3.1);
/// HTTP/1.0 may have none. A target in absolute form has to
/// come with a Host field too, but only the target's own authority counts.
pub fn check_host(head: &RequestHead) -> Result<(), &'static str> {
    let mut hosts = head.fields.get_all("host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("more than one Host");
    }
    if let Some(authority) = head.target_authority()
        && !validate_host(authority)
    {
        return Err("the target's host is not valid");
    }
    match host {
        Some(host) if !validate_host(host) => Err("Host is not valid"),
        None if head.version != Version::Http10 => Err("no Host"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn check(version: Version, target: &str, hosts: &[&str]) -> Result<(), &'static str> {
        let mut head = RequestHead::new(Method::GET, target);
        head.version = version;
        for host in hosts {
            head.fields.append("Host", host.as_bytes()).unwrap();
        }
        check_host(&head)
    }

    #[test]
    fn one_valid_host() {
        for version in [Version::Http10, Version::Http11, Version::H2] {
            assert!(check(version, "/", &["a:80"]).is_ok());
            assert!(check(version, "/", &["a", "a"]).is_err());
            for bad in ["", "a b", "a,b", "u@a", "a/", "a:x", "[::1"] {
                // A comma is a legal byte of a registered name.
                assert_eq!(check(version, "/", &[bad]).is_err(), bad != "a,b", "{bad}");
            }
        }
        assert!(check(Version::Http11, "/", &[]).is_err());
        assert!(check(Version::Http10, "/", &[]).is_ok());
        assert!(check(Version::H2, "/", &[]).is_err());
    }

    #[test]
    fn an_absolute_target_needs_host_too() {
        assert!(check(Version::Http11, "http://a/", &["b"]).is_ok());
        assert!(check(Version::Http11, "http://a/", &[]).is_err());
        assert!(check(Version::Http11, "http://a/", &["b", "a"]).is_err());
        assert!(check(Version::Http11, "http://a b/", &["b"]).is_err());
        assert!(check(Version::Http10, "http://a/", &[]).is_ok());
    }
}
