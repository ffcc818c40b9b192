use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use millrace_transport::Stream;

/// Pieces up to this size are copied behind what waits already: one write in place of two.
const SMALL: usize = 4 * 1024;
/// From this much on, what waits is written before more is taken.
const HIGH_WATER: usize = 16 * 1024;
/// A read asks for this much at first, and for more while reads fill their room.
const FIRST_READ: usize = 8 * 1024;
const LARGE_READ: usize = 64 * 1024;

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

/// Reads once into `buf`. `bulk` asks for more room: a body is being read. Ready with 0 at the end
/// of the stream.
pub(crate) fn poll_read(
    stream: &mut Stream,
    buf: &mut BytesMut,
    bulk: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let room = if bulk { LARGE_READ } else { FIRST_READ };
    if buf.capacity() == 0 {
        *buf = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    if buf.capacity() - buf.len() < room / 2 {
        buf.reserve(room);
    }
    let read = pin!(stream.read_buf(buf)).poll(cx);
    if read.is_pending() && !bulk {
        give_back(buf);
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
