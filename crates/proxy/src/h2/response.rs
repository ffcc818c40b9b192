//! Heads of responses and trailers: from what every version shares to what `h2` takes.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use millrace_message::{Fields, ResponseHead, list_items};

/// Takes out what belongs to a connection of HTTP/1.1 (RFC 9113 §8.2.2): whoever put it there.
pub(super) fn strip_connection(fields: &mut Fields) {
    let named: Vec<Vec<u8>> =
        fields.get_all("connection").flat_map(list_items).map(<[u8]>::to_vec).collect();
    const SPECIFIC: [&str; 6] =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"];
    fields.retain(|name, _| {
        let is_specific = SPECIFIC.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let is_named = named.iter().any(|other| name.eq_ignore_ascii_case(other));
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        !is_specific && (!is_named || is_length)
    });
}

/// The head for `h2`; none if it holds what cannot be sent.
pub(super) fn response(head: &ResponseHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    *response.headers_mut() = header_map(&head.fields)?;
    Some(response)
}

/// Fields for `h2`, their names in lower case; none if one cannot be sent.
pub(super) fn header_map(fields: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::try_with_capacity(fields.len()).ok()?;
    for (name, value) in fields.iter() {
        let name = HeaderName::from_bytes(name).ok()?;
        map.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    Some(map)
}

/// Fields that came as trailers.
pub(super) fn trailers(map: &HeaderMap) -> Fields {
    let text = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut fields = Fields::with_capacity(text, map.len());
    for (name, value) in map {
        fields.push_unchecked(name.as_str().as_bytes(), value.as_bytes());
    }
    fields
}

/// The bytes that fields take in HTTP/1.1, which is what logs count.
pub(super) fn fields_size(fields: &Fields) -> u64 {
    (fields.text_len() + 4 * fields.len() + 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_connection_do_not_leave() {
        let mut head = ResponseHead::new(200);
        for (name, value) in [
            ("Connection", "close, X-Hop, Content-Length"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "3"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Name", "\u{e9}"),
        ] {
            head.fields.append(name, value).unwrap();
        }
        strip_connection(&mut head.fields);
        let response = response(&head).unwrap();
        let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-length", "proxy-authenticate", "x-name"]);
    }
}
