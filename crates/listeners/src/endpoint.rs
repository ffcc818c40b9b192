use std::net::SocketAddr;
use std::path::PathBuf;

use millrace_tls::ServerTls;
use millrace_transport::{Address, SocketOptions};

use crate::{BindError, Bound, Inherited};

/// An address to listen on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address asked for. Port 0 leaves the choice to the system.
    pub address: Address,
    /// What is asked of the listening socket and of the connections it accepts.
    pub options: SocketOptions,
    /// How handshakes are done with its clients; none in the clear.
    pub tls: Option<ServerTls>,
}

impl Endpoint {
    /// A TCP endpoint with the usual options.
    pub fn tcp(address: SocketAddr) -> Self {
        Endpoint::at(Address::Ip(address))
    }

    /// A Unix socket with the usual options.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Endpoint::at(Address::Unix(path.into()))
    }

    fn at(address: Address) -> Self {
        Endpoint { address, options: SocketOptions::default(), tls: None }
    }

    /// The same over TLS.
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Binds it and begins to listen: from here on the system holds clients in its backlog.
    pub fn bind(&self) -> Result<Bound, BindError> {
        self.bind_or_inherit(&Inherited::default())
    }

    /// The same, on a socket that another process has handed over if there is one for it.
    pub fn bind_or_inherit(&self, inherited: &Inherited) -> Result<Bound, BindError> {
        let bound = match inherited.take(self) {
            Some(socket) => Bound::adopt(self, socket).inspect(|bound| inherited.adopted(bound)),
            None => Bound::new(self),
        };
        bound.map_err(|io| BindError { address: self.address.clone(), io })
    }
}
