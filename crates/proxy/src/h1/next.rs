use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use millrace_error::{Code, Error};
use millrace_http1::{
    BodyDecoder, Framing, ParseError, head_may_end, parse_request, request_framing,
};
use millrace_message::{Method, RequestHead, Version, check_host, has_token, is_persistent};
use millrace_server::Reached;
use tokio::time::Instant;

use super::{Current, H1Connection};
use crate::wire::{give_back, poll_read};
use crate::{BodySize, Timings};

/// What came next on a connection.
pub(crate) enum Arrived {
    /// A request to be served.
    Request(RequestHead, Timings),
    /// A request that is refused before any phase, with what is known of it.
    Refused(Box<Refused>),
    /// The end of the connection, between two requests.
    End,
    /// For as long as was asked, nothing, since the time it says.
    Nothing(Instant),
}

/// While the server drains, how long a client may still send a request on a connection that was
/// of use a moment ago: it may be on its way already.
pub(crate) const LAST_CHANCE: Duration = Duration::from_millis(250);

/// When a connection began to wait for its next request, and how long it is waited for now.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    since: Instant,
    most: Option<Duration>,
}

impl Wait {
    /// From now on, for as long as the connection may wait.
    pub(crate) fn begin() -> Self {
        Wait { since: Instant::now(), most: None }
    }

    /// From now on, for so long at most.
    pub(crate) fn at_most(most: Duration) -> Self {
        Wait { since: Instant::now(), most: Some(most) }
    }

    /// As long as a connection may wait that has waited since then.
    pub(crate) fn go_on(since: Instant) -> Self {
        Wait { since, most: None }
    }
}

/// A request that cannot be served.
pub(crate) struct Refused {
    /// As far as it could be read.
    pub(crate) request: RequestHead,
    pub(crate) timings: Timings,
    pub(crate) error: Error,
}

impl H1Connection {
    /// Waits for the next request. `draining` is polled only between requests.
    pub(crate) async fn next(&mut self, wait: Wait, mut draining: Pin<&mut Reached>) -> Arrived {
        let body = BodyDecoder::new(Framing::None);
        self.current = Current::new(Method::GET, Version::Http11, body);
        if self.input.is_empty() {
            // A connection that waits holds no buffers.
            give_back(&mut self.input);
            self.output.release();
        }
        let mut head = Reading { started: None, seen: 0 };
        poll_fn(|cx| self.poll_next(cx, draining.as_mut(), wait, &mut head)).await
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut draining: Pin<&mut Reached>,
        wait: Wait,
        head: &mut Reading,
    ) -> Poll<Arrived> {
        loop {
            while head.started.is_none() && self.input.starts_with(b"\r\n") {
                self.input.advance(2);
            }
            // Half of an empty line is the beginning of nothing yet.
            if !self.input.is_empty() && (head.started.is_some() || *self.input != b"\r"[..]) {
                if head.started.is_none() {
                    head.started = Some(Timings::start());
                    self.requests = self.requests.saturating_add(1);
                }
                if head_may_end(&self.input, head.seen, &self.options.limits) {
                    head.seen = self.input.len();
                    match parse_request(&self.input, &self.options.limits) {
                        Ok(Some((request, length))) => {
                            self.input.advance(length);
                            return Poll::Ready(self.begin(request, length, head.timings()));
                        }
                        Ok(None) => {}
                        Err(error) => {
                            return Poll::Ready(self.refuse_bytes(parse_failed(error), head));
                        }
                    }
                }
            }
            match poll_read(&mut self.stream, &mut self.input, None, cx) {
                Poll::Ready(Ok(count)) if count > 0 => continue,
                Poll::Ready(end) => {
                    if head.started.is_none() {
                        return Poll::Ready(Arrived::End);
                    }
                    let mut error = Error::new(Code::ClientAborted, "the client left in mid-head");
                    if let Err(cause) = end {
                        error = error.because(cause);
                    }
                    return Poll::Ready(self.refuse_bytes(error, head));
                }
                Poll::Pending => {}
            }
            // A new connection owes its first head; later ones may rest.
            let (since, limit) = match &head.started {
                Some(timings) => (timings.start, self.options.request_header_timeout),
                None if self.requests == 0 => {
                    (self.info.accepted, self.options.request_header_timeout)
                }
                None => (wait.since, self.options.keep_alive_timeout),
            };
            let mut deadline = after(since, limit);
            if head.started.is_none() && draining.as_mut().poll(cx).is_ready() {
                if self.shutdown.is_cut() {
                    return Poll::Ready(Arrived::End);
                }
                let last_chance = since + LAST_CHANCE;
                deadline = Some(deadline.map_or(last_chance, |end| end.min(last_chance)));
            }
            let pause = after(wait.since, wait.most).filter(|_| head.started.is_none());
            let ends = deadline.is_some_and(|end| pause.is_none_or(|pause| end <= pause));
            if self.read_timer.poll(cx, if ends { deadline } else { pause }).is_ready() {
                if head.started.is_none() {
                    let nothing = Arrived::Nothing(wait.since);
                    return Poll::Ready(if ends { Arrived::End } else { nothing });
                }
                let error = Error::new(Code::RequestTimeout, "the head took too long");
                return Poll::Ready(self.refuse_bytes(error, head));
            }
            return Poll::Pending;
        }
    }

    /// Takes a parsed head as the request being served, or refuses it.
    fn begin(&mut self, mut request: RequestHead, length: usize, timings: Timings) -> Arrived {
        self.current.method = request.method.clone();
        self.current.version = request.version;
        self.current.received = length as u64;
        let framing = match self.check(&request) {
            Ok(framing) => framing,
            Err(error) => {
                return Arrived::Refused(Box::new(Refused { request, timings, error }));
            }
        };
        request.make_origin_form();
        let limit = self.options.max_requests_per_connection;
        let current = &mut self.current;
        current.closed_by_client = !is_persistent(request.version, &request.fields);
        current.persistent = !current.closed_by_client && (limit == 0 || self.requests < limit);
        // Refused, too, a CONNECT is the last: the client may have sent the first bytes of its tunnel
        // along, and they must not be read as a request of its own (RFC 9931 §8).
        current.persistent &= request.method != Method::CONNECT;
        current.size = match framing {
            Framing::None => BodySize::None,
            Framing::Length(length) => BodySize::Known(length),
            Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
        };
        current.expects_continue = request.version == Version::Http11
            && framing != Framing::None
            && framing != Framing::Length(0)
            && has_token(request.fields.get_all("expect"), "100-continue");
        current.body = BodyDecoder::new(framing);
        Arrived::Request(request, timings)
    }

    fn check(&self, request: &RequestHead) -> Result<Framing, Error> {
        let bad = |why| Error::new(Code::BadRequest, why);
        check_host(request).map_err(bad)?;
        let framing = request_framing(request).map_err(parse_failed)?;
        if request.method == Method::CONNECT {
            if !self.options.connect {
                return Err(Error::new(Code::MethodNotAllowed, "CONNECT is not enabled"));
            }
            // What some take for a body others take for the first bytes of the tunnel.
            if !matches!(framing, Framing::None | Framing::Length(0)) {
                return Err(bad("a CONNECT with a body"));
            }
        }
        match (framing, self.options.max_request_body) {
            (Framing::Length(length), Some(limit)) if length > limit => Err(too_large(limit)),
            _ => Ok(framing),
        }
    }

    /// Refuses bytes that are no request.
    fn refuse_bytes(&mut self, error: Error, head: &mut Reading) -> Arrived {
        self.current.received = self.input.len() as u64;
        let request = guess(&self.input);
        self.input.clear();
        Arrived::Refused(Box::new(Refused { request, timings: head.timings(), error }))
    }
}

/// The end of a time that may be too long to have one.
fn after(start: Instant, limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| start.checked_add(limit))
}

/// The head being read.
struct Reading {
    started: Option<Timings>,
    /// Bytes that were there when it was last looked at.
    seen: usize,
}

impl Reading {
    fn timings(&mut self) -> Timings {
        self.started.take().unwrap_or_else(Timings::start)
    }
}

pub(crate) fn too_large(limit: u64) -> Error {
    Error::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

fn parse_failed(error: ParseError) -> Error {
    let code = match error {
        ParseError::BadRequest(_) => Code::BadRequest,
        ParseError::TooLarge(_) => Code::HeaderTooLarge,
        ParseError::VersionNotSupported => Code::VersionNotSupported,
        ParseError::NotImplemented(_) => Code::NotImplemented,
    };
    Error::new(code, error.message())
}

/// What the log shall say of a request that could not be parsed: method and target if its first
/// words look like them, `-` otherwise. Never forwarded.
pub(crate) fn guess(bytes: &[u8]) -> RequestHead {
    let line = &bytes[..bytes.len().min(1024)];
    let line = line.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().filter(|word| word.len() <= 32).and_then(Method::new);
    let target = words.next().filter(|_| method.is_some());
    let target = target.filter(|target| target.iter().all(|byte| byte.is_ascii_graphic()));
    let method = method.or_else(|| Method::new(b"-")).unwrap_or(Method::GET);
    RequestHead::new(method, target.unwrap_or(b"-"))
}
