use millrace_http1::{
    Framing, HeadLimits, ParseError, announces_forbidden_body, head_may_end, parse_request,
    parse_response, request_framing, response_framing, write_request_head, write_response_head,
};
use millrace_message::{
    Method, Version, check_host, connection_options, is_persistent, requested_upgrade,
    strip_hop_by_hop,
};

use crate::cuts::Cuts;
use crate::message::{framed, is_one_head, read, read_in_any_cut};

const LIMITS: HeadLimits = HeadLimits { max_bytes: 2048, max_fields: 16 };

type Parsed<T> = Result<Option<(T, usize)>, ParseError>;

/// Parses a head that comes in pieces, as a connection does.
fn in_pieces<T>(bytes: &[u8], mut cuts: Cuts, parse: impl Fn(&[u8]) -> Parsed<T>) -> Parsed<T> {
    let (mut have, mut seen) = (0, 0);
    loop {
        if have > 0 && head_may_end(&bytes[..have], seen, &LIMITS) {
            seen = have;
            match parse(&bytes[..have]) {
                Ok(None) => {}
                parsed => return parsed,
            }
        }
        if have == bytes.len() {
            return Ok(None);
        }
        have += cuts.next(bytes.len() - have);
    }
}

/// What is a head does not depend on how it was cut; and what is none never becomes one.
fn in_any_cut<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    cuts: Cuts,
    parse: impl Fn(&[u8]) -> Parsed<T>,
) -> Option<(T, usize)> {
    let whole = parse(bytes).ok().flatten();
    let cut = in_pieces(bytes, cuts, parse).ok().flatten();
    assert_eq!(whole, cut, "a cut decides");
    whole
}

/// A request, and what follows it.
pub(crate) fn request(data: &[u8]) {
    let (cuts, bytes) = Cuts::of(data);
    let parse = |bytes: &[u8]| parse_request(bytes, &LIMITS);
    let Some((mut head, length)) = in_any_cut(bytes, cuts, parse) else { return };
    assert!(length <= bytes.len());
    let _ = (head.path(), head.query(), head.authority(), connection_options(&head.fields));
    let _ = (
        requested_upgrade(&head, &["websocket".to_owned()]),
        is_persistent(head.version, &head.fields),
    );
    let (Ok(()), Ok(framing)) = (check_host(&head), request_framing(&head)) else { return };
    let Some(body) = read_in_any_cut(framing, &bytes[length..], Cuts::of(data).0) else { return };
    if !body.done {
        return;
    }
    let host = head.host().to_owned();
    head.make_origin_form();
    assert_eq!(head.host(), host, "another host");
    strip_hop_by_hop(&mut head.fields);
    let (mut out, mut tail) = (Vec::new(), Vec::new());
    framed(framing, &body, &mut head.fields, &mut tail);
    write_request_head(&head, &mut out);
    is_one_head(&out);
    let end = out.len();
    out.extend(tail);
    // Larger than it came, where lengths were short and cases differ: so without limits.
    let free = HeadLimits { max_bytes: usize::MAX, max_fields: 64 };
    let (again, length) = parse_request(&out, &free).unwrap().expect("a whole head");
    head.version = Version::Http11;
    assert_eq!((&again, length), (&head, end));
    let left = read(request_framing(&again).unwrap(), &out[length..], Cuts::of(data).0).unwrap();
    assert!(left.done && left.rest.is_empty(), "not exactly one message");
    assert_eq!((&left.data, &left.trailers), (&body.data, &body.trailers));
}

/// A response to a method that the first byte chooses, and what follows it.
pub(crate) fn response(data: &[u8]) {
    let (cuts, bytes) = Cuts::of(data);
    let method = [Method::GET, Method::HEAD, Method::CONNECT][data.len() % 3].clone();
    let parse = |bytes: &[u8]| parse_response(bytes, &LIMITS);
    let Some((mut head, length)) = in_any_cut(bytes, cuts, parse) else { return };
    let _ = announces_forbidden_body(&head);
    let Ok(framing) = response_framing(&method, &head) else { return };
    let Some(mut body) = read_in_any_cut(framing, &bytes[length..], Cuts::of(data).0) else {
        return;
    };
    if !body.done && framing != Framing::UntilClose {
        return;
    }
    if framing == Framing::UntilClose {
        body.trailers = None;
    }
    strip_hop_by_hop(&mut head.fields);
    let (mut out, mut tail) = (Vec::new(), Vec::new());
    framed(framing, &body, &mut head.fields, &mut tail);
    write_response_head(&head, &mut out);
    is_one_head(&out);
    let end = out.len();
    out.extend(tail);
    let free = HeadLimits { max_bytes: usize::MAX, max_fields: 64 };
    let (again, length) = parse_response(&out, &free).unwrap().expect("a whole head");
    assert_eq!((again.status, &again.fields, length), (head.status, &head.fields, end));
    let left = read(response_framing(&method, &again).unwrap(), &out[length..], Cuts::of(data).0);
    let left = left.unwrap();
    if framing != Framing::None {
        assert!(left.done && left.rest.is_empty(), "not exactly one message");
        assert_eq!((&left.data, &left.trailers), (&body.data, &body.trailers));
    }
}
