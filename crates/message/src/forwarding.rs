//! Fields that say where a request comes from: whoever sends one, claims it.

/// Whether a field is Forwarded, X-Real-IP or one of X-Forwarded-*. An underscore counts as a hyphen: to
/// many an origin (CGI, WSGI) they are the same.
pub fn is_forwarding(name: &[u8]) -> bool {
    // Asked for every field of every request.
    match name.first() {
        Some(b'f' | b'F') => is_alike(name, "forwarded"),
        Some(b'x' | b'X') if name.len() >= 9 => {
            forwarding_suffix(name).is_some() || is_alike(name, "x-real-ip")
        }
        _ => false,
    }
}

/// What follows `X-Forwarded-` in a name.
pub fn forwarding_suffix(name: &[u8]) -> Option<&[u8]> {
    const START: &str = "x-forwarded-";
    let (start, suffix) = name.split_at_checked(START.len())?;
    is_alike(start, START).then_some(suffix)
}

fn is_alike(name: &[u8], known: &str) -> bool {
    let same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
    name.len() == known.len() && name.iter().zip(known.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_all_the_ways_they_are_written() {
        for name in [
            "Forwarded",
            "FORWARDED",
            "x-forwarded-for",
            "X_Forwarded_For",
            "X-Forwarded-Anything",
            "x-forwarded-",
            "X-Real-IP",
            "x_real-ip",
        ] {
            assert!(is_forwarding(name.as_bytes()), "{name}");
        }
        for name in
            ["", "x", "forwarded-for", "x-forwarded", "x-real-ips", "xx-forwarded-for", "from"]
        {
            assert!(!is_forwarding(name.as_bytes()), "{name}");
        }
        assert_eq!(forwarding_suffix(b"X_FORWARDED-For"), Some(&b"For"[..]));
    }
}
