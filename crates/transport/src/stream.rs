use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::unix::{self, StdUnixStream, UnixStream};
use crate::{Address, Keepalive, MemoryStream, TlsStream};

/// One connection, whatever carries it. Reads and writes like any stream of the runtime.
///
/// Over TLS a read tells apart how the other side ended: said so (`close_notify`), it is the end of
/// the stream; not said, it is the error `UnexpectedEof`, as somebody on the way may have cut it.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Within the process.
    Memory(MemoryStream),
    /// Over TLS, which is over one of the others.
    Tls(Box<TlsStream>),
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
    /// Sends small writes at once. No effect but on TCP: the others always do.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nodelay(nodelay),
            Stream::Unix(_) | Stream::Memory(_) => Ok(()),
            Stream::Tls(stream) => stream.carrier().set_nodelay(nodelay),
        }
    }

    /// Asks for keep-alive probes. No effect but on TCP: other ends are never far away.
    pub fn set_keepalive(&self, keepalive: &Keepalive) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => keepalive.apply(stream),
            Stream::Unix(_) | Stream::Memory(_) => Ok(()),
            Stream::Tls(stream) => stream.carrier().set_keepalive(keepalive),
        }
    }

    /// Makes the drop of this stream a reset (RST) in place of a clean end (FIN), so that the
    /// other side cannot take what it got for the whole. Bytes not yet sent are thrown away. Over
    /// TLS no `close_notify` is sent either.
    pub fn reset_on_drop(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
            Stream::Unix(_) => Ok(()),
            Stream::Memory(stream) => {
                stream.reset();
                Ok(())
            }
            Stream::Tls(stream) => stream.reset_on_drop(),
        }
    }

    /// Whether a write may keep bytes back that only a flush sends.
    pub fn needs_flush(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// The address of this end. Within the process there is none: that is an error.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().map(Address::canonical),
            Stream::Unix(stream) => unix::local(stream),
            Stream::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
            Stream::Tls(stream) => stream.carrier().local_address(),
        }
    }

    /// The address of the other end. Within the process there is none: that is an error.
    pub fn remote_address(&self) -> io::Result<Address> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().map(Address::canonical),
            Stream::Unix(stream) => unix::remote(stream),
            Stream::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
            Stream::Tls(stream) => stream.carrier().remote_address(),
        }
    }

    /// Takes the connection out of its runtime. One over TLS, or within the process, stays where it
    /// is: that is an error.
    pub fn into_std(self) -> io::Result<StdStream> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(StdStream::Tcp),
            Stream::Unix(stream) => stream.into_std().map(StdStream::Unix),
            Stream::Memory(_) | Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
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

impl From<MemoryStream> for Stream {
    fn from(stream: MemoryStream) -> Self {
        Stream::Memory(stream)
    }
}

impl From<tokio_rustls::TlsStream<Stream>> for Stream {
    fn from(stream: tokio_rustls::TlsStream<Stream>) -> Self {
        Stream::Tls(Box::new(TlsStream::new(stream)))
    }
}
