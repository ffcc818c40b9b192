use std::io;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::Interest;

use crate::Stream;

/// What an idle connection has to say for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Open, and nothing has come in.
    Alive,
    /// The other side has closed it, or it failed.
    Closed,
    /// Bytes have come in that nobody has read.
    Data,
}

impl Stream {
    /// Asks the system, without waiting and without taking a byte. Over TLS what is no data, such
    /// as a session ticket, is dealt with here and does not count.
    pub fn is_quiet(&mut self) -> Quiet {
        match self {
            Stream::Tcp(stream) => verdict(peek(&*stream)),
            Stream::Unix(stream) => verdict(peek(&*stream)),
            Stream::Memory(stream) => stream.quiet(),
            Stream::Tls(stream) => stream.quiet(true),
        }
    }

    /// The same from what the runtime already knows: the system is asked only if an event has
    /// come in since the last read. A FIN still on its way through the driver is missed.
    pub fn try_quiet(&mut self) -> Quiet {
        verdict(match self {
            Stream::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(&*stream)),
            Stream::Unix(stream) => stream.try_io(Interest::READABLE, || peek(&*stream)),
            Stream::Memory(stream) => return stream.quiet(),
            Stream::Tls(stream) => return stream.quiet(false),
        })
    }

    /// Whether the runtime has seen the other side close its direction, even if there are bytes
    /// before the end that nobody has read. No system call.
    pub fn is_read_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Stream::Tcp(stream) => pin!(stream.ready(Interest::READABLE)).poll(&mut cx),
            Stream::Unix(stream) => pin!(stream.ready(Interest::READABLE)).poll(&mut cx),
            Stream::Memory(stream) => return stream.is_read_closed(),
            Stream::Tls(stream) => return stream.carrier().is_read_closed(),
        };
        match ready {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Waits until there is something to read, be it the end. Readiness may be false: only a
    /// read, or [`Stream::is_quiet`], tells. One task at a time may wait for it.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Memory(stream) => stream.poll_read_ready(cx),
            Stream::Tls(stream) => stream.poll_read_ready(cx),
        }
    }
}

fn peek<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<usize> {
    socket.into().peek(&mut [MaybeUninit::uninit()])
}

fn verdict(peeked: io::Result<usize>) -> Quiet {
    match peeked {
        Ok(0) => Quiet::Closed,
        Ok(_) => Quiet::Data,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Quiet::Alive,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Quiet::Alive,
        Err(_) => Quiet::Closed,
    }
}
