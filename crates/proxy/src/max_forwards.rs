//! How many hops a TRACE or an OPTIONS may still take (RFC 9110 §7.6.2).

use millrace_message::{Method, RequestHead};

use crate::Answer;

const NAME: &str = "max-forwards";

/// The answer to a request that is not to be forwarded any further.
pub(crate) fn last_hop(request: &RequestHead) -> Option<Answer> {
    if hops(request)? > 0 {
        return None;
    }
    // A TRACE would show a client what others put into its requests.
    Some(if request.method == Method::OPTIONS { Answer::new(200) } else { Answer::plain(405) })
}

/// Counts this hop.
pub(crate) fn forward(request: &mut RequestHead) {
    if let Some(hops) = hops(request) {
        let mut digits = itoa::Buffer::new();
        // Digits are a valid value.
        let _ = request.fields.set(NAME, digits.format(hops.saturating_sub(1)).as_bytes());
    }
}

fn hops(request: &RequestHead) -> Option<u64> {
    if request.method != Method::TRACE && request.method != Method::OPTIONS {
        return None;
    }
    std::str::from_utf8(request.fields.get(NAME)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &[u8], hops: &str) -> RequestHead {
        let mut head = RequestHead::new(Method::new(method).unwrap(), "/");
        head.fields.append(NAME, hops.as_bytes()).unwrap();
        head
    }

    #[test]
    fn the_last_hop_answers_and_those_before_count_down() {
        let status = |method: &[u8], hops| last_hop(&request(method, hops)).map(|a| a.head.status);
        assert_eq!(status(b"OPTIONS", "0"), Some(200));
        assert_eq!(status(b"TRACE", "0"), Some(405));
        for (method, hops, next) in [
            (&b"OPTIONS"[..], "2", "1"),
            (b"TRACE", "1", "0"),
            (b"GET", "0", "0"),
            (b"OPTIONS", "many", "many"),
        ] {
            let mut head = request(method, hops);
            assert!(last_hop(&head).is_none());
            forward(&mut head);
            assert_eq!(head.fields.get(NAME), Some(next.as_bytes()));
        }
    }
}
