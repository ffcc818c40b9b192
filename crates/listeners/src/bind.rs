use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use millrace_tls::ServerTls;
use millrace_transport::{Address, SocketOptions};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

#[cfg(unix)]
use crate::folder_lock::FolderLock;
#[cfg(unix)]
use crate::socket_file::SocketFile;
use crate::stack::Listener;
use crate::{Admission, Endpoint, ListeningSocket, TransportStack, UnixOptions};

/// A listening socket that belongs to no runtime yet. Listening ends when this and every
/// [`TransportStack`] made from it are dropped; the file of a Unix socket goes with this one.
#[derive(Debug)]
pub struct Bound {
    asked: Address,
    address: Address,
    options: SocketOptions,
    tls: Option<ServerTls>,
    admission: Option<Arc<Admission>>,
    /// It goes before the socket is closed: a file that nobody listens at is anybody's to replace, and what
    /// another has put in its place must not be taken for it.
    #[cfg(unix)]
    _file: Option<SocketFile>,
    socket: Socket,
    /// Whether another process has the socket too.
    is_shared: Arc<AtomicBool>,
    /// Whether it may accept; none: it may.
    hold: Option<watch::Receiver<bool>>,
}

impl Bound {
    pub(crate) fn new(endpoint: &Endpoint) -> io::Result<Self> {
        let options = endpoint.options.clone();
        let mut bound = match &endpoint.address {
            Address::Ip(address) => Bound::tcp(*address, options),
            Address::Unix(path) => Bound::unix(path, options, endpoint.unix),
        }?;
        bound.tls = endpoint.tls.clone();
        bound.admission = endpoint.admission.clone();
        Ok(bound)
    }

    /// One whose socket has come from another process. It is shared until the other process lets go
    /// of it, and as that one has it until [`settle`].
    pub(crate) fn adopt(endpoint: &Endpoint, found: ListeningSocket) -> io::Result<Self> {
        let (options, address, socket) = (endpoint.options.clone(), found.bound, found.socket);
        let is_shared = Arc::new(AtomicBool::new(true));
        #[cfg(unix)]
        let file = file_of(endpoint, &is_shared)?;
        Ok(Bound {
            asked: endpoint.address.clone(),
            address: endpoint.address.path().map_or(address, |path| Address::Unix(path.into())),
            options,
            tls: endpoint.tls.clone(),
            admission: endpoint.admission.clone(),
            socket,
            is_shared,
            hold: None,
            #[cfg(unix)]
            _file: file,
        })
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
        apply_tcp(&socket, &options)?;
        if let Some(most) = options.fast_open {
            fast_open(&socket, most)?;
        }
        options.apply_buffers(&socket)?;
        socket.bind(&asked.into())?;
        listen(&socket, &options)?;
        let address = Address::Ip(socket.local_addr()?.as_socket().unwrap_or(asked));
        Ok(Bound {
            asked: Address::Ip(asked),
            address,
            options,
            tls: None,
            admission: None,
            socket,
            is_shared: Arc::default(),
            hold: None,
            #[cfg(unix)]
            _file: None,
        })
    }

    #[cfg(not(unix))]
    fn unix(_path: &Path, _options: SocketOptions, _unix: UnixOptions) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn unix(path: &Path, options: SocketOptions, unix: UnixOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        options.apply_buffers(&socket)?;
        let address = Address::Unix(path.into());
        let is_shared = Arc::default();
        // Up to where it listens.
        let turn = address.abstract_name().is_none().then(|| FolderLock::of(path));
        let file = match address.abstract_name() {
            Some(_) => {
                bind_abstract(&socket, path)?;
                None
            }
            None => Some(SocketFile::bind(&socket, path, unix, Arc::clone(&is_shared))?),
        };
        listen(&socket, &options)?;
        drop(turn);
        Ok(Bound {
            asked: address.clone(),
            address,
            options,
            tls: None,
            admission: None,
            socket,
            is_shared,
            hold: None,
            _file: file,
        })
    }

    /// The same, of which nothing is accepted until this holds.
    pub(crate) fn held(self, hold: watch::Receiver<bool>) -> Self {
        Bound { hold: Some(hold), ..self }
    }

    /// The address it is bound to, with the port that the system chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, for another process. Nothing changes until [`Bound::sharing`] says that it has it.
    pub fn share(&self) -> io::Result<ListeningSocket> {
        let absolute = |address: &Address| match address {
            // The other process may run in another folder.
            Address::Unix(path) if address.abstract_name().is_none() => {
                std::path::absolute(path).map(Address::Unix)
            }
            Address::Unix(_) | Address::Ip(_) => Ok(address.clone()),
        };
        let (asked, bound) = (absolute(&self.asked)?, absolute(&self.address)?);
        Ok(ListeningSocket { asked, bound, socket: self.socket.try_clone()? })
    }

    /// Whether another process has the socket too: then clients in its backlog are left to that, and
    /// so is the file of a Unix socket. May be set for as long as it is of use to anybody.
    pub fn sharing(&self) -> Arc<AtomicBool> {
        self.is_shared.clone()
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
        let stack = stack.with(self.tls.clone(), self.admission.clone());
        Ok(stack.shared(self.is_shared.clone(), self.hold.clone()))
    }
}

/// Sets what can still be set of a socket that has come from another process, as for a new one.
pub(crate) fn settle(endpoint: &Endpoint, socket: &Socket) -> io::Result<()> {
    let options = &endpoint.options;
    if endpoint.address.ip().is_some() {
        apply_tcp(socket, options)?;
    }
    options.apply_buffers(socket)?;
    listen(socket, options)?;
    if let (Some(_), Some(most)) = (endpoint.address.ip(), options.fast_open) {
        fast_open(socket, most)?;
    }
    #[cfg(unix)]
    if let Some(file) = file_of(endpoint, &Arc::new(AtomicBool::new(true)))? {
        file.apply(endpoint.unix)?;
    }
    Ok(())
}

#[cfg(unix)]
fn file_of(endpoint: &Endpoint, is_shared: &Arc<AtomicBool>) -> io::Result<Option<SocketFile>> {
    let address = &endpoint.address;
    let path = address.path().filter(|_| address.abstract_name().is_none());
    path.map(|path| SocketFile::of(path, Arc::clone(is_shared))).transpose()
}

/// Linux hands these on to accepted connections, which saves calls for each of those.
fn apply_tcp(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    socket.set_tcp_nodelay(true)?;
    match &options.keepalive {
        Some(keepalive) => keepalive.apply(socket),
        None => socket.set_keepalive(false),
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

#[cfg(unix)]
fn bind_abstract(socket: &Socket, name: &Path) -> io::Result<()> {
    // Elsewhere the zero would end a path that is empty.
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    socket.bind(&socket2::SockAddr::unix(name)?)
}

/// Lets clients send data with their SYN. Whether they do is for the system to say, too
/// (`net.ipv4.tcp_fastopen`).
fn fast_open(socket: &Socket, most: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let most = libc::c_int::try_from(most).unwrap_or(libc::c_int::MAX);
        let size = size_of_val(&most) as libc::socklen_t;
        // SAFETY: the descriptor is open, and the value is an integer that is there for the call.
        let result = unsafe {
            let value = std::ptr::from_ref(&most).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_TCP, libc::TCP_FASTOPEN, value, size)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, most);
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn listen(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}
