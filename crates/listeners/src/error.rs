use std::fmt;
use std::io::{self, ErrorKind};

use millrace_error::{Code, Error};
use millrace_transport::Address;

/// An endpoint could not be bound.
#[derive(Debug)]
pub struct BindError {
    /// The address asked for.
    pub address: Address,
    /// What the system said.
    pub io: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, io } = self;
        match io.kind() {
            ErrorKind::AddrInUse => write!(f, "address in use: {address}"),
            ErrorKind::AddrNotAvailable => write!(f, "address not available: {address}"),
            ErrorKind::PermissionDenied => write!(f, "permission denied: {address}"),
            _ => write!(f, "cannot listen on {address}: {io}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.io)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Error::new(Code::Internal, error.to_string()).because(error.io)
    }
}
