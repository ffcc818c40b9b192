use bytes::BytesMut;
use millrace_message::Fields;

use crate::{BodyDecoder, Decoded, Framing, ParseError};

/// What a body turned out to be: data, trailers, and what was left behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<Fields>,
    pub(super) rest: Vec<u8>,
    pub(super) done: bool,
}

/// Decodes `input` as it arrives in the given pieces.
pub(super) fn decode<'a>(
    framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Body, ParseError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Body { data: Vec::new(), trailers: None, rest: Vec::new(), done: false };
    let mut buf = BytesMut::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.data.extend_from_slice(&data);
                }
                Decoded::Trailers(trailers) => {
                    assert!(body.trailers.replace(trailers).is_none());
                    assert!(decoder.is_done());
                }
                Decoded::NeedMore => break assert!(!decoder.is_done()),
                Decoded::End => {
                    assert!(decoder.is_done() && decoder.remaining() == Some(0));
                    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::End));
                    break;
                }
            }
        }
    }
    body.done = decoder.is_done();
    assert!(!body.done || decoder.on_eof());
    body.rest = buf.to_vec();
    Ok(body)
}

/// The same body however it is cut: whole, in two pieces at every place, and byte by byte.
pub(super) fn every_cut(framing: Framing, input: &[u8]) -> Result<Body, ParseError> {
    let whole = decode(framing, [input]);
    for cut in 0..=input.len() {
        let (one, two) = input.split_at(cut);
        assert_eq!(decode(framing, [one, two]).is_ok(), whole.is_ok(), "cut at {cut}");
        if whole.is_ok() {
            assert_eq!(decode(framing, [one, two]), whole, "cut at {cut}");
        }
    }
    assert_eq!(decode(framing, input.chunks(1)).ok(), whole.as_ref().ok().map(copy));
    whole
}

fn copy(body: &Body) -> Body {
    Body {
        data: body.data.clone(),
        trailers: body.trailers.clone(),
        rest: body.rest.clone(),
        done: body.done,
    }
}

#[test]
fn bodies_by_length() {
    for (framing, input, data, rest, done) in [
        (Framing::None, "next", "", "next", true),
        (Framing::Length(0), "next", "", "next", true),
        (Framing::Length(4), "bodynext", "body", "next", true),
        (Framing::Length(4), "bod", "bod", "", false),
        (Framing::Length(u64::MAX), "bod", "bod", "", false),
        (Framing::UntilClose, "body", "body", "", false),
    ] {
        let body = every_cut(framing, input.as_bytes()).unwrap();
        assert_eq!((body.data, body.rest), (data.into(), rest.into()), "{framing:?} {input}");
        assert_eq!(body.done, done, "{framing:?} {input}");
    }
}

#[test]
fn what_remains_and_what_an_early_end_means() {
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    let mut buf = BytesMut::from("abc");
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::Data("abc".into())));
    assert!(decoder.remaining() == Some(2) && !decoder.on_eof() && !decoder.is_done());
    buf.extend_from_slice(b"de");
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::Data("de".into())));
    // Known without one more call, so that the last data can be sent on as the last.
    assert!(decoder.is_done() && decoder.on_eof());
    assert!(BodyDecoder::new(Framing::UntilClose).on_eof());
    assert!(!BodyDecoder::new(Framing::UntilClose).is_done());
    assert!(BodyDecoder::new(Framing::None).is_done());
    for cut in 0.."5\r\nhello\r\n0\r\n\r\n".len() {
        let (mut decoder, mut buf) = (BodyDecoder::new(Framing::Chunked), BytesMut::new());
        buf.extend_from_slice(&b"5\r\nhello\r\n0\r\n\r\n"[..cut]);
        while let Ok(Decoded::Data(_)) = decoder.decode(&mut buf) {}
        assert!(!decoder.on_eof() && decoder.remaining().is_none(), "{cut}");
    }
}

#[test]
fn chunked_bodies() {
    for (input, data, rest) in [
        ("0\r\n\r\n", "", ""),
        ("0\r\n\r\nGET /", "", "GET /"),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nnext", "hello world", "next"),
        ("00000005\r\nhello\r\n000\r\n\r\n", "hello", ""),
        ("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello", ""),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ""),
        ("5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello", ""),
        ("5 ; a = \"b\"\r\nhello\r\n0\t;x\r\n\r\n", "hello", ""),
        ("5;\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
    ] {
        let body = every_cut(Framing::Chunked, input.as_bytes()).unwrap();
        assert_eq!((body.data, body.rest), (data.into(), rest.into()), "{input:?}");
        assert!(body.done && body.trailers.is_none(), "{input:?}");
    }
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    for input in [
        // Sizes.
        "\r\n",
        " 5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "5h\r\nhello\r\n",
        "g\r\n",
        ";a\r\n",
        "5_0\r\n",
        "5.0\r\n",
        "5,5\r\n",
        "\t5\r\n",
        "\u{b}5\r\n",
        "5\0\r\nhello\r\n",
        "\u{665}\r\n",
        "00000000000000005\r\nhello\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        // White space that begins nothing.
        "5 \r\nhello\r\n",
        "5\t\r\nhello\r\n",
        "5 a\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        // Line ends.
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n",
        "5\r\r\nhello\r\n",
        "5;a\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello\n\r\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "0\r\n\r\r\n",
        "0\n\n",
        "5\n\rhello\r\n",
        // Data longer or shorter than its size.
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        // Extensions with control bytes.
        "5;a\0\r\nhello\r\n",
        "5;\x7f\r\nhello\r\n",
        "5;a=\"\x01\"\r\nhello\r\n",
    ] {
        let result = every_cut(Framing::Chunked, input.as_bytes());
        assert!(result.is_err(), "{input:?}: {result:?}");
    }
}

#[test]
fn the_largest_size_is_taken_and_nothing_overflows() {
    let body = every_cut(Framing::Chunked, b"ffffffffffffffff\r\nabc").unwrap();
    assert_eq!((body.data, body.done), (b"abc".to_vec(), false));
}

#[test]
fn lines_and_extensions_are_bounded() {
    let line = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length - 4));
    assert!(decode(Framing::Chunked, [line(256).as_bytes()]).is_ok());
    for length in [257, 100_000] {
        let result = decode(Framing::Chunked, [line(length).as_bytes()]);
        assert!(matches!(result, Err(ParseError::TooLarge(_))), "{length}");
    }
    let endless = "5".repeat(256);
    assert!(decode(Framing::Chunked, [endless.as_bytes()]).is_err());
    let many = line(256).repeat(100);
    assert!(matches!(decode(Framing::Chunked, [many.as_bytes()]), Err(ParseError::TooLarge(_))));
    let smallest = "1\r\nx\r\n".repeat(100_000);
    assert_eq!(decode(Framing::Chunked, [smallest.as_bytes()]).unwrap().data.len(), 100_000);
}
