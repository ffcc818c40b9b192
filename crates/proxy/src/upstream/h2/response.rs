//! Responses of HTTP/2 as heads of our own.

use http::HeaderMap;
use http::response::Parts;
use millrace_error::{Code, Error, Result};
use millrace_http1::HeadLimits;
use millrace_message::{
    Fields, Method, ResponseHead, Version, allowed_in_trailers, validate_value,
};

use crate::upstream::Head;

impl Head {
    pub(super) fn interim(response: http::Response<()>, limits: &HeadLimits) -> Result<Head> {
        let head = convert(&response.into_parts().0, limits)?;
        if head.status == 101 {
            // There is none in HTTP/2 (RFC 9113 §8.6).
            return Err(invalid("a 101 that was not asked for"));
        }
        Ok(Head::Interim(head))
    }
}

/// The head. h2 has refused what is malformed, fields of the connection among it; a value is also
/// checked by our own rules, which are those of all that leaves.
pub(super) fn convert(parts: &Parts, limits: &HeadLimits) -> Result<ResponseHead> {
    let mut head = ResponseHead::new(parts.status.as_u16());
    head.version = Version::H2;
    let bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.max_bytes || parts.headers.len() > limits.max_fields {
        return Err(invalid("the head is too large"));
    }
    head.fields = Fields::with_capacity(bytes, parts.headers.len());
    for (name, value) in &parts.headers {
        // Several lengths that say the same are one.
        if name == http::header::CONTENT_LENGTH && head.fields.contains("content-length") {
            continue;
        }
        if !validate_value(value.as_bytes()) {
            return Err(invalid("the value of a field is not valid"));
        }
        head.fields.push_unchecked(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(head)
}

/// Whether the response has no body, whatever its fields say (RFC 9110 §6.4.1).
pub(super) fn has_no_body(method: &Method, status: u16) -> bool {
    *method == Method::HEAD || matches!(status, 204 | 304)
}

/// The length that the head declares, which h2 holds the body to.
pub(super) fn length(head: &ResponseHead) -> Result<Option<u64>> {
    let Some(value) = head.fields.get("content-length") else { return Ok(None) };
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or_else(|| invalid("Content-Length is not a number"))
}

/// The trailers, less those that may not be trailers.
pub(super) fn trailers(map: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        if allowed_in_trailers(name) && validate_value(value.as_bytes()) {
            fields.push_unchecked(name, value.as_bytes());
        }
    }
    fields
}

fn invalid(message: &'static str) -> Error {
    Error::new(Code::UpstreamInvalid, message)
}
