use crate::connection::is_hop_by_hop;
use crate::is_forwarding;

/// Whether a field may come after the body. Those that say how the message is framed, routed, read
/// or cached may not: by then the decision is made (RFC 9110 §6.5.1).
pub fn allowed_in_trailers(name: &[u8]) -> bool {
    const REFUSED: [&str; 27] = [
        "content-length",
        "host",
        "trailer",
        "content-encoding",
        "content-type",
        "content-range",
        "cache-control",
        "expect",
        "max-forwards",
        "pragma",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "authorization",
        "www-authenticate",
        "cookie",
        "set-cookie",
        "age",
        "date",
        "expires",
        "location",
        "retry-after",
        "vary",
        "warning",
    ];
    !is_hop_by_hop(name)
        && !is_forwarding(name)
        && !REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_carry_no_framing() {
        for name in [
            "Transfer-Encoding",
            "Content-Length",
            "host",
            "TE",
            "Set-Cookie",
            "Trailer",
            "X_Forwarded_For",
        ] {
            assert!(!allowed_in_trailers(name.as_bytes()), "{name}");
        }
        assert!(allowed_in_trailers(b"grpc-status") && allowed_in_trailers(b"Digest"));
    }
}
