//! What is no head, and must never become one.

use super::{request, response};
use crate::ParseError;

#[test]
fn request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET /a b HTTP/1.1",
        "GET / ",
        "GET /",
        "GET",
        "GET  HTTP/1.1",
        "G\0T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\x0b HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.",
        "GET / HTTP/1.11",
        "GET / HTTP 1.1",
        "GET / FTTP/1.1",
        "GET / 1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://u@h/ HTTP/1.1",
        "GET http:/h HTTP/1.1",
        "GET h:80 HTTP/1.1",
        "GET http://h:x/ HTTP/1.1",
        "GET http://h\\@g/ HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET # HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT h HTTP/1.1",
        "CONNECT h: HTTP/1.1",
        "CONNECT * HTTP/1.1",
        "CONNECT http://h:1/ HTTP/1.1",
        "CONNECT h:99999 HTTP/1.1",
        "CONNECT u@h:1 HTTP/1.1",
        "POST * HTTP/1.1",
        "GET /\r HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        let result = request(&format!("{line}\r\nHost: h\r\n\r\n"));
        assert!(matches!(result, Err(ParseError::BadRequest(_))), "{line:?}: {result:?}");
    }
}

#[test]
fn versions() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "HTTP/9.9"] {
        let result = request(&format!("GET / {version}\r\nHost: h\r\n\r\n"));
        assert_eq!(result, Err(ParseError::VersionNotSupported), "{version}");
        let result = response(&format!("{version} 200 OK\r\nA: b\r\n\r\n"));
        assert_eq!(result, Err(ParseError::VersionNotSupported), "{version}");
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(request(preface), Err(ParseError::VersionNotSupported));
}

#[test]
fn status_lines() {
    for line in [
        "",
        " HTTP/1.1 200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\x7fK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "HTTP/1.1200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
    ] {
        let result = response(&format!("{line}\r\nA: b\r\n\r\n"));
        assert!(matches!(result, Err(ParseError::BadRequest(_))), "{line:?}: {result:?}");
    }
}

/// Each is refused in requests and responses alike.
#[test]
fn fields() {
    for fields in [
        // Line ends other than CRLF.
        "A: b\nC: d\r\n\r\n",
        "A: b\r\nC: d\n\r\n",
        "A: b\r\n\n",
        "A: b\n\r\n",
        "A: b\n\n",
        "\n",
        "A: b\rC: d\r\n\r\n",
        "A: b\r\r\n\r\n",
        "A:\n\r\n",
        "A: \nB: c\r\n\r\n",
        "A: b\r\n\r\r\n",
        // Smuggled through a bare LF or CR in a value.
        "A: b\nTransfer-Encoding: chunked\r\n\r\n",
        "A: b\rTransfer-Encoding: chunked\r\n\r\n",
        // Folded lines, and white space where a name should be.
        "A: b\r\n c\r\n\r\n",
        "A: b\r\n\tc\r\n\r\n",
        "A:\r\n b\r\n\r\n",
        " A: b\r\n\r\n",
        "\tA: b\r\n\r\n",
        " \r\n\r\n",
        "A: b\r\n \r\n\r\n",
        // Names.
        "A : b\r\n\r\n",
        "A\t: b\r\n\r\n",
        "A b: c\r\n\r\n",
        ": b\r\n\r\n",
        "A\r\n\r\n",
        "A\0: b\r\n\r\n",
        "(A): b\r\n\r\n",
        "A\u{e9}: b\r\n\r\n",
        "Content-Length : 5\r\n\r\n",
        "Transfer-Encoding\x0b: chunked\r\n\r\n",
        "\"A\": b\r\n\r\n",
        "A\x7f: b\r\n\r\n",
        "A\r: b\r\n\r\n",
        "[a]: b\r\n\r\n",
        "A\\: b\r\n\r\n",
        // Values.
        "A: \0\r\n\r\n",
        "A: b\0c\r\n\r\n",
        "A: \x7f\r\n\r\n",
        "A: \x01\r\n\r\n",
        "A: \x0bchunked\r\n\r\n",
        "A: \x0c\r\n\r\n",
        "A: b\x1b\r\n\r\n",
    ] {
        let result = request(&format!("GET / HTTP/1.1\r\n{fields}"));
        assert!(matches!(result, Err(ParseError::BadRequest(_))), "{fields:?}: {result:?}");
        let result = response(&format!("HTTP/1.1 200 OK\r\n{fields}"));
        assert!(matches!(result, Err(ParseError::BadRequest(_))), "{fields:?}: {result:?}");
    }
}

#[test]
fn a_first_line_that_ends_in_a_bare_lf() {
    for rest in ["\r\n", "\n", "A: b\r\n\r\n"] {
        for line in ["GET / HTTP/1.1\n", "\nGET / HTTP/1.1\r\n", "\r\n\nGET / HTTP/1.1\r\n"] {
            assert!(matches!(request(&format!("{line}{rest}")), Err(ParseError::BadRequest(_))));
        }
        for line in ["HTTP/1.1 200 OK\n", "HTTP/1.1 200\n", "HTTP/1.1 200 \n"] {
            assert!(matches!(response(&format!("{line}{rest}")), Err(ParseError::BadRequest(_))));
        }
    }
}
