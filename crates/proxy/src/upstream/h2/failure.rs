//! What an error of a stream says of the request (RFC 9113 §8.7): whether it was touched.

use ::h2::{Error as H2Error, Reason};
use millrace_error::{Code, Error};

use super::H2Exchange;

impl H2Exchange {
    /// The error for one of h2. Marked as safe to retry where the origin says that it has not
    /// touched the request.
    pub(super) fn failed(&mut self, error: H2Error) -> Error {
        let reason = error.reason();
        if error.is_io() || error.is_go_away() {
            self.died = error.is_io();
            self.slot.retire();
        }
        // h2 gives a remote GOAWAY to those streams only that are beyond its last stream; the
        // others go on.
        let untouched = error.is_remote()
            && match reason {
                Some(Reason::HTTP_1_1_REQUIRED) => self.slot.require_h1() || error.is_go_away(),
                Some(Reason::REFUSED_STREAM) => true,
                _ => error.is_go_away(),
            };
        let (code, message) = if error.is_library() {
            (Code::UpstreamInvalid, "the origin broke the rules of HTTP/2")
        } else if error.is_go_away() {
            (Code::UpstreamClosed, "the origin takes no more requests on the connection")
        } else if error.is_reset() {
            (Code::UpstreamClosed, "the origin reset the stream")
        } else if error.is_io() {
            let cause = self.slot.cause();
            (Code::UpstreamClosed, cause.unwrap_or("the origin closed the connection"))
        } else {
            (Code::Internal, "HTTP/2 was used in a wrong way")
        };
        Error::new(code, message).because(error).retry(untouched && !self.got_any)
    }
}
