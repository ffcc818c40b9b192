use millrace_error::{Code, Error, Source};

/// Why no connection was made, for all who waited for it: an `Error` cannot be cloned.
#[derive(Clone)]
pub(super) struct Failure {
    code: Code,
    source: Source,
    message: String,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        let mut message = error.message().to_owned();
        let mut cause = error.cause().map(|cause| cause as &dyn std::error::Error);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Failure { code: error.code(), source: error.source(), message }
    }

    pub(super) fn error(&self) -> Error {
        Error::new(self.code, self.message.clone()).from_source(self.source).retry(true)
    }
}
