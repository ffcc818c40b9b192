use millrace_message::{Fields, Method, RequestHead, ResponseHead, Version};

use super::bodies::decode;
use crate::*;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before ".to_vec();
    write(&mut out);
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
}

#[test]
fn heads_leave_as_http_1_1() {
    let mut head = RequestHead::new(Method::PUT, "/a?b");
    head.version = Version::Http10;
    head.fields.append("Host", "h").unwrap();
    head.fields.append("x-Empty", "").unwrap();
    let expected = "PUT /a?b HTTP/1.1\r\nHost: h\r\nx-Empty: \r\n\r\n";
    assert_eq!(text(|out| write_request_head(&head, out)), expected);

    for (status, reason, expected) in [
        (200, None, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        (200, Some("Fine"), "HTTP/1.1 200 Fine\r\nA: b\r\n\r\n"),
        (299, None, "HTTP/1.1 299 \r\nA: b\r\n\r\n"),
        (404, Some("x\r\nSet-Cookie: y"), "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"),
    ] {
        let mut head = ResponseHead::new(status);
        head.reason = reason.map(Into::into);
        head.version = Version::H2;
        head.fields.append("A", "b").unwrap();
        assert_eq!(text(|out| write_response_head(&head, out)), expected);
    }
}

#[test]
fn what_is_written_is_read_back() {
    let source = b"POST /a HTTP/1.1\r\nHost:h\r\nCookie:  a=b \r\n\r\n";
    let (head, _) = parse_request(source, &HeadLimits::default()).unwrap().unwrap();
    let mut out = Vec::new();
    write_request_head(&head, &mut out);
    assert_eq!(parse_request(&out, &HeadLimits::default()), Ok(Some((head, out.len()))));
}

#[test]
fn chunks() {
    for (length, expected) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x1f00, "1f00\r\n"), (65536, "10000\r\n")]
    {
        assert_eq!(text(|out| write_chunk_start(length, out)), expected);
    }
    let longest = text(|out| write_chunk_start(usize::MAX, out));
    assert_eq!(longest, format!("{:x}\r\n", usize::MAX));
    assert_eq!(text(|out| write_chunk(b"", out)), "");
    assert_eq!(text(|out| write_chunk(b"hello", out)), "5\r\nhello\r\n");
    assert_eq!(text(|out| write_last_chunk(None, out)), "0\r\n\r\n");
    let mut trailers = Fields::new();
    trailers.append("Grpc-Status", "0").unwrap();
    trailers.append("Content-Length", "5").unwrap();
    let last = text(|out| write_last_chunk(Some(&trailers), out));
    assert_eq!(last, "0\r\nGrpc-Status: 0\r\n\r\n");
}

#[test]
fn a_chunked_body_is_read_back() {
    let mut out = Vec::new();
    let data: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    for chunk in data.chunks(999) {
        write_chunk(chunk, &mut out);
    }
    write_last_chunk(None, &mut out);
    let body = decode(Framing::Chunked, out.chunks(777)).unwrap();
    assert!(body.done && body.data == data && body.rest.is_empty());
}
