use std::future::Future;
use std::io::{IoSlice, Result};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use millrace_transport::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::Frames;
use crate::timer::Timer;

/// Frames that are read in one poll of a connection before other tasks have their turn.
const FRAMES_PER_POLL: u32 = 512;
/// How long, and for how many bytes, a connection that was closed for its client's faults still
/// reads: closing with bytes unread makes the system send a reset, which can destroy the GOAWAY.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// The connection as `h2` has it: with what was read of it before, and watched.
pub(super) struct Watched {
    stream: Stream,
    before: BytesMut,
    frames: Arc<Mutex<Frames>>,
    /// How far closing has come, once it has begun.
    closing: Option<Closing>,
}

struct Closing {
    deadline: Instant,
    left: usize,
    timer: Timer,
    scrap: BytesMut,
    shut_down: bool,
}

impl Watched {
    pub(super) fn new(stream: Stream, before: BytesMut, frames: Arc<Mutex<Frames>>) -> Self {
        Watched { stream, before, frames, closing: None }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.frames.lock().in_this_poll > FRAMES_PER_POLL {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let start = buf.filled().len();
        if this.before.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let count = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before[..count]);
            this.before.advance(count);
            if this.before.is_empty() {
                this.before = BytesMut::new();
            }
        }
        this.frames.lock().read(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.frames.lock().wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.frames.lock().wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Ends our side, and then waits for the client to end its own, for a while.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let closing = this.closing.get_or_insert_with(|| Closing {
            deadline: Instant::now() + LINGER_TIME,
            left: LINGER_BYTES,
            timer: Timer::default(),
            scrap: BytesMut::new(),
            shut_down: false,
        });
        if !closing.shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            closing.shut_down = true;
        }
        if this.frames.lock().closes_at_once {
            return Poll::Ready(Ok(()));
        }
        loop {
            if closing.left == 0 {
                // One that goes on has to stop now, but may still read what it was told.
                return closing.timer.poll(cx, Some(closing.deadline)).map(Ok);
            }
            closing.scrap.clear();
            closing.scrap.reserve(16 * 1024);
            match pin!(this.stream.read_buf(&mut closing.scrap)).poll(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    closing.left = closing.left.saturating_sub(count);
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    return closing.timer.poll(cx, Some(closing.deadline)).map(Ok);
                }
            }
        }
    }
}
