//! The lines of heads and trailers: what `httparse` found becomes fields, if it was strict enough.

use httparse::Header;
use millrace_message::Fields;

use crate::ParseError::{self, BadRequest, TooLarge};
use crate::framing::join_lengths;

/// Empty lines taken before a request line (RFC 9112 §2.2): some clients end a body with one.
const MAX_EMPTY_LINES: usize = 4;

/// Where the request line begins; none if that cannot be told yet.
pub(crate) fn skip_empty_lines(buf: &[u8]) -> Result<Option<usize>, ParseError> {
    let mut start = 0;
    while buf[start..].starts_with(b"\r\n") && start < 2 * MAX_EMPTY_LINES {
        start += 2;
    }
    match &buf[start..] {
        [] => Ok(None),
        b"\r" if start < 2 * MAX_EMPTY_LINES => Ok(None),
        [b'\r' | b'\n', ..] => Err(BadRequest("empty lines before the request line")),
        _ => Ok(Some(start)),
    }
}

/// Copies the fields: one copy of their whole block, and positions in it.
///
/// `httparse` takes a bare LF for a line's end. Each line has to end in CRLF here, which is looked
/// up where the next line begins.
pub(crate) fn fields(
    buf: &[u8],
    length: usize,
    headers: &[Header<'_>],
) -> Result<Fields, ParseError> {
    if length > u32::MAX as usize {
        return Err(TooLarge("the head is too large"));
    }
    let offset = |text: &[u8]| text.as_ptr() as usize - buf.as_ptr() as usize;
    let first = headers.first().map_or(length, |header| offset(header.name.as_bytes()));
    let block = &buf[first..length];
    let mut fields = Fields::with_block(block, headers.len());
    let mut lengths = 0;
    for header in headers {
        let name = offset(header.name.as_bytes()) - first;
        // The first line's end lies before the block.
        if !buf[..first + name].ends_with(b"\r\n") && first + name > 0 {
            return Err(BARE_LF);
        }
        if header.name.is_empty() {
            return Err(BadRequest("a field without a name"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            lengths += if header.value.contains(&b',') { 2 } else { 1 };
        }
        let value = offset(header.value) - first;
        fields.push_span(name..name + header.name.len(), value..value + header.value.len());
    }
    let end: &[u8] = if first == 0 && headers.is_empty() { b"\r\n" } else { b"\r\n\r\n" };
    if !buf[..length].ends_with(end) {
        return Err(BARE_LF);
    }
    if lengths > 1 {
        join_lengths(&mut fields);
    }
    Ok(fields)
}

pub(crate) const BARE_LF: ParseError = BadRequest("a line does not end in CRLF");
