//! A message taken apart and put together anew, as a proxy does it.

use bytes::BytesMut;
use millrace_http1::{BodyDecoder, Decoded, Framing, ParseError, write_chunk, write_last_chunk};
use millrace_message::Fields;

use crate::cuts::Cuts;

/// A body that was read, and what was left behind it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Body {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
    pub(crate) rest: Vec<u8>,
    pub(crate) done: bool,
}

/// Reads a body that comes in pieces.
pub(crate) fn read(framing: Framing, bytes: &[u8], mut cuts: Cuts) -> Result<Body, ParseError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut body, mut buf, mut bytes) = (Body::default(), BytesMut::new(), bytes);
    loop {
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    body.data.extend_from_slice(&data);
                }
                Decoded::Trailers(fields) => {
                    assert!(body.trailers.replace(fields).is_none(), "trailers twice");
                }
                Decoded::NeedMore => break assert!(!decoder.is_done()),
                Decoded::End => break assert!(decoder.is_done()),
            }
        }
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(cuts.next(bytes.len()));
        buf.extend_from_slice(piece);
        bytes = rest;
    }
    (body.done, body.rest) = (decoder.is_done(), buf.to_vec());
    Ok(body)
}

/// The same body however it is cut.
pub(crate) fn read_in_any_cut(framing: Framing, bytes: &[u8], cuts: Cuts) -> Option<Body> {
    let whole = read(framing, bytes, Cuts::of(&[]).0);
    let cut = read(framing, bytes, cuts);
    assert_eq!(whole.is_ok(), cut.is_ok(), "a cut decides");
    let (whole, cut) = (whole.ok()?, cut.ok()?);
    assert_eq!(whole, cut, "a cut decides");
    Some(whole)
}

/// How a body leaves: its field, and its bytes.
pub(crate) fn framed(framing: Framing, body: &Body, fields: &mut Fields, out: &mut Vec<u8>) {
    fields.remove("content-length");
    match framing {
        Framing::None => {}
        Framing::Length(_) => {
            fields.push_unchecked(b"content-length", body.data.len().to_string().as_bytes());
            out.extend_from_slice(&body.data);
        }
        Framing::Chunked | Framing::UntilClose => {
            fields.push_unchecked(b"transfer-encoding", b"chunked");
            for piece in body.data.chunks(7) {
                write_chunk(piece, out);
            }
            write_last_chunk(body.trailers.as_ref(), out);
        }
    }
}

/// The bytes of a head that was written, looked at by nobody's parser: one empty line, at its end, and
/// no byte that could be another line end.
pub(crate) fn is_one_head(head: &[u8]) {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n");
    assert_eq!(end, head.len().checked_sub(4), "an empty line within a head");
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n'), "a CR alone"),
            b'\n' => assert_eq!(head.get(at.wrapping_sub(1)), Some(&b'\r'), "a LF alone"),
            0 => panic!("a NUL"),
            _ => {}
        }
    }
    let framing = [&b"\r\ncontent-length:"[..], b"\r\ntransfer-encoding:"];
    let lower = head.to_ascii_lowercase();
    let count = lower.windows(17).filter(|window| *window == framing[0]).count()
        + lower.windows(20).filter(|window| *window == framing[1]).count();
    assert!(count <= 1, "framed twice");
}
