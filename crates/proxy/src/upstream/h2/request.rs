//! Requests of ours as HTTP/2 has them (RFC 9113 §8.3.1).

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use millrace_error::{Code, Error, Result};
use millrace_message::{Fields, Method, RequestHead, allowed_in_trailers};

use crate::BodySize;

/// The request: target and Host become pseudo-fields, and of the fields stay those that HTTP/2 may
/// carry.
pub(super) fn convert(
    head: &mut RequestHead,
    size: BodySize,
    scheme: &str,
    te_trailers: bool,
) -> Result<http::Request<()>> {
    if head.method == Method::CONNECT {
        return Err(Error::new(Code::MethodNotAllowed, "CONNECT to an origin in HTTP/2"));
    }
    head.make_origin_form();
    let mut request = http::Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = http::Method::from_bytes(head.method.as_str().as_bytes())
        .map_err(|error| unsendable("the method").because(error))?;
    *request.uri_mut() = uri(head, scheme)?;
    *request.headers_mut() = fields(&head.fields)?;
    if te_trailers {
        request.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if let BodySize::Known(length) = size {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

fn uri(head: &RequestHead, scheme: &str) -> Result<Uri> {
    let host = head.fields.get("host").unwrap_or_default();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::try_from(scheme).map_err(|_| unsendable("the scheme"))?);
    parts.authority =
        Some(Authority::try_from(host).map_err(|error| unsendable("the host").because(error))?);
    parts.path_and_query = Some(path(&head.target)?);
    Uri::from_parts(parts).map_err(|error| unsendable("the target").because(error))
}

/// The path with its query. Bytes that no URI may hold, and that clients send all the same, are
/// escaped where the `http` crate takes them no other way: it is the same path to the origin.
fn path(target: &[u8]) -> Result<PathAndQuery> {
    if let Ok(path) = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target)) {
        return Ok(path);
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = Vec::with_capacity(target.len() + 64);
    for &byte in target {
        match byte {
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'\\' | b'^' | 0x7f.. => {
                let hex = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                escaped.extend_from_slice(&[b'%', hex[0], hex[1]]);
            }
            _ => escaped.push(byte),
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(escaped))
        .map_err(|error| unsendable("the target").because(error))
}

fn fields(fields: &Fields) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter() {
        if !is_replaced(name) {
            put(&mut map, name, value)?;
        }
    }
    Ok(map)
}

/// The trailers that may be sent; none if there are none.
pub(super) fn trailers(fields: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| allowed_in_trailers(name)) {
        // They were valid when they came.
        let _ = put(&mut map, name, value);
    }
    (!map.is_empty()).then_some(map)
}

fn put(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<()> {
    let name = HeaderName::from_bytes(name).map_err(|_| unsendable("the name of a field"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| unsendable("the value of a field"))?;
    map.try_append(name, value).map_err(|_| unsendable("the number of fields"))?;
    Ok(())
}

/// Fields of the connection, which phases may have put there, and those that are set here.
fn is_replaced(name: &[u8]) -> bool {
    const REPLACED: [&str; 8] = [
        "host",
        "content-length",
        "te",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    REPLACED.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

fn unsendable(what: &str) -> Error {
    Error::new(Code::BadRequest, format!("{what} cannot be sent in HTTP/2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_host_becomes_an_authority() {
        for host in ["a", "a:", "a:80", "a_b", "a,b;c=d", "A.b~", "[::1]", "[::1]:80", "x*"] {
            assert!(millrace_message::validate_host(host.as_bytes()), "{host}");
            let mut head = RequestHead::new(Method::GET, "/");
            head.fields.append("Host", host).unwrap();
            let request = convert(&mut head, BodySize::None, "https", false);
            let request = request.unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(request.uri().to_string(), format!("https://{host}/"));
            assert!(request.headers().is_empty());
        }
        // The one kind that the `http` crate does not take.
        let mut head = RequestHead::new(Method::GET, "/");
        head.fields.append("Host", "a%20b").unwrap();
        let error = convert(&mut head, BodySize::None, "https", false).unwrap_err();
        assert_eq!(error.code(), Code::BadRequest);
    }

    #[test]
    fn a_target_of_any_bytes_is_sent_or_refused() {
        let mut target = vec![b'/'];
        for byte in (0x21..=0xff).filter(|byte| *byte != b'#') {
            target.push(byte);
            assert!(path(&target).is_ok(), "{byte:#x}");
        }
        assert!(path(&[b'x'; 70_000]).is_err());
    }

    #[test]
    fn connect_is_refused() {
        let mut head = RequestHead::new(Method::CONNECT, "a:443");
        let error = convert(&mut head, BodySize::None, "http", false).unwrap_err();
        assert_eq!(error.code(), Code::MethodNotAllowed);
    }
}
