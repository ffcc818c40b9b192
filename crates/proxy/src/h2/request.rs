//! Heads of requests: from what `h2` parsed to what every version shares (RFC 9113 §8.3).

use http::HeaderMap;
use http::request::Parts;
use millrace_error::{Code, Error, Result};
use millrace_http1::HeadLimits;
use millrace_message::{
    Fields, Method, RequestHead, TargetForm, Version, check_host, has_token, validate_name,
    validate_target, validate_value,
};

/// Fields that belong to a connection of HTTP/1.1 (RFC 9113 §8.2.2). `h2` resets a stream that has
/// one of them before anyone sees it; here they are refused once more, as all depends on it.
const CONNECTION_SPECIFIC: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// A request's head in the form that it would have in HTTP/1.1: the authority is the Host field,
/// in front of all others, and cookies are one field. What is refused comes with the reason;
/// CONNECT is, unless `connect`.
pub(super) fn request_head(
    parts: &Parts,
    limits: &HeadLimits,
    connect: bool,
) -> (RequestHead, Result<()>) {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let is_connect = parts.method == http::Method::CONNECT;
    let target = match (is_connect, parts.uri.path_and_query()) {
        (true, _) => authority.unwrap_or_default(),
        (false, path) => path.map_or("", http::uri::PathAndQuery::as_str),
    };
    // `h2` takes only tokens for methods.
    let method = Method::new(parts.method.as_str().as_bytes()).unwrap_or(Method::GET);
    let mut head = RequestHead::new(method, target);
    head.version = Version::H2;
    head.fields = fields_of(&parts.headers, authority);
    let checked = check(parts, &head, limits).and_then(|()| match is_connect {
        true => check_connect(&head, connect),
        false => Ok(()),
    });
    (head, checked)
}

fn check(parts: &Parts, head: &RequestHead, limits: &HeadLimits) -> Result<()> {
    let bad = |why: &'static str| Err(Error::new(Code::BadRequest, why));
    let large = |why: &'static str| Err(Error::new(Code::HeaderTooLarge, why));
    if head.fields.len() > limits.max_fields {
        return large("too many fields");
    }
    if head_size(head) > limits.max_bytes as u64 {
        return large("the head is too large");
    }
    for (name, value) in head.fields.iter() {
        if !validate_name(name) || name.iter().any(u8::is_ascii_uppercase) {
            return bad("a field's name is not valid");
        }
        if !validate_value(value) {
            return bad("a field's value is not valid");
        }
    }
    // Joined they may look as if they were.
    if parts.headers.get_all("cookie").iter().any(|crumb| !validate_value(crumb.as_bytes())) {
        return bad("a field's value is not valid");
    }
    if CONNECTION_SPECIFIC.iter().any(|name| head.fields.contains(name))
        || head.fields.get_all("te").any(|value| value != b"trailers")
    {
        return bad("a field that belongs to a connection of HTTP/1.1");
    }
    if let Some(scheme) = parts.uri.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return bad("the scheme is neither http nor https");
    }
    if let (Some(authority), Some(host)) = (parts.uri.authority(), parts.headers.get("host"))
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return bad(":authority and Host differ");
    }
    if let Err(why) = check_host(head) {
        return bad(why);
    }
    match head.target_form() {
        Some(TargetForm::Origin | TargetForm::Asterisk) if validate_target(&head.target) => Ok(()),
        Some(TargetForm::Authority) => Ok(()),
        None if head.method == Method::CONNECT => bad(":authority is not a host and a port"),
        _ => bad(":path has no valid form"),
    }
}

/// `h2` has seen to it that there are neither `:scheme` nor `:path` (RFC 9113 §8.5). A stream with
/// `:protocol` (RFC 8441) it resets, as nothing of ours says that it could be used.
fn check_connect(head: &RequestHead, connect: bool) -> Result<()> {
    if !connect {
        return Err(Error::new(Code::MethodNotAllowed, "CONNECT is not enabled"));
    }
    // `h2` would hold the tunnel to it.
    if head.fields.contains("content-length") {
        return Err(Error::new(Code::BadRequest, "a CONNECT with a length"));
    }
    Ok(())
}

/// The fields of a head, the authority in front in place of the Host field.
fn fields_of(map: &HeaderMap, authority: Option<&str>) -> Fields {
    let text = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let mut fields = Fields::with_capacity(text + 64, map.len() + 1);
    let mut hosts = map.get_all("host").iter();
    if let Some(authority) = authority {
        fields.push_unchecked(b"host", authority.as_bytes());
        // The first of them is compared with the authority; others show up as too many.
        hosts.next();
    }
    for host in hosts {
        fields.push_unchecked(b"host", host.as_bytes());
    }
    let mut has_length = false;
    for (name, value) in map {
        match name.as_str() {
            "host" => continue,
            // Joined where the first of them stands (RFC 9113 §8.2.3).
            "cookie" if fields.contains("cookie") => continue,
            "cookie" => {
                let crumbs = map.get_all("cookie").iter().map(|value| value.as_bytes());
                let crumbs: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty()).collect();
                fields.push_unchecked(b"cookie", &crumbs.join(&b"; "[..]));
            }
            // `h2` has refused those that differ.
            "content-length" if std::mem::replace(&mut has_length, true) => continue,
            name => fields.push_unchecked(name.as_bytes(), value.as_bytes()),
        }
    }
    fields
}

/// The bytes that a head takes in HTTP/1.1, which is what limits and logs count.
pub(super) fn head_size(head: &RequestHead) -> u64 {
    let line = head.method.as_str().len() + head.target.len() + b"  HTTP/1.1\r\n\r\n".len();
    (line + head.fields.text_len() + 4 * head.fields.len()) as u64
}

/// Whether the client waits for a 100 before it sends the body.
pub(super) fn expects_continue(head: &RequestHead) -> bool {
    has_token(head.fields.get_all("expect"), "100-continue")
}

/// Whether the body is messages of gRPC. They come when there is something to say, so that their
/// rate says nothing about who sends them.
pub(super) fn is_grpc(head: &RequestHead) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    head.fields.get("content-type").and_then(|kind| kind.split_at_checked(GRPC.len())).is_some_and(
        |(kind, rest)| {
            kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
        },
    )
}

/// What Content-Length says; none without it.
pub(super) fn content_length(head: &RequestHead) -> Result<Option<u64>> {
    let Some(value) = head.fields.get("content-length") else { return Ok(None) };
    let digits = value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok());
    match digits.flatten().and_then(|digits| digits.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Error::new(Code::BadRequest, "Content-Length is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, method: &str, fields: &[(&str, &str)]) -> (RequestHead, Option<Code>) {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let (head, checked) = request_head(&parts, &HeadLimits::default(), fields != CLOSED);
        (head, checked.err().map(|error| error.code()))
    }

    /// Stands for a proxy that takes no CONNECT.
    const CLOSED: [(&str, &str); 1] = [("x-closed", "1")];

    #[test]
    fn the_authority_becomes_host_in_front_and_cookies_are_joined() {
        let fields = [("a", "1"), ("cookie", "x=1"), ("host", "B:80"), ("cookie", "y=2")];
        let (head, refused) = head("https://b:80/p?q", "GET", &fields);
        assert_eq!(refused, None);
        assert_eq!((head.target.as_slice(), head.version), (&b"/p?q"[..], Version::H2));
        let fields: Vec<_> = head.fields.iter().collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"host", b"b:80"), (b"a", b"1"), (b"cookie", b"x=1; y=2")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
        let bad: &[Case] = &[
            ("http://a/", "GET", &[("host", "b")]),
            ("http://a/", "GET", &[("host", "a"), ("host", "a")]),
            ("/", "GET", &[("host", "a"), ("host", "a")]),
            ("/", "GET", &[("host", "u@a")]),
            ("http://u@a/", "GET", &[]),
            ("ftp://a/", "GET", &[]),
            ("*", "GET", &[]),
            ("http://a/", "GET", &[("connection", "close")]),
            ("http://a/", "GET", &[("upgrade", "websocket")]),
            ("http://a/", "GET", &[("transfer-encoding", "chunked")]),
            ("http://a/", "GET", &[("te", "gzip")]),
            ("http://a/", "GET", &[("x", " y")]),
        ];
        for (uri, method, fields) in bad {
            assert_eq!(head(uri, method, fields).1, Some(Code::BadRequest), "{uri} {fields:?}");
        }
        for target in ["a", "a:", "a:0", "u@a:1"] {
            assert_eq!(head(target, "CONNECT", &[]).1, Some(Code::BadRequest), "{target}");
        }
        let length = [("content-length", "0")];
        assert_eq!(head("a:443", "CONNECT", &length).1, Some(Code::BadRequest));
        assert_eq!(head("a:443", "CONNECT", &[("host", "b:443")]).1, Some(Code::BadRequest));
        assert_eq!(head("a:443", "CONNECT", &CLOSED).1, Some(Code::MethodNotAllowed));
        let (open, refused) = head("a:443", "CONNECT", &[("host", "A:443")]);
        assert_eq!((refused, open.host(), open.target.as_slice()), (None, "a:443", &b"a:443"[..]));
        assert_eq!(open.fields.get("host"), Some(&b"a:443"[..]));
        assert_eq!(head("*", "OPTIONS", &[("host", "a")]).1, None);
        assert_eq!(head("/", "GET", &[("host", "a")]).1, None);
        assert_eq!(head("/", "GET", &[]).1, Some(Code::BadRequest));
        assert_eq!(head("http://a/", "GET", &[("te", "trailers")]).1, None);
    }
}
