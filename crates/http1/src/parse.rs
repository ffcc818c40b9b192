//! Heads in.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use millrace_message::{Method, RequestHead, ResponseHead, Version, standard_reason};

use crate::ParseError::{self, BadRequest, TooLarge, VersionNotSupported};
use crate::lines::{BARE_LF, fields, skip_empty_lines};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub max_bytes: usize,
    /// Number of fields.
    pub max_fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { max_bytes: 64 * 1024, max_fields: 128 }
    }
}

/// Fields found on the stack; a head with more is parsed once again, into the heap.
const STACK_FIELDS: usize = 128;

type Slot<'b> = MaybeUninit<Header<'b>>;

/// The head of the request that `buf` begins with and the number of bytes it takes; none while more
/// bytes are needed. Says [`TooLarge`] as soon as the limits forbid that more could help.
pub fn parse_request(
    buf: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, ParseError> {
    let window = &buf[..buf.len().min(limits.max_bytes)];
    let Some(start) = skip_empty_lines(window)? else {
        return need_more(window, limits);
    };
    let line = &window[start..];
    let parsed = with_slots(limits, |slots| {
        let mut request = httparse::Request::new(&mut []);
        let status = request
            .parse_with_uninit_headers(line, slots)
            .map_err(|error| refusal(error, request_version(line)))?;
        let Status::Complete(length) = status else { return Ok(None) };
        let head = RequestHead {
            method: request
                .method
                .and_then(|name| Method::new(name.as_bytes()))
                .ok_or(BadRequest("the method is not a token"))?,
            target: request.path.unwrap_or_default().as_bytes().to_vec(),
            version: version(request.version),
            fields: fields(line, length, request.headers)?,
        };
        Ok(Some((head, start + length)))
    })?;
    match parsed {
        None => need_more(window, limits),
        // A fragment is never part of a target: whoever cuts it off sees another path.
        Some((head, _)) if head.target.contains(&b'#') || head.target_form().is_none() => {
            Err(BadRequest("the request target has no valid form"))
        }
        // The parser lets UTF-8 pass, which others read in other ways, if at all (RFC 3986 §2).
        Some((head, _)) if !head.target.is_ascii() => {
            Err(BadRequest("the request target has bytes that are not ASCII"))
        }
        complete => Ok(complete),
    }
}

/// The head of the response that `buf` begins with and the number of bytes it takes; none while
/// more bytes are needed. Interim responses are heads of their own.
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    let window = &buf[..buf.len().min(limits.max_bytes)];
    if !matches!(window.first(), None | Some(b'H')) {
        return Err(BadRequest("not a status line"));
    }
    let parsed = with_slots(limits, |slots| {
        let mut response = httparse::Response::new(&mut []);
        let status = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, window, slots)
            .map_err(|error| refusal(error, window))?;
        let Status::Complete(length) = status else { return Ok(None) };
        let status = response.code.unwrap_or_default();
        if status < 100 {
            return Err(BadRequest("a status below 100"));
        }
        // The standard reason, or none, costs no allocation.
        let reason = response.reason.unwrap_or_default();
        let reason =
            (!reason.is_empty() && reason != standard_reason(status)).then(|| reason.into());
        let version = version(response.version);
        let fields = fields(window, length, response.headers)?;
        Ok(Some((ResponseHead { status, reason, version, fields }, length)))
    })?;
    parsed.map_or_else(|| need_more(window, limits), |head| Ok(Some(head)))
}

/// Whether parsing may have a result that it did not have with the first `seen` bytes: an empty
/// line has come since, or the limit. Keeps a head that arrives byte by byte from being parsed
/// thousands of times. With nothing seen the answer is yes, so that garbage is refused at once.
pub fn head_may_end(buf: &[u8], seen: usize, limits: &HeadLimits) -> bool {
    if seen == 0 || buf.len() >= limits.max_bytes {
        return true;
    }
    // Also one that is empty but for CRs too many: it is refused now, however it was cut.
    memchr::memchr_iter(b'\n', buf.get(seen..).unwrap_or_default()).any(|at| {
        let before = buf[..seen + at].iter().rev().find(|byte| **byte != b'\r');
        matches!(before, None | Some(b'\n'))
    })
}

/// Runs `parse` with slots on the stack, and again with more of them if the head needs and the
/// limits allow more.
fn with_slots<'b, T>(
    limits: &HeadLimits,
    parse: impl Fn(&mut [Slot<'b>]) -> Result<T, ParseError>,
) -> Result<T, ParseError> {
    let mut stack: [Slot<'b>; STACK_FIELDS] = [const { MaybeUninit::uninit() }; STACK_FIELDS];
    match parse(&mut stack[..limits.max_fields.min(STACK_FIELDS)]) {
        Err(TOO_MANY) if limits.max_fields > STACK_FIELDS => {
            // A field takes four bytes at least, so a large limit alone takes no memory.
            let count = limits.max_fields.min(limits.max_bytes / 4 + 1);
            let mut heap: Vec<Slot<'b>> = Vec::new();
            heap.resize_with(count, MaybeUninit::uninit);
            parse(&mut heap)
        }
        result => result,
    }
}

const TOO_MANY: ParseError = TooLarge("too many fields");

fn need_more<T>(window: &[u8], limits: &HeadLimits) -> Result<Option<T>, ParseError> {
    if window.len() >= limits.max_bytes { Err(TooLarge("the head is too large")) } else { Ok(None) }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// What follows the second space of the request line.
fn request_version(buf: &[u8]) -> &[u8] {
    buf.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default()
}

/// `version` is where the version should stand.
fn refusal(error: httparse::Error, version: &[u8]) -> ParseError {
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY,
        httparse::Error::Version => match version.strip_prefix(b"HTTP/") {
            Some([b'1', b'.', b'2'..=b'9', ..] | [b'0' | b'2'..=b'9', ..]) => VersionNotSupported,
            _ => BadRequest("not a version of HTTP"),
        },
        httparse::Error::HeaderName => BadRequest("a field's name is not valid"),
        httparse::Error::HeaderValue => BadRequest("a field's value is not valid"),
        httparse::Error::NewLine => BARE_LF,
        httparse::Error::Status => BadRequest("the status line is not valid"),
        httparse::Error::Token => BadRequest("the request line is not valid"),
    }
}
