use std::fmt;
use std::io;

use millrace_error::{Code, Error};
use millrace_listeners::BindError;

/// Why a server did not start. Nothing is left bound or running then.
#[derive(Debug)]
pub enum StartError {
    /// An endpoint could not be bound.
    Bind(BindError),
    /// The runtimes of a service could not be started.
    Runtime {
        /// The service.
        service: String,
        /// What the system said.
        io: io::Error,
    },
    /// The server runs already.
    Started,
    /// The service does not run yet: what is asked for needs one that does.
    NotRunning,
    /// The server was closed; it does not start again.
    Closed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(error) => error.fmt(f),
            StartError::Runtime { service, io } => write!(f, "service {service}: {io}"),
            StartError::Started => f.write_str("the server has been started already"),
            StartError::NotRunning => f.write_str("the service does not run yet"),
            StartError::Closed => f.write_str("the server has been closed"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Bind(error) => error.source(),
            StartError::Runtime { io, .. } => Some(io),
            StartError::Started | StartError::NotRunning | StartError::Closed => None,
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bind(error) => error.into(),
            other => Error::new(Code::Internal, other.to_string()),
        }
    }
}
