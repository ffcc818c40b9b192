use std::io::{IoSlice, Result};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use millrace_transport::{Stream, is_handshake_refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection reads before it lets other tasks have their turn. h2 handles frames for as long
/// as there are any, and in as much there may be thousands.
const TURN: u64 = 32 * 1024;

/// Bytes that a connection has read and written.
#[derive(Default)]
pub(super) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
    /// What was read before the present turn.
    before: AtomicU64,
    /// The origin has refused the handshake, which h2 does not pass on in a form to tell by.
    refused: AtomicBool,
}

impl Meter {
    /// The connection is about to be polled.
    pub(super) fn begin_turn(&self) {
        self.before.store(self.read(), Ordering::Relaxed);
    }

    fn turn_is_over(&self) -> bool {
        self.read() - self.before.load(Ordering::Relaxed) >= TURN
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }
}

/// A stream that counts.
pub(super) struct Metered {
    stream: Stream,
    meter: Arc<Meter>,
}

impl Metered {
    pub(super) fn new(stream: Stream, meter: Arc<Meter>) -> Self {
        Metered { stream, meter }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let refused = read.as_ref().is_err_and(is_handshake_refusal);
        self.meter.refused.fetch_or(refused, Ordering::Release);
        Poll::Ready(read)
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Result<usize>) -> Poll<Result<usize>> {
        let error = match written {
            Ok(count) => {
                self.meter.written.fetch_add(count as u64, Ordering::Release);
                return Poll::Ready(Ok(count));
            }
            Err(error) => error,
        };
        // An origin that has closed before it said anything may have left word why.
        if self.meter.read() == 0 {
            let mut byte = [0];
            ready!(self.read(cx, &mut ReadBuf::new(&mut byte)))?;
        }
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.meter.turn_is_over() {
            // Woken again when the runtime has looked at its other sockets: to wake ourselves would
            // let it look at them only now and then.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(self.read(cx, buf))?;
        let count = buf.filled().len() - before;
        self.meter.read.fetch_add(count as u64, Ordering::Release);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
