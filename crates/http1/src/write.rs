//! Heads and chunks out. Always as HTTP/1.1, which is what this end speaks (RFC 9110 §6.2).

use millrace_message::{
    Fields, RequestHead, ResponseHead, allowed_in_trailers, standard_reason, validate_reason,
};

/// What stands after a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The interim response that asks for a request's body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes a request's head. What frames the body has to be among its fields.
pub fn write_request_head(head: &RequestHead, out: &mut Vec<u8>) {
    let method = head.method.as_str();
    out.reserve(method.len() + head.target.len() + 16 + fields_len(&head.fields));
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(&head.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(head.fields.iter(), out);
}

/// Writes a response's head, with the standard reason where it has none of its own. What frames
/// the body has to be among its fields.
pub fn write_response_head(head: &ResponseHead, out: &mut Vec<u8>) {
    let reason = match head.reason.as_deref() {
        Some(reason) if validate_reason(reason.as_bytes()) => reason,
        _ => standard_reason(head.status),
    };
    out.reserve(reason.len() + 32 + fields_len(&head.fields));
    out.extend_from_slice(b"HTTP/1.1 ");
    // Three digits, whatever the number: more would be no status line.
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[
        digit(head.status / 100),
        digit(head.status / 10),
        digit(head.status),
        b' ',
    ]);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(head.fields.iter(), out);
}

/// Writes the line before a chunk of `len` bytes; [`CHUNK_END`] belongs after them. A chunk of no
/// bytes would end the body: see [`write_last_chunk`].
pub fn write_chunk_start(len: usize, out: &mut Vec<u8>) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * place) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole chunk; nothing if there is no data.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.reserve(data.len() + 20);
        write_chunk_start(data.len(), out);
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_END);
    }
}

/// Writes the last chunk and the trailers, without those that may not be trailers.
pub fn write_last_chunk(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    let trailers = trailers.into_iter().flat_map(Fields::iter);
    write_fields(trailers.filter(|(name, _)| allowed_in_trailers(name)), out);
}

fn fields_len(fields: &Fields) -> usize {
    fields.text_len() + 4 * fields.len() + 2
}

/// Writes fields and the empty line after them.
fn write_fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
