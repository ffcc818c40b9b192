use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream as Inner;
use tokio_rustls::rustls::{ConnectionCommon, SideData};

use crate::{Quiet, Stream};

/// Reads until an idle connection is known to be quiet. Whoever sends more records than this that
/// are no data does not mean well.
const MAX_READS: usize = 64;

/// A connection over TLS, its handshake done. Dropped, it says so to the other side
/// (`close_notify`), as far as that can be done without waiting.
pub struct TlsStream {
    inner: Inner<Stream>,
    is_reset: bool,
}

/// Runs `$work` for whichever side of TLS this is.
macro_rules! with_session {
    ($inner:expr, |$carrier:ident, $session:ident| $work:expr) => {
        match $inner {
            Inner::Client(stream) => {
                let ($carrier, $session) = stream.get_mut();
                $work
            }
            Inner::Server(stream) => {
                let ($carrier, $session) = stream.get_mut();
                $work
            }
        }
    };
}

impl TlsStream {
    pub(crate) fn new(inner: Inner<Stream>) -> Self {
        TlsStream { inner, is_reset: false }
    }

    /// The connection beneath.
    pub(crate) fn carrier(&self) -> &Stream {
        self.inner.get_ref().0
    }

    pub(crate) fn pin(&mut self) -> Pin<&mut Inner<Stream>> {
        Pin::new(&mut self.inner)
    }

    pub(crate) fn reset_on_drop(&mut self) -> io::Result<()> {
        self.is_reset = true;
        self.inner.get_mut().0.reset_on_drop()
    }

    pub(crate) fn quiet(&mut self, careful: bool) -> Quiet {
        with_session!(&mut self.inner, |carrier, session| quiet(carrier, session, careful))
    }

    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.quiet(false) == Quiet::Alive {
            ready!(self.inner.get_mut().0.poll_read_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        if self.is_reset {
            return;
        }
        with_session!(&mut self.inner, |carrier, session| {
            session.send_close_notify();
            while session.wants_write() {
                match session.write_tls(&mut Now { carrier, careful: false }) {
                    Ok(count) if count > 0 => {}
                    _ => break,
                }
            }
        });
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(self.carrier()).finish()
    }
}

/// Takes in what has come, without taking out what it says.
fn quiet<S: SideData>(
    carrier: &mut Stream,
    session: &mut ConnectionCommon<S>,
    careful: bool,
) -> Quiet {
    for _ in 0..MAX_READS {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Quiet::Data,
            Ok(state) if state.peer_has_closed() => return Quiet::Closed,
            Ok(_) => {}
            Err(_) => return Quiet::Closed,
        }
        match session.read_tls(&mut Now { carrier, careful }) {
            Ok(0) => return Quiet::Closed,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Quiet::Alive,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Quiet::Closed,
        }
    }
    Quiet::Data
}

/// Reads and writes without waiting, and without any task being told when it could go on.
struct Now<'a> {
    carrier: &'a mut Stream,
    /// Asks the system where the runtime has not heard of anything.
    careful: bool,
}

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let known = match self.carrier {
            Stream::Tcp(stream) => stream.try_read(buf),
            Stream::Unix(stream) => stream.try_read(buf),
            Stream::Memory(stream) => stream.try_read(buf),
            Stream::Tls(stream) => {
                let mut buf = ReadBuf::new(buf);
                let read =
                    stream.pin().poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
                return now(read).map(|()| buf.filled().len());
            }
        };
        match known {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.careful => {}
            known => return known,
        }
        match &*self.carrier {
            Stream::Tcp(stream) => (&*SockRef::from(stream)).read(buf),
            Stream::Unix(stream) => (&*SockRef::from(stream)).read(buf),
            Stream::Memory(_) | Stream::Tls(_) => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.carrier {
            Stream::Tcp(stream) => stream.try_write(buf),
            Stream::Unix(stream) => stream.try_write(buf),
            Stream::Memory(stream) => stream.try_write(buf),
            Stream::Tls(stream) => {
                now(stream.pin().poll_write(&mut Context::from_waker(Waker::noop()), buf))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}
