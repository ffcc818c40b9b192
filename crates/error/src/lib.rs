//! What can go wrong while a request is served, and where log lines go.
//!
//! An [`Error`] says what happened (`code`), who caused it (`source`), whether the request may be
//! sent again (`can_retry`), and carries its cause. It becomes a response in one place only: the
//! proxy's `respond` module.

mod code;
mod log;

pub use code::Code;
pub use log::{Fields, Level, Log, NoLog, Value};

use std::borrow::Cow;
use std::fmt;

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The origin, or the way to it.
    Upstream,
    /// The client.
    Downstream,
    /// This process: a phase, an option, a limit of our own.
    Internal,
}

impl Source {
    /// The word used in logs and in the public API.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Upstream => "upstream",
            Source::Downstream => "downstream",
            Source::Internal => "internal",
        }
    }
}

/// The result of anything that can end a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of one request or one connection. One pointer wide, so that results stay small.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    code: Code,
    source: Source,
    can_retry: bool,
    phase: Option<&'static str>,
    status: Option<u16>,
    message: Cow<'static, str>,
    cause: Option<Cause>,
}

impl Error {
    /// An error with its code's usual source, not to be retried, without a cause.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let inner = Inner {
            code,
            source: code.source(),
            can_retry: false,
            phase: None,
            status: None,
            message: message.into(),
            cause: None,
        };
        Error { inner: Box::new(inner) }
    }

    /// The same error, blamed on `source`.
    #[must_use]
    pub fn from_source(mut self, source: Source) -> Self {
        self.inner.source = source;
        self
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.inner.cause = Some(cause.into());
        self
    }

    /// The same error, raised by a phase.
    #[must_use]
    pub fn in_phase(mut self, phase: &'static str) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    /// The same error, answered with `status` in place of its code's own.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.inner.status = Some(status);
        self
    }

    /// Says whether sending the request again is safe.
    #[must_use]
    pub fn retry(mut self, can_retry: bool) -> Self {
        self.inner.can_retry = can_retry;
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Who caused it.
    pub fn source(&self) -> Source {
        self.inner.source
    }

    /// Whether sending the request again is safe.
    pub fn can_retry(&self) -> bool {
        self.inner.can_retry
    }

    /// The phase that raised it, if one did.
    pub fn phase(&self) -> Option<&'static str> {
        self.inner.phase
    }

    /// The status a client gets for it; 499 stands for a client that left.
    pub fn status(&self) -> u16 {
        self.inner.status.unwrap_or_else(|| self.inner.code.status())
    }

    /// What happened, for the log and never for the client.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What happened and what caused it, as far as that is known.
    pub fn reason(&self) -> String {
        let mut reason = self.message().to_owned();
        let mut cause = self.cause().map(|cause| cause as &dyn std::error::Error);
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        reason
    }

    /// The same error for somebody else. Its causes are part of its message.
    #[must_use]
    pub fn again(&self) -> Self {
        let Inner { code, source, can_retry, phase, status, .. } = *self.inner;
        let message = self.reason().into();
        let inner = Inner { code, source, can_retry, phase, status, message, cause: None };
        Error { inner: Box::new(inner) }
    }

    /// What caused it.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.inner.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code().as_str(), self.source().as_str(), self.reason())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.cause.as_ref().map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn display_names_code_source_and_every_cause() {
        let error = Error::new(Code::ConnectRefused, "10.0.0.1:80")
            .because(std::io::Error::other("connection refused"));
        assert_eq!(
            error.to_string(),
            "CONNECT_REFUSED (upstream): 10.0.0.1:80: connection refused"
        );
    }

    #[test]
    fn a_status_of_its_own_wins_over_the_codes() {
        let error = Error::new(Code::PhaseFailed, "no").with_status(429);
        assert_eq!((error.status(), error.code().status()), (429, 500));
    }
}
