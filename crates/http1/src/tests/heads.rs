use std::fmt::Write;

use millrace_message::{Method, Version};

use super::{request, response};
use crate::{HeadLimits, ParseError, head_may_end, parse_request, parse_response};

#[test]
fn a_request_is_taken_apart() {
    let text = "POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nx-Space: \t a b \t\r\nX-Empty: \r\n\r\nbody";
    let (head, length) = request(text).unwrap();
    assert_eq!(length, text.len() - 4);
    assert_eq!((head.method.clone(), head.version), (Method::POST, Version::Http11));
    assert_eq!(head.target, b"/a/b?c=d");
    let fields: Vec<_> = head.fields.iter().collect();
    let expected: [(&[u8], &[u8]); 4] =
        [(b"Host", b"h"), (b"X-Empty", b""), (b"x-Space", b"a b"), (b"X-Empty", b"")];
    assert_eq!(fields, expected);
    assert_eq!(head.fields.text_len(), 4 + 1 + 7 + 7 + 3 + 7);
}

#[test]
fn a_response_is_taken_apart() {
    let table = [
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", 200, None, Version::Http11, 1),
        ("HTTP/1.1 200 Fine\r\n\r\n", 200, Some("Fine"), Version::Http11, 0),
        ("HTTP/1.1 404 \r\n\r\n", 404, None, Version::Http11, 0),
        ("HTTP/1.0 299\r\n\r\n", 299, None, Version::Http10, 0),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 100, None, Version::Http11, 0),
        ("HTTP/1.1 999 Odd one\r\n\r\n", 999, Some("Odd one"), Version::Http11, 0),
    ];
    for (text, status, reason, version, fields) in table {
        let (head, length) = response(text).unwrap();
        assert_eq!((head.status, head.reason.as_deref()), (status, reason), "{text:?}");
        assert_eq!((head.version, head.fields.len()), (version, fields), "{text:?}");
        assert!(text[..length].ends_with("\r\n\r\n"));
    }
}

#[test]
fn every_form_of_target() {
    for line in [
        "GET / HTTP/1.1",
        "GET /a%20b?c=|\"<>^{}\\ HTTP/1.0",
        "GET http://h/p HTTP/1.1",
        "GET HTTPS://[::1]:1 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "OPTIONS http://h HTTP/1.1",
        "CONNECT h:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "M-SEARCH / HTTP/1.1",
    ] {
        assert!(request(&format!("{line}\r\nHost: h\r\n\r\n")).is_ok(), "{line}");
    }
}

#[test]
fn a_target_is_ascii() {
    for target in ["/\u{e9}", "/?\u{e9}", "http://h/\u{20ac}", "/\u{1f600}"] {
        let refused = request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(matches!(refused, Err(ParseError::BadRequest(_))), "{target}");
    }
}

#[test]
fn a_few_empty_lines_may_come_first() {
    for count in 0..=4 {
        let text = format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(count));
        assert_eq!(request(&text).unwrap().1, text.len());
    }
    let text = format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(5));
    assert!(matches!(request(&text), Err(ParseError::BadRequest(_))));
    assert_eq!(parse_request(b"\r\n", &HeadLimits::default()), Ok(None));
}

#[test]
fn lengths_that_agree_leave_as_one() {
    for (fields, expected) in [
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n", &["5"][..]),
        ("Content-Length: 5, 5\r\n", &["5"]),
        ("Content-Length: 5,05\r\n", &["5"]),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", &["5", "6"]),
        ("Content-Length: 5,\r\n", &["5,"]),
        ("Content-Length: 5\r\nContent-Length:\r\n", &["5", ""]),
    ] {
        let (head, _) = request(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).unwrap();
        let lengths: Vec<_> = head.fields.get_all("content-length").collect();
        let expected: Vec<_> = expected.iter().map(|text| text.as_bytes()).collect();
        assert_eq!(lengths, expected, "{fields}");
    }
}

fn many(count: usize) -> String {
    (0..count).fold(String::new(), |mut all, n| {
        let _ = write!(all, "x-{n}: {n}\r\n");
        all
    })
}

#[test]
fn the_number_of_fields_is_limited_exactly() {
    for max_fields in [0, 1, 127, 128, 129, 300] {
        let limits = HeadLimits { max_fields, ..HeadLimits::default() };
        let text = |count| format!("GET / HTTP/1.1\r\n{}\r\n", many(count));
        let (head, _) = parse_request(text(max_fields).as_bytes(), &limits).unwrap().unwrap();
        assert_eq!(head.fields.len(), max_fields);
        let more = parse_request(text(max_fields + 1).as_bytes(), &limits);
        assert!(matches!(more, Err(ParseError::TooLarge(_))), "{max_fields}");
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", many(max_fields));
        let (head, _) = parse_response(text.as_bytes(), &limits).unwrap().unwrap();
        assert_eq!(head.fields.len(), max_fields);
    }
}

#[test]
fn the_size_of_the_head_is_limited_exactly() {
    let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let limits = |max_bytes| HeadLimits { max_bytes, ..HeadLimits::default() };
    let body = [&text[..], &[b'x'; 1000]].concat();
    assert!(parse_request(&body, &limits(text.len())).unwrap().is_some());
    let larger = limits(text.len() - 1);
    assert_eq!(parse_request(&text[..text.len() - 2], &larger), Ok(None));
    for buf in [&text[..text.len() - 1], text, &body] {
        assert!(matches!(parse_request(buf, &larger), Err(ParseError::TooLarge(_))));
    }
    let endless = [&b"HTTP/1.1 200 "[..], &[b'x'; 1000]].concat();
    assert!(matches!(parse_response(&endless, &limits(1000)), Err(ParseError::TooLarge(_))));
    assert!(matches!(parse_request(b"\r\n", &limits(2)), Err(ParseError::TooLarge(_))));
}

#[test]
fn a_head_is_parsed_again_only_when_it_may_end() {
    let limits = HeadLimits::default();
    let text = b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    for step in 1..text.len() {
        let (mut seen, mut parses, mut end) = (0, 0, 0);
        while end < text.len() {
            end = (end + step).min(text.len());
            if head_may_end(&text[..end], seen, &limits) {
                parses += 1;
                let done = parse_request(&text[..end], &limits).unwrap().is_some();
                assert_eq!(done, end == text.len());
            }
            seen = end;
        }
        assert!((1..=2).contains(&parses), "{step}: {parses}");
    }
}
