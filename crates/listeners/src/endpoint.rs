use std::net::SocketAddr;
use std::path::PathBuf;

use millrace_transport::{Address, SocketOptions};

use crate::{BindError, Bound};

/// An address to listen on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address asked for. Port 0 leaves the choice to the system.
    pub address: Address,
    /// What is asked of the listening socket and of the connections it accepts.
    pub options: SocketOptions,
}

impl Endpoint {
    /// A TCP endpoint with the usual options.
    pub fn tcp(address: SocketAddr) -> Self {
        Endpoint { address: Address::Ip(address), options: SocketOptions::default() }
    }

    /// A Unix socket with the usual options.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Endpoint { address: Address::Unix(path.into()), options: SocketOptions::default() }
    }

    /// Binds it and begins to listen: from here on the system holds clients in its backlog.
    pub fn bind(&self) -> Result<Bound, BindError> {
        Bound::new(self).map_err(|io| BindError { address: self.address.clone(), io })
    }
}
