//! Bytes from one stream to another and back.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use millrace_transport::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Traffic;
use crate::idle::Idle;

/// What is held of each direction at most.
const HELD: usize = 16 * 1024;

/// How many bytes went through.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Why a relay ended before both sides had ended theirs.
pub(crate) enum Broken {
    Client(io::Error),
    Peer(io::Error),
    Idle,
}

/// Two streams. Dropped before both sides have ended theirs, whether one has failed or the server
/// stopped, each is reset, so that what came through is not taken for all.
struct Pair {
    client: Stream,
    peer: Stream,
    whole: bool,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.whole {
            let _ = self.client.reset_on_drop();
            let _ = self.peer.reset_on_drop();
        }
    }
}

/// Passes bytes on in both directions until both sides have ended theirs; the end of one is passed
/// on as well, and leaves the other open.
pub(crate) async fn relay(
    client: Stream,
    peer: Stream,
    idle: Option<Duration>,
    traffic: &Traffic,
    moved: &mut Moved,
) -> Result<(), Broken> {
    let mut pair = Pair { client, peer, whole: false };
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut idle = Idle::new(idle);
    let end = poll_fn(|cx| {
        let Pair { client, peer, .. } = &mut pair;
        let (moved_up, moved_down) = (up.moved, down.moved);
        let sent = up.poll(cx, client, peer).map_err(|failed| match failed {
            Failed::Read(error) => Broken::Client(error),
            Failed::Write(error) => Broken::Peer(error),
        });
        let received = down.poll(cx, peer, client).map_err(|failed| match failed {
            Failed::Read(error) => Broken::Peer(error),
            Failed::Write(error) => Broken::Client(error),
        });
        let (new_up, new_down) = (up.moved - moved_up, down.moved - moved_down);
        if new_up > 0 || new_down > 0 {
            idle.touch();
            traffic.add_received(new_up as usize);
            traffic.add_sent(new_down as usize);
            *moved = Moved { received: up.moved, sent: down.moved };
        }
        match (sent, received) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => {
                Poll::Ready(Err(broken))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => idle.poll(cx).map(|()| Err(Broken::Idle)),
        }
    })
    .await;
    pair.whole = end.is_ok();
    end
}

enum Failed {
    Read(io::Error),
    Write(io::Error),
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Made when there is something to hold, and given back when it has gone: a connection that
    /// rests has none.
    held: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// Bytes that were written.
    moved: u64,
    /// The reader has ended.
    ended: bool,
    /// That was passed on.
    shut: bool,
    needs_flush: bool,
}

impl Direction {
    /// Ready when all has gone, and the end behind it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Failed>> {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        loop {
            while self.start < self.end {
                let held = self.held.as_deref().unwrap_or_default();
                let piece = held.get(self.start..self.end).unwrap_or_default();
                let written = ready!(Pin::new(&mut *to).poll_write(cx, piece));
                let written = written.map_err(Failed::Write)?;
                if written == 0 {
                    return Poll::Ready(Err(Failed::Write(io::ErrorKind::WriteZero.into())));
                }
                self.start += written;
                self.moved += written as u64;
                self.needs_flush = true;
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failed::Write)?;
                self.shut = true;
                self.held = None;
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(cx, from) {
                Poll::Ready(filled) => filled.map_err(Failed::Read)?,
                Poll::Pending => {
                    self.held = None;
                    if self.needs_flush {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failed::Write)?;
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<()>> {
        let held = self.held.get_or_insert_with(|| vec![0; HELD].into_boxed_slice());
        let mut buffer = ReadBuf::new(held);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        (self.start, self.end) = (0, buffer.filled().len());
        self.ended = self.end == 0;
        Poll::Ready(Ok(()))
    }
}
