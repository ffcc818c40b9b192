use std::fmt;

/// Why bytes were refused. The connection they came from cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Not valid HTTP, or ambiguous.
    BadRequest(&'static str),
    /// Valid so far, and larger than allowed.
    TooLarge(&'static str),
    /// A version other than 1.0 and 1.1.
    VersionNotSupported,
    /// A transfer coding other than chunked.
    NotImplemented(&'static str),
}

impl ParseError {
    /// What was wrong, for the log.
    pub fn message(self) -> &'static str {
        match self {
            ParseError::BadRequest(message)
            | ParseError::TooLarge(message)
            | ParseError::NotImplemented(message) => message,
            ParseError::VersionNotSupported => "not HTTP/1.0 or HTTP/1.1",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ParseError {}
