use std::fmt;
use std::io;

use millrace_error::{Code, Error};
use millrace_listeners::BindError;

use crate::{ServiceError, ServiceId};

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
    /// A service failed before it was ready, or while others still started.
    Service {
        /// Its number.
        id: ServiceId,
        /// Its name.
        service: String,
        /// Why.
        error: ServiceError,
        /// Those that have not started as they depend on it, also by way of others.
        dependents: Vec<String>,
    },
    /// A service would depend on itself.
    Cycle {
        /// By way of these: the first is the last as well.
        path: Vec<String>,
    },
    /// There is no service of this number.
    NoService,
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
            StartError::Service { service, error, dependents, .. } => {
                write!(f, "service {service}: {error}")?;
                match &**dependents {
                    [] => Ok(()),
                    all => write!(f, "; not started, as they depend on it: {}", all.join(", ")),
                }
            }
            StartError::Cycle { path } => {
                write!(f, "services depend on each other: {}", path.join(" → "))
            }
            StartError::NoService => f.write_str("the server has no such service"),
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
            StartError::Service { error, .. } => Some(&**error),
            StartError::Cycle { .. }
            | StartError::NoService
            | StartError::Started
            | StartError::NotRunning
            | StartError::Closed => None,
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
