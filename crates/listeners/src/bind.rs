use std::io;
use std::net::SocketAddr;
use std::path::Path;

use millrace_tls::ServerTls;
use millrace_transport::{Address, SocketOptions};
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(unix)]
use crate::socket_file::SocketFile;
use crate::{Endpoint, TransportStack, stack::Listener};

/// A listening socket that belongs to no runtime yet. Listening ends when this and every
/// [`TransportStack`] made from it are dropped; the file of a Unix socket goes with this one.
#[derive(Debug)]
pub struct Bound {
    address: Address,
    options: SocketOptions,
    tls: Option<ServerTls>,
    socket: Socket,
    #[cfg(unix)]
    _file: Option<SocketFile>,
}

impl Bound {
    pub(crate) fn new(endpoint: &Endpoint) -> io::Result<Self> {
        let options = endpoint.options.clone();
        let mut bound = match &endpoint.address {
            Address::Ip(address) => Bound::tcp(*address, options),
            Address::Unix(path) => Bound::unix(path, options),
        }?;
        bound.tls = endpoint.tls.clone();
        Ok(bound)
    }

    fn tcp(asked: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(asked), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of a predecessor in TIME_WAIT must not hold the port. On Windows they never do,
        // and the option of this name would let another process take the port away.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            reuse_port(&socket)?;
        }
        if let (true, Some(only)) = (asked.is_ipv6(), options.ipv6_only) {
            socket.set_only_v6(only)?;
        }
        // Linux hands these on to accepted connections, which saves calls for each of those.
        if cfg!(target_os = "linux") {
            socket.set_tcp_nodelay(true)?;
            if let Some(keepalive) = &options.keepalive {
                keepalive.apply(&socket)?;
            }
        }
        options.apply_buffers(&socket)?;
        socket.bind(&asked.into())?;
        listen(&socket, &options)?;
        let address = Address::Ip(socket.local_addr()?.as_socket().unwrap_or(asked));
        Ok(Bound {
            address,
            options,
            tls: None,
            socket,
            #[cfg(unix)]
            _file: None,
        })
    }

    #[cfg(not(unix))]
    fn unix(_path: &Path, _options: SocketOptions) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn unix(path: &Path, options: SocketOptions) -> io::Result<Self> {
        SocketFile::remove_stale(path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        options.apply_buffers(&socket)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        let file = SocketFile::of(path)?;
        listen(&socket, &options)?;
        let address = Address::Unix(path.into());
        Ok(Bound { address, options, tls: None, socket, _file: Some(file) })
    }

    /// The address it is bound to, with the port that the system chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A stack that accepts on the runtime of the caller. Several runtimes may have one each, and
    /// every connection comes to one of them.
    pub fn stack(&self) -> io::Result<TransportStack> {
        let socket = self.socket.try_clone()?;
        let listener = match &self.address {
            Address::Ip(_) => Listener::Tcp(tokio::net::TcpListener::from_std(socket.into())?),
            #[cfg(unix)]
            Address::Unix(_) => Listener::Unix(tokio::net::UnixListener::from_std(socket.into())?),
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let stack = TransportStack::new(listener, self.address.clone(), self.options.keepalive);
        Ok(stack.tls(self.tls.clone()))
    }
}

/// Only Linux shares connections out between the sockets of an address. What other systems have under this
/// name lets several listen, and gives all connections to one of them.
fn reuse_port(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return socket.set_reuse_port(true);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn listen(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}
