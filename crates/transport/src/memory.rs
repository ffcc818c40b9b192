use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Quiet;

/// One end of a connection within the process, made by [`MemoryStream::pair`]. No system call is
/// made for it, and it belongs to no runtime. Its methods may be called from several threads; one
/// task at a time may wait to read, and one to write.
pub struct MemoryStream {
    incoming: Arc<Direction>,
    outgoing: Arc<Direction>,
}

/// The way from one end to the other.
struct Direction {
    state: Mutex<State>,
    most: usize,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    end: Option<End>,
    /// Nobody will read any more.
    is_unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// All has been said.
    Closed,
    /// The other side has gone; what it had sent before can still be read.
    Reset,
}

impl MemoryStream {
    /// The two ends of a connection. Each way holds at most `most` bytes that nobody has read.
    pub fn pair(most: usize) -> (Self, Self) {
        let way = || Arc::new(Direction { state: Mutex::default(), most: most.max(1) });
        let (there, back) = (way(), way());
        let near = MemoryStream { incoming: back.clone(), outgoing: there.clone() };
        (near, MemoryStream { incoming: there, outgoing: back })
    }

    /// The bytes that have come in, at most `most` of them; none at the end.
    pub fn poll_take(&self, cx: &mut Context<'_>, most: usize) -> Poll<Result<Vec<u8>>> {
        let mut state = self.incoming.lock();
        match state.take(most) {
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(taken) => Poll::Ready(taken),
        }
    }

    /// Takes what there is room for: how many bytes, at least one unless there are none.
    pub fn poll_put(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let mut state = self.outgoing.lock();
        match state.put(bytes, self.outgoing.most) {
            None => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(put) => Poll::Ready(put),
        }
    }

    /// Ends this side. The other can still be read.
    pub fn end(&self) {
        self.outgoing.lock().finish(End::Closed);
    }

    /// Gives the connection up in both directions: the other side gets `ConnectionReset`, after what
    /// it has not read yet.
    pub fn reset(&self) {
        self.outgoing.lock().finish(End::Reset);
        self.incoming.lock().forget();
    }

    /// As [`MemoryStream::poll_take`], without waiting.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> Result<usize> {
        let taken = self.incoming.lock().take(buf.len());
        let taken = taken.unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))?;
        buf[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }

    /// As [`MemoryStream::poll_put`], without waiting.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let put = self.outgoing.lock().put(bytes, self.outgoing.most);
        put.unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
    }

    pub(crate) fn quiet(&self) -> Quiet {
        let state = self.incoming.lock();
        match (state.bytes.is_empty(), state.end) {
            (false, _) => Quiet::Data,
            (true, Some(_)) => Quiet::Closed,
            (true, None) => Quiet::Alive,
        }
    }

    pub(crate) fn is_read_closed(&self) -> bool {
        self.incoming.lock().end.is_some()
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.incoming.lock();
        if state.bytes.is_empty() && state.end.is_none() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Direction {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, most: usize) -> Option<Result<Vec<u8>>> {
        if !self.bytes.is_empty() {
            let rest = self.bytes.split_off(self.bytes.len().min(most));
            wake(&mut self.writer);
            return Some(Ok(std::mem::replace(&mut self.bytes, rest)));
        }
        match self.end? {
            End::Closed => Some(Ok(Vec::new())),
            End::Reset => Some(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    fn put(&mut self, bytes: &[u8], most: usize) -> Option<Result<usize>> {
        if self.is_unread || self.end.is_some() {
            return Some(Err(Error::from(ErrorKind::BrokenPipe)));
        }
        let room = most.saturating_sub(self.bytes.len());
        if room == 0 && !bytes.is_empty() {
            return None;
        }
        let count = room.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        wake(&mut self.reader);
        Some(Ok(count))
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() || end == End::Reset {
            self.end = Some(end);
        }
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    fn forget(&mut self) {
        self.is_unread = true;
        self.bytes = Vec::new();
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.poll_take(cx, buf.remaining()).map_ok(|bytes| buf.put_slice(&bytes))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.poll_put(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.outgoing.lock().finish(End::Closed);
        self.incoming.lock().forget();
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStream").field("quiet", &self.quiet()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;
    use crate::Stream;

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_full_way_waits() {
        let (mut near, mut far) = MemoryStream::pair(4);
        near.write_all(b"abcd").await.unwrap();
        let mut more = Box::pin(near.write_all(b"ef"));
        assert!(timeout(Duration::from_millis(20), &mut more).await.is_err());
        let mut got = [0; 3];
        far.read_exact(&mut got).await.unwrap();
        more.await.unwrap();
        far.write_all(b"back").await.unwrap();
        near.shutdown().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&got[..], &rest[..]), (&b"abc"[..], &b"def"[..]));
        drop(far);
        let mut back = Vec::new();
        near.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"back");
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_reset_is_told_apart_from_an_end_after_what_was_sent() {
        let (near, far) = MemoryStream::pair(16);
        let (mut near, mut far) = (Stream::from(near), Stream::from(far));
        near.write_all(b"half").await.unwrap();
        assert_eq!(far.is_quiet(), Quiet::Data);
        near.reset_on_drop().unwrap();
        drop(near);
        assert!(far.is_read_closed());
        let mut got = Vec::new();
        let error = far.read_to_end(&mut got).await.unwrap_err();
        assert_eq!((&got[..], error.kind()), (&b"half"[..], ErrorKind::ConnectionReset));
        assert_eq!(far.try_quiet(), Quiet::Closed);
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_bytes_and_by_the_end() {
        let (near, far) = MemoryStream::pair(16);
        let (mut near, mut far) = (Stream::from(near), Stream::from(far));
        assert_eq!((far.is_quiet(), far.is_read_closed()), (Quiet::Alive, false));
        let waiter = tokio::spawn(async move {
            std::future::poll_fn(|cx| far.poll_read_ready(cx)).await.unwrap();
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        });
        tokio::task::yield_now().await;
        near.write_all(b"a").await.unwrap();
        drop(near);
        assert_eq!(waiter.await.unwrap(), b"a");
    }
}
