use crate::Source;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $source:ident;)*) => {
        /// The stable name of an error. `docs/errors.md` has the same table in prose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The status a client gets.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// Who usually causes it.
            pub fn source(self) -> Source {
                match self { $(Code::$name => Source::$source,)* }
            }

            /// Whether it is that something took too long.
            pub fn is_timeout(self) -> bool {
                self.as_str().ends_with("_TIMEOUT") || self == Code::RequestExpired
            }

            /// The code with this name.
            pub fn from_name(name: &str) -> Option<Code> {
                match name { $($text => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The peer's name could not be resolved.
    DnsFailed = "DNS_FAILED", 502, Upstream;
    /// The peer refused the connection.
    ConnectRefused = "CONNECT_REFUSED", 502, Upstream;
    /// Connecting failed in any other way.
    ConnectFailed = "CONNECT_FAILED", 502, Upstream;
    /// The TLS handshake failed, or the origin refused it when it was done on our side.
    TlsFailed = "TLS_FAILED", 502, Upstream;
    /// The origin closed the connection before its answer was complete.
    UpstreamClosed = "UPSTREAM_CLOSED", 502, Upstream;
    /// The origin's answer is not valid HTTP, or its framing is ambiguous.
    UpstreamInvalid = "UPSTREAM_INVALID", 502, Upstream;
    /// Connecting took longer than allowed.
    ConnectTimeout = "CONNECT_TIMEOUT", 504, Upstream;
    /// The other side sent nothing for too long.
    ReadTimeout = "READ_TIMEOUT", 504, Upstream;
    /// The other side took nothing for too long.
    WriteTimeout = "WRITE_TIMEOUT", 504, Upstream;
    /// The request took longer than `requestTimeoutMs`, or one try longer than `tryTimeoutMs`.
    RequestExpired = "REQUEST_EXPIRED", 504, Upstream;
    /// A phase did not settle in time.
    PhaseTimeout = "PHASE_TIMEOUT", 504, Internal;
    /// The request is not valid HTTP, or its framing is ambiguous.
    BadRequest = "BAD_REQUEST", 400, Downstream;
    /// The method is not allowed here: CONNECT.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, Downstream;
    /// The client was too slow with its request.
    RequestTimeout = "REQUEST_TIMEOUT", 408, Downstream;
    /// The request's body is larger than `maxRequestBodyBytes`.
    BodyTooLarge = "BODY_TOO_LARGE", 413, Downstream;
    /// The request's head is larger than `maxHeaderBytes` or has more fields than `maxHeaders`.
    HeaderTooLarge = "HEADER_TOO_LARGE", 431, Downstream;
    /// A transfer coding that is not implemented.
    NotImplemented = "NOT_IMPLEMENTED", 501, Downstream;
    /// A version of HTTP that is not spoken here.
    VersionNotSupported = "VERSION_NOT_SUPPORTED", 505, Downstream;
    /// The client left before it had its answer.
    ClientAborted = "CLIENT_ABORTED", 499, Downstream;
    /// A phase threw or rejected.
    PhaseFailed = "PHASE_FAILED", 500, Internal;
    /// A phase returned what it may not return.
    PhaseReturn = "PHASE_RETURN", 500, Internal;
    /// A phase asked for a retry that is not safe.
    RetryUnsafe = "RETRY_UNSAFE", 500, Internal;
    /// A limit of this process is reached: the queue to the phases, or the connections.
    Overloaded = "OVERLOADED", 503, Internal;
    /// What ran the phases of the request has ended before the request had.
    PhasesLost = "PHASES_LOST", 503, Internal;
    /// The server stopped before the request had ended.
    ServerClosed = "SERVER_CLOSED", 503, Internal;
    /// A fault in millrace itself.
    Internal = "INTERNAL", 500, Internal;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
        }
    }
}
