use millrace_message::{Fields, Method, RequestHead, ResponseHead, Version};

use crate::ParseError::{self, BadRequest, NotImplemented};
use crate::{Framing, request_framing, response_framing};

const BAD: Result<Framing, u16> = Err(400);

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        // As the parser does it: some of these values no caller could append.
        fields.push_unchecked(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn status(result: Result<Framing, ParseError>) -> Result<Framing, u16> {
    result.map_err(|error| match error {
        BadRequest(_) => 400,
        NotImplemented(_) => 501,
        other => panic!("{other:?}"),
    })
}

fn of_request(version: Version, pairs: &[(&str, &str)]) -> Result<Framing, u16> {
    let mut head = RequestHead::new(Method::POST, "/");
    (head.version, head.fields) = (version, fields(pairs));
    status(request_framing(&head))
}

fn of_response(method: Method, code: u16, pairs: &[(&str, &str)]) -> Result<Framing, u16> {
    let mut head = ResponseHead::new(code);
    head.fields = fields(pairs);
    status(response_framing(&method, &head))
}

#[test]
fn content_length() {
    let table: &[(&[&str], Result<Framing, u16>)] = &[
        (&[], Ok(Framing::None)),
        (&["0"], Ok(Framing::Length(0))),
        (&["5"], Ok(Framing::Length(5))),
        (&["18446744073709551615"], Ok(Framing::Length(u64::MAX))),
        (&["5", "5"], Ok(Framing::Length(5))),
        (&["5, 5"], Ok(Framing::Length(5))),
        (&["18446744073709551616"], BAD),
        (&["99999999999999999999999999"], BAD),
        (&["5", "6"], BAD),
        (&["5, 6"], BAD),
        (&["5", "x"], BAD),
        (&["5", ""], BAD),
        (&[""], BAD),
        (&[","], BAD),
        (&["5,"], BAD),
        (&["+5"], BAD),
        (&["-5"], BAD),
        (&["5 5"], BAD),
        (&["0x5"], BAD),
        (&["5e1"], BAD),
        (&["5.0"], BAD),
        (&["5;"], BAD),
        (&["\"5\""], BAD),
        (&["5_0"], BAD),
        (&["\u{665}"], BAD),
        (&["5\u{b}"], BAD),
    ];
    for (values, expected) in table {
        let pairs: Vec<_> = values.iter().map(|value| ("Content-Length", *value)).collect();
        for version in [Version::Http10, Version::Http11] {
            assert_eq!(of_request(version, &pairs), *expected, "{values:?}");
        }
        let expected = expected.map(|framing| match framing {
            Framing::None => Framing::UntilClose,
            other => other,
        });
        assert_eq!(of_response(Method::GET, 200, &pairs), expected, "{values:?}");
    }
}

#[test]
fn transfer_encoding() {
    let table: &[(&[&str], Result<Framing, u16>)] = &[
        (&["chunked"], Ok(Framing::Chunked)),
        (&["Chunked"], Ok(Framing::Chunked)),
        (&["gzip, chunked"], Err(501)),
        (&["gzip", "chunked"], Err(501)),
        (&["identity, chunked"], Err(501)),
        (&["xchunked, chunked"], Err(501)),
        (&["chunked, chunked"], BAD),
        (&["chunked", "chunked"], BAD),
        (&["chunked", "identity"], BAD),
        (&["chunked, gzip"], BAD),
        (&["chunked, gzip, chunked"], BAD),
        (&["gzip"], BAD),
        (&["identity"], BAD),
        (&["xchunked"], BAD),
        (&["chunkedx"], BAD),
        (&["chunked;a=b"], BAD),
        (&["\"chunked\""], BAD),
        (&["chunked,"], BAD),
        (&[",chunked"], BAD),
        (&["chunked", ""], BAD),
        (&["", "chunked"], BAD),
        (&[""], BAD),
        (&["\u{b}chunked"], BAD),
        (&["chunked\u{b}"], BAD),
        (&["chun ked"], BAD),
        (&["chunked chunked"], BAD),
    ];
    for (values, expected) in table {
        let pairs: Vec<_> = values.iter().map(|value| ("Transfer-Encoding", *value)).collect();
        assert_eq!(of_request(Version::Http11, &pairs), *expected, "{values:?}");
        assert_eq!(of_response(Method::GET, 200, &pairs), *expected, "{values:?}");
        assert!(of_request(Version::Http10, &pairs).is_err(), "{values:?}");
        let both = [&pairs[..], &[("content-length", "5")]].concat();
        assert!(of_request(Version::Http11, &both).is_err(), "{values:?}");
        assert!(of_response(Method::GET, 200, &both).is_err(), "{values:?}");
        assert!(of_response(Method::HEAD, 200, &both).is_err(), "{values:?}");
    }
}

#[test]
fn names_that_only_resemble_the_field_frame_nothing() {
    for name in ["Transfer_Encoding", "X-Transfer-Encoding", "Transfer-Encodin", "Content_Length"] {
        assert_eq!(of_request(Version::Http11, &[(name, "chunked")]), Ok(Framing::None), "{name}");
    }
}

#[test]
fn responses_without_a_body() {
    for (method, code) in [
        (Method::HEAD, 200),
        (Method::GET, 100),
        (Method::GET, 101),
        (Method::GET, 103),
        (Method::GET, 204),
        (Method::GET, 304),
        (Method::CONNECT, 200),
    ] {
        for pairs in [&[][..], &[("Content-Length", "5")], &[("Transfer-Encoding", "chunked")]] {
            assert_eq!(of_response(method.clone(), code, pairs), Ok(Framing::None), "{code}");
        }
    }
    assert_eq!(of_response(Method::CONNECT, 403, &[]), Ok(Framing::UntilClose));
    let mut old = ResponseHead::new(200);
    old.version = Version::Http10;
    old.fields = fields(&[("Transfer-Encoding", "chunked")]);
    assert_eq!(status(response_framing(&Method::GET, &old)), BAD);
}
