use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use millrace_transport::Stream;

/// Pieces up to this size are copied behind what waits already: one write in place of two.
const SMALL: usize = 4 * 1024;
/// From this much on, what waits is written before more is taken.
const HIGH_WATER: usize = 16 * 1024;
/// A read of a head asks for this much, and one of a body for more.
const FIRST_READ: usize = 8 * 1024;
const LARGE_READ: usize = 64 * 1024;
/// What is asked for of a body of which so many reads in turn filled their room: each costs the same,
/// however much it brings.
const WIDE_READ: usize = 256 * 1024;
const FULL_READS: u8 = 8;
/// How many bodies are read like that at once in a process: a client that stops taking its answer
/// leaves the last piece of it here.
const MAX_WIDE: usize = 256;

/// What waits to be written: small pieces, then at most one large one, then small ones.
#[derive(Default)]
pub(crate) struct WriteQueue {
    first: Vec<u8>,
    written: usize,
    large: Bytes,
    last: Vec<u8>,
    /// All is with the stream, which may have kept some of it back.
    unflushed: bool,
}

impl WriteQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.is_written() && !self.unflushed
    }

    fn is_written(&self) -> bool {
        self.written == self.first.len() && self.large.is_empty() && self.last.is_empty()
    }

    /// Whether another piece may be put in before a flush.
    pub(crate) fn has_room(&self) -> bool {
        self.large.is_empty() && self.first.len() - self.written < HIGH_WATER
    }

    /// Where small pieces are appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.large.is_empty() { &mut self.first } else { &mut self.last }
    }

    pub(crate) fn put(&mut self, data: Bytes) {
        if data.len() <= SMALL || !self.large.is_empty() {
            self.tail().extend_from_slice(&data);
        } else {
            self.large = data;
        }
    }

    /// Writes until nothing waits, here or in the stream; adds what was written to `count`.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        count: &mut u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let parts = [
                IoSlice::new(&self.first[self.written..]),
                IoSlice::new(&self.large),
                IoSlice::new(&self.last),
            ];
            let pinned = Pin::new(&mut *stream);
            let written = if self.large.is_empty() {
                ready!(pinned.poll_write(cx, &self.first[self.written..]))?
            } else {
                ready!(pinned.poll_write_vectored(cx, &parts))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *count += written as u64;
            self.unflushed |= stream.needs_flush();
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        let first = count.min(self.first.len() - self.written);
        self.written += first;
        count -= first;
        let large = count.min(self.large.len());
        self.large.advance(large);
        count -= large;
        if self.written < self.first.len() || !self.large.is_empty() {
            if self.written >= HIGH_WATER {
                // Of a queue that never runs empty, what has gone out must not stay.
                self.first.drain(..self.written);
                self.written = 0;
            }
            return;
        }
        self.large = Bytes::new();
        self.first.clear();
        self.written = count;
        std::mem::swap(&mut self.first, &mut self.last);
        if self.written == self.first.len() {
            self.first.clear();
            self.written = 0;
        }
    }

    /// Gives memory back, for a connection that goes idle.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && self.first.capacity() > SMALL {
            *self = WriteQueue::default();
        }
    }
}

/// Buffers put away on each thread at most: as many as are likely to be wanted at once.
const MAX_SPARE: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// How much the reads of a body ask for.
#[derive(Default)]
pub(crate) struct ReadSize {
    /// Reads in turn that filled their room.
    full: u8,
    wide: Option<Wide>,
}

impl ReadSize {
    fn room(&self) -> usize {
        if self.wide.is_some() { WIDE_READ } else { LARGE_READ }
    }

    fn learn(&mut self, is_full: bool, count: usize) {
        if is_full {
            self.full = self.full.saturating_add(1);
            if self.full >= FULL_READS && self.wide.is_none() {
                self.wide = Wide::take();
            }
        } else {
            self.full = 0;
            if count < LARGE_READ {
                self.wide = None;
            }
        }
    }
}

/// One of the [`MAX_WIDE`].
struct Wide;

static WIDE: AtomicUsize = AtomicUsize::new(0);

impl Wide {
    fn take() -> Option<Self> {
        let more = |taken| (taken < MAX_WIDE).then_some(taken + 1);
        WIDE.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Wide)
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        WIDE.fetch_sub(1, Relaxed);
    }
}

/// Reads once into `buf`. `bulk` asks for more room: a body is being read. Ready with 0 at the end
/// of the stream.
pub(crate) fn poll_read(
    stream: &mut Stream,
    buf: &mut BytesMut,
    bulk: Option<&mut ReadSize>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let room = bulk.as_ref().map_or(FIRST_READ, |size| size.room());
    if buf.capacity() == 0 {
        *buf = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    if buf.capacity() - buf.len() < room / 2 {
        buf.reserve(room);
    }
    let free = buf.capacity() - buf.len();
    let read = pin!(stream.read_buf(buf)).poll(cx);
    match (bulk, &read) {
        (Some(size), Poll::Ready(Ok(count))) => size.learn(*count == free, *count),
        (None, Poll::Pending) => give_back(buf),
        _ => {}
    }
    read
}

/// Puts an empty buffer away, so that a connection that waits holds none.
pub(crate) fn give_back(buf: &mut BytesMut) {
    if !buf.is_empty() || buf.capacity() == 0 {
        return;
    }
    let buf = std::mem::take(buf);
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MAX_SPARE {
            spare.push(buf);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_leaves_in_order_however_it_is_cut() {
        for step in 1..64 {
            let mut queue = WriteQueue::default();
            queue.tail().extend_from_slice(b"head ");
            queue.put(Bytes::from(vec![b'x'; SMALL + 1]));
            queue.put(Bytes::from_static(b" tail"));
            let mut out = Vec::new();
            while !queue.is_empty() {
                let all: Vec<u8> =
                    [&queue.first[queue.written..], &queue.large[..], &queue.last[..]].concat();
                let n = step.min(all.len());
                out.extend_from_slice(&all[..n]);
                queue.advance(n);
            }
            assert_eq!(out.len(), 5 + SMALL + 1 + 5);
            assert!(out.starts_with(b"head x") && out.ends_with(b"x tail"));
        }
    }

    #[test]
    fn a_body_whose_reads_are_full_is_read_in_large_pieces_as_long_as_they_are() {
        let mut size = ReadSize::default();
        (1..FULL_READS).for_each(|_| size.learn(true, LARGE_READ));
        assert_eq!(size.room(), LARGE_READ);
        size.learn(true, LARGE_READ);
        assert_eq!(size.room(), WIDE_READ);
        size.learn(false, WIDE_READ - 1);
        assert_eq!(size.room(), WIDE_READ);
        size.learn(false, LARGE_READ - 1);
        assert_eq!(size.room(), LARGE_READ);
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let mut queue = WriteQueue::default();
        queue.put(Bytes::from(vec![b'x'; SMALL]));
        for number in 0..10_000_u32 {
            assert!(queue.has_room());
            queue.put(Bytes::from(number.to_be_bytes().repeat(SMALL / 4)));
            queue.advance(SMALL);
            assert_eq!(queue.first[queue.written..], number.to_be_bytes().repeat(SMALL / 4));
        }
        assert!(queue.first.capacity() <= 4 * HIGH_WATER, "{}", queue.first.capacity());
    }
}
