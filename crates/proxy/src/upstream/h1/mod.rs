//! HTTP/1.1 towards origins: one request out, and in `answer` what comes back.

mod answer;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_connectors::{Connection, Connector, Peer};
use millrace_error::{Code, Error, Result};
use millrace_http1::{
    BodyDecoder, CHUNK_END, Framing, HeadLimits, write_chunk_start, write_last_chunk,
    write_request_head,
};
use millrace_message::{Fields, Method, RequestHead};
use tokio::io::AsyncWrite;

use self::answer::Incoming;
use super::closed;
use crate::BodySize;
use crate::stall::Stall;
use crate::timer::Timer;
use crate::wire::{ReadSize, WriteQueue, give_back};

/// One request and its response on an HTTP/1.1 connection to an origin.
pub(crate) struct H1Exchange {
    connection: Connection,
    out: WriteQueue,
    written: u64,
    chunked: bool,
    /// What is missing of a body of known length.
    left: u64,
    request_done: bool,
    /// The protocol that the request asks to change to.
    upgrade: Option<Vec<u8>>,
    /// Bytes go through as they come, until each side ends.
    tunnel: bool,
    /// Our side of the tunnel has ended.
    shut: bool,
    method: Method,
    limits: HeadLimits,
    seen: usize,
    got_any: bool,
    /// Interim responses so far.
    interim: u32,
    /// A head of the answer leaves open where the next begins.
    doubtful: bool,
    /// Writing failed: the rest of the request will not go out.
    broken: bool,
    response: Option<Incoming>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    read_size: ReadSize,
    read_stall: Stall,
    write_stall: Stall,
    read_timer: Timer,
    write_timer: Timer,
}

impl H1Exchange {
    pub(crate) fn new(connection: Connection, peer: &Peer, limits: HeadLimits) -> Self {
        H1Exchange {
            connection,
            out: WriteQueue::default(),
            written: 0,
            chunked: false,
            left: 0,
            request_done: false,
            upgrade: None,
            tunnel: false,
            shut: false,
            method: Method::GET,
            limits,
            seen: 0,
            got_any: false,
            interim: 0,
            doubtful: false,
            broken: false,
            response: None,
            read_timeout: peer.options.read_timeout,
            write_timeout: peer.options.write_timeout,
            read_size: ReadSize::default(),
            read_stall: Stall::default(),
            write_stall: Stall::default(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        }
    }

    /// Whether the connection had served a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.connection.is_reused()
    }

    /// Whether a byte of the request may have reached the origin.
    pub(crate) fn sent_any(&self) -> bool {
        self.written > 0
    }

    /// Whether the connection had died before this request, as idle ones do: it was reused, and the
    /// error is its end, before any answer.
    pub(crate) fn was_stale(&self, error: &Error) -> bool {
        self.is_reused() && !self.got_any && error.code() == Code::UpstreamClosed
    }

    /// The head that follows asks to change to `protocol`.
    pub(crate) fn ask_upgrade(&mut self, protocol: Vec<u8>) {
        self.upgrade = Some(protocol);
    }

    /// What is sent and received from now on is a tunnel's.
    pub(crate) fn become_tunnel(&mut self) {
        (self.tunnel, self.request_done) = (true, false);
        let body = BodyDecoder::new(Framing::UntilClose);
        self.response = Some(Incoming { body, persistent: false, idle_hint: None });
    }

    /// Whether it is a tunnel.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Queues the head; its framing fields are set here.
    pub(crate) fn send_head(&mut self, head: &mut RequestHead, size: BodySize) {
        self.method = head.method.clone();
        // Whatever a phase has put there: framing and the connection are not its business.
        for name in ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade"] {
            head.fields.remove(name);
        }
        if let Some(protocol) = &self.upgrade {
            head.fields.push_unchecked(b"connection", b"upgrade");
            head.fields.push_unchecked(b"upgrade", protocol);
        }
        match size {
            BodySize::None => self.request_done = true,
            BodySize::Known(length) => {
                let mut digits = itoa::Buffer::new();
                head.fields.push_unchecked(b"content-length", digits.format(length).as_bytes());
                (self.left, self.request_done) = (length, length == 0);
            }
            BodySize::Unknown => {
                head.fields.push_unchecked(b"transfer-encoding", b"chunked");
                self.chunked = true;
            }
        }
        write_request_head(head, self.out.tail());
    }

    /// Queues a piece of the body.
    pub(crate) fn send_data(&mut self, data: Bytes) {
        if self.chunked {
            write_chunk_start(data.len(), self.out.tail());
            self.out.put(data);
            self.out.tail().extend_from_slice(CHUNK_END);
            return;
        }
        // With its last byte the request is done, even if the client has not said so yet: its version
        // may tell that later, and an origin may answer before.
        if self.left > 0 {
            self.left = self.left.saturating_sub(data.len() as u64);
            self.request_done = self.left == 0;
        }
        self.out.put(data);
    }

    /// Ends the request.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) {
        if self.chunked && !self.request_done {
            write_last_chunk(trailers, self.out.tail());
        }
        self.request_done = true;
    }

    /// Ready when there is room for another piece.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    /// Ready when all that was queued is with the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.is_empty() {
            return self.poll_shut(cx);
        }
        let before = self.written;
        let written = self.out.poll_write(&mut self.connection.stream, cx, &mut self.written);
        if self.written > before {
            self.write_stall.progress((self.written - before) as usize);
        }
        match written {
            Poll::Ready(Ok(())) => {
                self.write_stall.rest();
                self.poll_shut(cx)
            }
            Poll::Ready(Err(error)) => {
                self.broken = true;
                Poll::Ready(Err(closed("while the request was sent", error)))
            }
            Poll::Pending => {
                let deadline = self.write_stall.wait(self.write_timeout, 0);
                ready!(self.write_timer.poll(cx, deadline));
                self.broken = true;
                Poll::Ready(Err(Error::new(Code::WriteTimeout, "the origin took nothing")))
            }
        }
    }

    /// Tells the origin that the client's side of a tunnel has ended.
    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.tunnel && self.request_done && !self.shut {
            let stream = Pin::new(&mut self.connection.stream);
            let shut = ready!(stream.poll_shutdown(cx));
            self.shut = true;
            shut.map_err(|error| closed("before its end of the tunnel", error))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes the end of the connection a reset: the origin shall not take what it got for all.
    pub(crate) fn abort(&mut self) {
        // Fails where the connection has ended by itself.
        let _ = self.connection.stream.reset_on_drop();
    }

    /// Other work goes on: the origin is not waited for.
    pub(crate) fn rest(&mut self) {
        self.read_stall.rest();
    }

    /// Gives the connection back if both sides ended cleanly; closes it otherwise.
    pub(crate) fn release(mut self, connector: &Connector, shard: usize, peer: &Peer) {
        let Some(response) = &self.response else { return };
        let clean = response.persistent
            && !self.doubtful
            && response.body.is_done()
            && self.request_done
            && self.out.is_empty()
            && self.connection.buf.is_empty();
        if !clean {
            return;
        }
        let idle = peer.options.idle_timeout;
        let idle = response.idle_hint.map_or(idle, |hint| hint.min(idle));
        give_back(&mut self.connection.buf);
        connector.release(shard, self.connection, idle);
    }
}
