use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use crate::{Address, Keepalive};

/// One connection, whatever carries it. Reads and writes like any stream of the runtime.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A connection that belongs to no runtime: on its way from one to another.
#[derive(Debug)]
pub enum StdStream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(StdUnixStream),
}

impl Stream {
    /// Sends small writes at once. No effect on a Unix socket, which always does.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nodelay(nodelay),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Asks for keep-alive probes. No effect on a Unix socket, whose end is never far away.
    pub fn set_keepalive(&self, keepalive: &Keepalive) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => keepalive.apply(stream),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Makes the drop of this stream a reset (RST) in place of a clean end (FIN), so that the
    /// other side cannot take what it got for the whole. Bytes not yet sent are thrown away.
    pub fn reset_on_drop(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// The address of this end.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().map(Address::canonical),
            Stream::Unix(stream) => stream.local_addr().map(|address| unix_address(&address)),
        }
    }

    /// The address of the other end.
    pub fn remote_address(&self) -> io::Result<Address> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().map(Address::canonical),
            Stream::Unix(stream) => stream.peer_addr().map(|address| unix_address(&address)),
        }
    }

    /// Takes the connection out of its runtime.
    pub fn into_std(self) -> io::Result<StdStream> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(StdStream::Tcp),
            Stream::Unix(stream) => stream.into_std().map(StdStream::Unix),
        }
    }

    /// Gives the connection to the runtime of the caller. It has to be non-blocking, as what
    /// [`Stream::into_std`] returns is.
    pub fn from_std(stream: StdStream) -> io::Result<Self> {
        match stream {
            StdStream::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            StdStream::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Unix(stream)
    }
}

fn unix_address(address: &tokio::net::unix::SocketAddr) -> Address {
    Address::Unix(address.as_pathname().map(Into::into).unwrap_or_default())
}
