use std::future::Future;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use millrace_transport::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::shared::Shared;
use crate::ProxyOptions;
use crate::stall::Stall;
use crate::timer::Timer;

/// Frames that are read in one poll of a connection before other tasks have their turn.
const FRAMES_PER_POLL: u32 = 128;
/// How long, and for how many bytes, a connection that was closed for its client's faults still
/// reads: closing with bytes unread makes the system send a reset, which can destroy the GOAWAY.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// How often a connection that may not read looks whether it may again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The connection as `h2` has it: with what was read of it before, and watched.
pub(super) struct Watched {
    stream: Stream,
    before: BytesMut,
    shared: Arc<Shared>,
    options: Arc<ProxyOptions>,
    pause: Timer,
    write_stall: Stall,
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
    pub(super) fn new(
        stream: Stream,
        before: BytesMut,
        shared: Arc<Shared>,
        options: Arc<ProxyOptions>,
    ) -> Self {
        let (pause, write_stall) = Default::default();
        Watched { stream, before, shared, options, pause, write_stall, closing: None }
    }

    /// How many bytes may be read now, if there is a limit. Pending while they have to wait: for other
    /// tasks, or for those that hold too much.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>>> {
        let mut frames = self.shared.frames.lock();
        if frames.in_this_poll > FRAMES_PER_POLL {
            // Woken again when the runtime has looked at its other sockets: to wake ourselves would
            // let it look at them only now and then.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        let limit = frames.may_read(cx.waker());
        if limit != Some(0) {
            return Poll::Ready(Ok(limit));
        }
        if self.stream.is_read_closed() && !self.options.half_close {
            // Behind what is not read; for a client that has left nothing is held.
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if self.pause.poll(cx, Some(Instant::now() + LOOK_AGAIN)).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Bytes went out, as many as `written` says.
    fn wrote<'a>(
        &mut self,
        bufs: impl IntoIterator<Item = &'a [u8]>,
        written: Poll<Result<usize>>,
    ) -> Poll<Result<usize>> {
        let shared = self.shared.clone();
        let mut frames = shared.frames.lock();
        match &written {
            Poll::Ready(Ok(count)) => {
                let mut left = *count;
                for buf in bufs {
                    let piece = &buf[..left.min(buf.len())];
                    left -= piece.len();
                    frames.wrote(piece);
                }
                self.write_stall.progress(*count);
                if frames.blocked_until.take().is_some() {
                    frames.last_blocked = Some(Instant::now());
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => frames.blocked_until = self.blocked_until(),
        }
        written
    }

    /// The client takes nothing: how long it may.
    fn blocked_until(&mut self) -> Option<Instant> {
        let ProxyOptions { write_timeout, min_bytes_per_second, .. } = &*self.options;
        self.write_stall.wait(*write_timeout, *min_bytes_per_second)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.shared.input_ended() {
            return Poll::Pending;
        }
        let limit = ready!(this.poll_turn(cx))?;
        let start = buf.filled().len();
        if this.before.is_empty() {
            let read = ready!(poll_read_some(&mut this.stream, cx, buf, limit));
            let is_end = match &read {
                Ok(count) => *count == 0 && buf.remaining() > 0,
                // Over TLS many clients end without saying so.
                Err(error) => error.kind() == ErrorKind::UnexpectedEof,
            };
            if is_end && this.options.half_close {
                // `h2` would give up all streams. The connection ends when they have.
                this.shared.end_input();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            read?;
        } else {
            let count = this.before.len().min(buf.remaining()).min(limit.unwrap_or(usize::MAX));
            buf.put_slice(&this.before[..count]);
            this.before.advance(count);
            if this.before.is_empty() {
                this.before = BytesMut::new();
            }
        }
        this.shared.frames.lock().read(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote([buf], written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(bufs.iter().map(|buf| &**buf), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if this.stream.needs_flush() {
            let blocked_until = if flushed.is_pending() { this.blocked_until() } else { None };
            let mut frames = this.shared.frames.lock();
            if flushed.is_ready() && frames.blocked_until.is_some() {
                this.write_stall.rest();
                frames.last_blocked = Some(Instant::now());
            }
            frames.blocked_until = blocked_until;
        }
        flushed
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
        if this.shared.frames.lock().closes_at_once {
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

/// Reads no more than `limit` bytes, if there is a limit. How many there were.
fn poll_read_some(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    limit: Option<usize>,
) -> Poll<Result<usize>> {
    let stream = Pin::new(stream);
    let Some(limit) = limit else {
        let before = buf.filled().len();
        return stream.poll_read(cx, buf).map_ok(|()| buf.filled().len() - before);
    };
    let room = limit.min(buf.remaining());
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
    ready!(stream.poll_read(cx, &mut part))?;
    let count = part.filled().len();
    buf.advance(count);
    Poll::Ready(Ok(count))
}
