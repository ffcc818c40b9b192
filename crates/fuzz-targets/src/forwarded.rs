use millrace_http1::{HeadLimits, parse_request, write_request_head};
use millrace_proxy::Networks;
use millrace_proxy::fuzzing::forwarded as forwarded_head;

use crate::message::is_one_head;

/// What is said of the way of a request, by one who is trusted: what is passed on is one head.
pub(crate) fn forwarded(data: &[u8]) {
    let (first, value) = data.split_first().unwrap_or((&0, &[]));
    if let Ok(text) = std::str::from_utf8(value) {
        let _ = Networks::default().add(text);
    }
    let name = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via"];
    let name = name[usize::from(*first) % name.len()];
    let mut text = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: ").into_bytes();
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n\r\n");
    let Ok(Some((head, length))) = parse_request(&text, &HeadLimits::default()) else { return };
    if length != text.len() {
        return;
    }
    for head in forwarded_head(&head) {
        let mut out = Vec::new();
        write_request_head(&head, &mut out);
        is_one_head(&out);
        // It may be larger than what may come in.
        let free = HeadLimits { max_bytes: usize::MAX, max_fields: 256 };
        let (again, length) = parse_request(&out, &free).unwrap().unwrap();
        assert_eq!((&again, length), (&head, out.len()));
    }
}
