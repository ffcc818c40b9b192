use super::bodies::{decode, every_cut};
use crate::{Framing, ParseError};

#[test]
fn trailers_follow_the_last_chunk() {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("A: b\r\n", &[("A", "b")]),
        ("A: b\r\nC:\r\na: d\r\n", &[("A", "b"), ("C", ""), ("a", "d")]),
        // Those that frame, route or read the message are left out.
        ("Content-Length: 5\r\nA: b\r\nHost: x\r\n", &[("A", "b")]),
        ("Transfer-Encoding: chunked\r\nTE: x\r\nTrailer: a\r\nConnection: close\r\n", &[]),
    ];
    for (fields, expected) in table {
        let input = format!("3\r\nabc\r\n0\r\n{fields}\r\nnext");
        let body = every_cut(Framing::Chunked, input.as_bytes()).unwrap();
        assert!(body.done && body.data == b"abc" && body.rest == b"next", "{fields:?}");
        let trailers = body.trailers.unwrap_or_default();
        let expected: Vec<_> = expected.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        assert_eq!(trailers.iter().collect::<Vec<_>>(), expected, "{fields:?}");
    }
}

#[test]
fn trailers_are_as_strict_as_heads() {
    for fields in [
        "A : b\r\n\r\n",
        "A: b\n\r\n",
        "A: b\r\n\n",
        "A: b\r\n c\r\n\r\n",
        " A: b\r\n\r\n",
        ": b\r\n\r\n",
        "A\r\n\r\n",
        "A: \0\r\n\r\n",
        "A: b\rc\r\n\r\n",
        "A: b\nC: d\r\n\r\n",
        "A: b\r\nC: d\n\r\n",
        "\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let input = format!("0\r\n{fields}");
        let result = every_cut(Framing::Chunked, input.as_bytes());
        assert!(matches!(result, Err(ParseError::BadRequest(_))), "{fields:?}: {result:?}");
    }
}

#[test]
fn trailers_are_bounded() {
    let many = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
    let body = decode(Framing::Chunked, [many(64).as_bytes()]).unwrap();
    assert_eq!(body.trailers.unwrap().len(), 64);
    let long = |length: usize| format!("0\r\na: {}\r\n\r\n", "b".repeat(length - 7));
    assert!(decode(Framing::Chunked, [long(8192).as_bytes()]).unwrap().done);
    for input in [many(65), long(8193), long(100_000), format!("0\r\na: {}", "b".repeat(8192))] {
        let result = decode(Framing::Chunked, [input.as_bytes()]);
        assert!(matches!(result, Err(ParseError::TooLarge(_))), "{}", input.len());
    }
}
