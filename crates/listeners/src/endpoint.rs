use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_tls::ServerTls;
use millrace_transport::{Address, SocketOptions};

use crate::{Admission, BindError, Bound, Inherited};

/// An address to listen on, and how.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address asked for. Port 0 leaves the choice to the system.
    pub address: Address,
    /// What is asked of the listening socket and of the connections it accepts.
    pub options: SocketOptions,
    /// Who may connect to its file, where it is a Unix socket.
    pub unix: UnixOptions,
    /// Whose connections it takes; none: everybody's.
    pub admission: Option<Arc<Admission>>,
    /// How handshakes are done with its clients; none in the clear.
    pub tls: Option<ServerTls>,
}

/// The file of a Unix socket. What is absent is left to the system: the umask, and who we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixOptions {
    /// Its permissions, whatever the umask; at most `0o777`. The file never allows more than this.
    pub mode: Option<u32>,
    /// The user it belongs to, by number.
    pub uid: Option<u32>,
    /// The group it belongs to, by number.
    pub gid: Option<u32>,
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

    /// An endpoint at any address, with the usual options.
    pub fn at(address: Address) -> Self {
        Endpoint {
            address,
            options: SocketOptions::default(),
            unix: UnixOptions::default(),
            admission: None,
            tls: None,
        }
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
            Some(socket) => {
                Bound::adopt(self, socket).and_then(|bound| inherited.adopted(self, bound))
            }
            None => Bound::new(self),
        };
        bound.map_err(|io| BindError { address: self.address.clone(), io })
    }
}
