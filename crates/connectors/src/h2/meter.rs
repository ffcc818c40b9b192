use std::io::{IoSlice, Result};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use millrace_transport::Stream;
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

    fn wrote(&self, written: Result<usize>) -> Poll<Result<usize>> {
        if let Ok(count) = written {
            self.meter.written.fetch_add(count as u64, Ordering::Release);
        }
        Poll::Ready(written)
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
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
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
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.wrote(written)
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
