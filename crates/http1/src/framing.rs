//! How long a body is (RFC 9112 §6).

use millrace_message::{Fields, Method, RequestHead, ResponseHead, Version, list_items};

use crate::ParseError::{self, BadRequest, NotImplemented};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After this many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// Where the connection ends.
    UntilClose,
}

/// How the body of this request is framed; refuses whatever could be read in two ways.
pub fn request_framing(head: &RequestHead) -> Result<Framing, ParseError> {
    Ok(declared(head.version, &head.fields)?.unwrap_or(Framing::None))
}

/// How the body of this response to a request with `method` is framed; refuses whatever could be
/// read in two ways, also where there is no body: a head that lies there will lie elsewhere.
pub fn response_framing(method: &Method, head: &ResponseHead) -> Result<Framing, ParseError> {
    let declared = declared(head.version, &head.fields)?;
    let tunnel = *method == Method::CONNECT && (200..300).contains(&head.status);
    if *method == Method::HEAD || tunnel || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

/// Whether this response has no body by its status and announces one, which no sender may
/// (RFC 9110 §8.6, RFC 9112 §6.1): nobody can tell whether it sends one then.
pub fn announces_forbidden_body(head: &ResponseHead) -> bool {
    let forbidden = matches!(head.status, 100..=199 | 204);
    let lengths = || head.fields.get_all("content-length");
    forbidden && (head.fields.contains("transfer-encoding") || lengths().any(|it| it != b"0"))
}

fn declared(version: Version, fields: &Fields) -> Result<Option<Framing>, ParseError> {
    let chunked = transfer_encoding(fields)?;
    let length = content_length(fields)?;
    match (chunked, length) {
        (true, Some(_)) => Err(BadRequest("both Transfer-Encoding and Content-Length")),
        (true, None) if version == Version::Http11 => Ok(Some(Framing::Chunked)),
        (true, None) => Err(BadRequest("Transfer-Encoding in a version without it")),
        (false, length) => Ok(length.map(Framing::Length)),
    }
}

/// Whether the body is chunked, which is the only coding taken.
fn transfer_encoding(fields: &Fields) -> Result<bool, ParseError> {
    const AMBIGUOUS: ParseError = BadRequest("Transfer-Encoding does not end in one chunked");
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut last = None;
    let mut others = false;
    for value in fields.get_all("transfer-encoding") {
        // An empty element is one that some parsers trip over.
        let elements = value.iter().filter(|&&byte| byte == b',').count() + 1;
        if list_items(value).count() != elements || last.is_some_and(is_chunked) {
            return Err(AMBIGUOUS);
        }
        for coding in list_items(value) {
            if last.is_some_and(is_chunked) {
                return Err(AMBIGUOUS);
            }
            others |= last.is_some();
            last = Some(coding);
        }
    }
    match last {
        None => Ok(false),
        Some(coding) if !is_chunked(coding) => Err(AMBIGUOUS),
        Some(_) if others => Err(NotImplemented("a transfer coding other than chunked")),
        Some(_) => Ok(true),
    }
}

fn content_length(fields: &Fields) -> Result<Option<u64>, ParseError> {
    let mut length = None;
    for value in fields.get_all("content-length") {
        // Not `list_items`: an empty element is as suspect as an empty value.
        for item in value.split(|&byte| byte == b',') {
            let item = digits(item.trim_ascii())?;
            if length.replace(item).is_some_and(|before| before != item) {
                return Err(BadRequest("Content-Length fields that differ"));
            }
        }
    }
    Ok(length)
}

/// Makes one Content-Length of several that say the same, so that one leaves. Those that differ
/// stay, and are refused when the message is framed.
pub(crate) fn join_lengths(fields: &mut Fields) {
    if let Ok(Some(length)) = content_length(fields) {
        // A number is always a valid value.
        let _ = fields.set("Content-Length", length.to_string());
    }
}

fn digits(text: &[u8]) -> Result<u64, ParseError> {
    const INVALID: ParseError = BadRequest("Content-Length is not a number");
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(INVALID)
}
