//! Requests that `h2` refuses by itself, and connections that end for a fault of their client's: as
//! log lines and phases see them, which is like requests of HTTP/1.1 that cannot be parsed.

use h2::Reason;
use millrace_error::{Code, Error, Source};
use millrace_message::{RequestHead, Version};

use super::opened::{Asked, Why};
use crate::h1::guess;

/// What was asked for, as far as it is known. Never forwarded.
pub(super) fn head(asked: &Asked) -> RequestHead {
    let mut head = guess(&asked.line);
    head.version = Version::H2;
    if !asked.authority.is_empty() {
        // A name that cannot be shown is left out.
        let _ = head.fields.append("host", &asked.authority);
    }
    head
}

/// Stands for a request of which nothing is known.
pub(super) fn unknown() -> RequestHead {
    head(&Asked::default())
}

/// Why a request was refused.
pub(super) fn error(why: Why) -> Error {
    match why {
        Why::TooLarge => Error::new(Code::HeaderTooLarge, "the head is too large"),
        Why::Reset(code) => {
            let reason = Reason::from(code);
            if reason == Reason::REFUSED_STREAM {
                let error = Error::new(Code::Overloaded, "more streams at once than are allowed");
                return error.from_source(Source::Downstream);
            }
            let why = format!("the head is not valid: {}", reason.description());
            Error::new(Code::BadRequest, why)
        }
    }
}

/// The fault for which `h2` ends a connection, from the code that it tells the client.
pub(super) fn broken(code: u32) -> Error {
    let reason = Reason::from(code);
    let why = format!("the client broke the rules of the connection: {}", reason.description());
    Error::new(Code::BadRequest, why)
}

/// The same from what `h2` says when it has ended one, if that was its doing.
pub(super) fn fault(error: h2::Error) -> Option<Error> {
    let reason = error.reason().filter(|reason| *reason != Reason::NO_ERROR)?;
    error.is_library().then(|| broken(reason.into()))
}
