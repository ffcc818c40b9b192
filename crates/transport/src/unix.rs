//! Unix sockets of the runtime, and on systems without them types that have no values: what is done
//! with a stream is written once and compiles everywhere.

#[cfg(not(unix))]
pub use absent::{StdUnixStream, UnixStream};
#[cfg(unix)]
pub use std::os::unix::net::UnixStream as StdUnixStream;
#[cfg(unix)]
pub use tokio::net::UnixStream;

use std::io;

use crate::Address;

#[cfg(unix)]
fn named(address: &tokio::net::unix::SocketAddr) -> Address {
    Address::Unix(address.as_pathname().map(Into::into).unwrap_or_default())
}

#[cfg(unix)]
pub(crate) fn local(stream: &UnixStream) -> io::Result<Address> {
    stream.local_addr().map(|address| named(&address))
}

#[cfg(unix)]
pub(crate) fn remote(stream: &UnixStream) -> io::Result<Address> {
    stream.peer_addr().map(|address| named(&address))
}

#[cfg(not(unix))]
pub(crate) fn local(stream: &UnixStream) -> io::Result<Address> {
    match *stream {}
}

#[cfg(not(unix))]
pub(crate) fn remote(stream: &UnixStream) -> io::Result<Address> {
    match *stream {}
}

#[cfg(not(unix))]
mod absent {
    use std::io::{self, ErrorKind};
    use std::os::windows::io::{AsSocket, BorrowedSocket};
    use std::path::Path;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

    /// A connection that cannot be.
    #[derive(Clone, Copy, Debug)]
    pub enum UnixStream {}

    /// A connection that cannot be, of no runtime.
    #[derive(Clone, Copy, Debug)]
    pub enum StdUnixStream {}

    impl UnixStream {
        /// Fails: this system has no Unix sockets.
        pub async fn connect(_path: impl AsRef<Path>) -> io::Result<Self> {
            Err(ErrorKind::Unsupported.into())
        }

        /// Never called.
        pub fn from_std(stream: StdUnixStream) -> io::Result<Self> {
            match stream {}
        }

        /// Never called.
        pub fn into_std(self) -> io::Result<StdUnixStream> {
            match self {}
        }

        /// Never called.
        pub fn try_io<R>(
            &self,
            _interest: Interest,
            _work: impl FnOnce() -> io::Result<R>,
        ) -> io::Result<R> {
            match *self {}
        }

        /// Never called.
        pub fn try_read(&self, _buf: &mut [u8]) -> io::Result<usize> {
            match *self {}
        }

        /// Never called.
        pub fn try_write(&self, _buf: &[u8]) -> io::Result<usize> {
            match *self {}
        }

        /// Never called.
        pub async fn ready(&self, _interest: Interest) -> io::Result<Ready> {
            match *self {}
        }

        /// Never called.
        pub fn poll_read_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self {}
        }
    }

    impl AsSocket for UnixStream {
        fn as_socket(&self) -> BorrowedSocket<'_> {
            match *self {}
        }
    }

    impl AsyncRead for UnixStream {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match *self {}
        }
    }

    impl AsyncWrite for UnixStream {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            match *self {}
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self {}
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self {}
        }
    }
}
