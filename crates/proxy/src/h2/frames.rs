//! Looks at the frames that come in and go out, which `h2` shows nobody. For the time-outs of a
//! connection, for what it holds, for requests that `h2` refuses, and against floods of frames that
//! cost the client nothing.

use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::block::Fragment;
use super::bucket::Bucket;
use super::hpack::Blocks;
use super::opened::{Asked, Opened, Trailers, Why};
use super::reading::{MAX_TRAILER_BYTES, MAX_TRAILERS};
use super::scan::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEAD, FrameHead, GOAWAY, HEADERS,
    RST_STREAM, SETTINGS, Scanner, Seen, WINDOW_UPDATE,
};
use super::unread::{Held, Unread};

/// What a client sends before its first frame.
const PREFACE: usize = 24;

/// How often a client may enlarge a window for each KiB that it is sent.
const WINDOWS_PER_KIB: u64 = 8;

/// What a frame of a body takes beside its bytes, or in place of fewer.
const LEAST_DATA: u64 = 256;
/// The buffer that a frame of a body may keep from being freed, for as much of it as other frames
/// have filled.
const MOST_BESIDE: u64 = 64 * 1024;

/// What was seen of a connection's frames so far.
pub(super) struct Frames {
    incoming: Scanner,
    outgoing: Scanner,
    /// Reads the blocks of fields that come in.
    blocks: Blocks,
    fragment: Fragment,
    /// The stream of the block.
    block_stream: u32,
    /// Bytes of it that have come.
    block_bytes: u64,
    /// When the block of fields that is coming in began.
    pub(super) block_since: Option<Instant>,
    /// The client has sent its settings.
    pub(super) has_settings: bool,
    /// Something else came in their place (RFC 9113 §3.4).
    pub(super) is_broken: bool,
    /// Frames in the present poll of the connection.
    pub(super) in_this_poll: u32,
    /// When the last byte came.
    pub(super) last_read: Instant,
    /// What ends the connection is no fault of the client's, so that nothing of it is read after.
    pub(super) closes_at_once: bool,
    /// The client takes nothing: when that has been for too long.
    pub(super) blocked_until: Option<Instant>,
    /// When the client last did so.
    pub(super) last_blocked: Option<Instant>,
    control: Bucket,
    windows: Bucket,
    /// There were more of these frames than are taken.
    pub(super) is_flooded: bool,
    opened: Opened,
    held: Held,
    /// Bytes since the last DATA that were none.
    beside: u64,
    /// The last four bytes of the RST_STREAM, or of the first eight of the GOAWAY, that goes out.
    code: u32,
    /// Bytes of it that have gone.
    code_length: usize,
    /// The code of a GOAWAY that has gone, if it is one of an error.
    pub(super) goaway: Option<u32>,
    /// To be woken when the connection may read again.
    paused: Option<Waker>,
}

/// A request that `h2` has handed out.
pub(super) struct Accepted {
    /// What is wrong with it and cannot be seen in what was handed out.
    pub(super) wrong: Option<&'static str>,
    /// Too much is held already.
    pub(super) is_too_much: bool,
}

impl Frames {
    pub(super) fn new(max_control_frames: u32, unread: Arc<Unread>) -> Self {
        Frames {
            incoming: Scanner::after(PREFACE),
            outgoing: Scanner::after(0),
            blocks: Blocks::new(),
            fragment: Fragment::default(),
            block_stream: 0,
            block_bytes: 0,
            block_since: None,
            has_settings: false,
            is_broken: false,
            in_this_poll: 0,
            last_read: Instant::now(),
            closes_at_once: false,
            blocked_until: None,
            last_blocked: None,
            control: Bucket::new(max_control_frames, max_control_frames / 10),
            windows: Bucket::new(max_control_frames, max_control_frames / 10),
            is_flooded: false,
            opened: Opened::default(),
            held: Held::new(unread),
            beside: 0,
            code: 0,
            code_length: 0,
            goaway: None,
            paused: None,
        }
    }

    /// Bytes came in.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.last_read = Instant::now();
        while let Some(seen) = self.incoming.next(&mut bytes) {
            match seen {
                Seen::Head(frame) => self.begins(frame),
                Seen::Payload(frame, piece, is_last) => match frame.kind {
                    HEADERS | CONTINUATION => self.block(frame, piece, is_last),
                    RST_STREAM if is_last => self.opened.ended(frame.stream),
                    _ => {}
                },
            }
        }
    }

    /// The head of a frame is there.
    fn begins(&mut self, frame: FrameHead) {
        let FrameHead { length, kind, stream, .. } = frame;
        self.in_this_poll = self.in_this_poll.saturating_add(1);
        self.is_broken |= !self.has_settings && kind != SETTINGS;
        match kind {
            DATA if length > 0 || frame.has(END_STREAM) => self.control.give(length as u64),
            HEADERS => {
                self.block_since.get_or_insert(self.last_read);
                self.fragment = Fragment::of(frame);
                (self.block_stream, self.block_bytes) = (stream, 0);
                self.blocks.begin();
            }
            CONTINUATION => {}
            WINDOW_UPDATE => self.is_flooded |= !self.windows.take(self.last_read),
            _ => self.is_flooded |= !self.control.take(self.last_read),
        }
        if kind == DATA {
            self.hold(stream, length as u64);
        } else {
            self.beside = self.beside.saturating_add(length as u64);
        }
        self.has_settings |= kind == SETTINGS;
    }

    /// A piece of a block of fields.
    fn block(&mut self, frame: FrameHead, piece: &[u8], is_last: bool) {
        let piece = match frame.kind {
            HEADERS => self.fragment.of_piece(frame, piece),
            _ => piece,
        };
        self.block_bytes = self.block_bytes.saturating_add(piece.len() as u64);
        self.blocks.read(piece);
        if !is_last || !frame.has(END_HEADERS) {
            return;
        }
        self.block_since = None;
        let block = &self.blocks.block;
        if let Some(open) = self.opened.get(self.block_stream) {
            let are_too_large = block.fields > MAX_TRAILERS || block.bytes > MAX_TRAILER_BYTES;
            open.trailers = Trailers { are_too_large, have_pseudo: block.has_pseudo };
        } else {
            self.is_flooded |= !self.opened.open(self.block_stream, block);
        }
    }

    /// Bytes went out.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) {
        self.control.give(bytes.len() as u64);
        self.windows.give((bytes.len() as u64).saturating_mul(WINDOWS_PER_KIB));
        while let Some(seen) = self.outgoing.next(&mut bytes) {
            match seen {
                Seen::Head(_) => self.code_length = 0,
                Seen::Payload(frame, piece, is_last) => {
                    if let RST_STREAM | GOAWAY = frame.kind {
                        self.read_code(frame.kind, piece);
                    }
                    if is_last {
                        self.sent(frame);
                    }
                }
            }
        }
    }

    /// A piece of what tells the client of an error goes out.
    fn read_code(&mut self, kind: u8, piece: &[u8]) {
        // A GOAWAY begins with a stream, and may end with a text.
        let end = if kind == GOAWAY { 8 } else { 4 };
        for byte in piece.iter().take(end - self.code_length.min(end)) {
            self.code = self.code << 8 | u32::from(*byte);
            self.code_length += 1;
        }
    }

    /// All of a frame has gone.
    fn sent(&mut self, frame: FrameHead) {
        match frame.kind {
            RST_STREAM => self.opened.answered(frame.stream, Why::Reset(self.code)),
            HEADERS => self.opened.answered(frame.stream, Why::TooLarge),
            GOAWAY if self.code != 0 => self.goaway = Some(self.code),
            _ => {}
        }
        if frame.kind == RST_STREAM || (frame.kind <= HEADERS && frame.has(END_STREAM)) {
            self.opened.ended(frame.stream);
        }
    }

    /// A piece of a body is coming in.
    fn hold(&mut self, stream: u32, length: u64) {
        let beside = std::mem::take(&mut self.beside);
        if let Some(open) = self.opened.get(stream).filter(|open| open.is_wanted()) {
            let bytes = length.max(LEAST_DATA) + beside.min(MOST_BESIDE);
            open.unread += bytes;
            self.held.add(bytes);
        }
    }

    /// A piece of a body was taken.
    pub(super) fn took(&mut self, stream: u32, length: usize) {
        self.release(stream, |unread| unread.saturating_sub((length as u64).max(LEAST_DATA)));
    }

    /// All of a body that had come was taken. What is on its way from the socket to `h2` may be
    /// forgotten with it, but for the frame that is not complete.
    pub(super) fn took_all(&mut self, stream: u32) {
        let coming = self.incoming.unfinished_data().filter(|(of, _)| *of == stream);
        let left = coming.map_or(0, |(_, length)| (length as u64).max(LEAST_DATA));
        self.release(stream, |unread| unread.min(left));
    }

    fn release(&mut self, stream: u32, left: impl Fn(u64) -> u64) {
        let Some(open) = self.opened.get(stream).filter(|open| open.unread > 0) else { return };
        let before = open.unread;
        open.unread = left(before);
        let released = before - open.unread;
        // Nobody can blame a client that we do not read from for its silence.
        if released > 0 && self.paused.is_some() {
            self.last_read = Instant::now();
        }
        self.held.sub(released);
        self.resume();
    }

    fn resume(&mut self) {
        if !self.held.is_too_much()
            && let Some(waker) = self.paused.take()
        {
            waker.wake();
        }
    }

    /// How many bytes may be read now; `None` without a limit. While too much is held that is what
    /// completes a frame or a head that has begun, as nothing of it can be taken before, and then
    /// nothing. Wakes `waker` when this connection has given enough back; what others give back is
    /// to be looked for.
    pub(super) fn may_read(&mut self, waker: &Waker) -> Option<usize> {
        if !self.held.is_too_much() {
            self.paused = None;
            return None;
        }
        if !self.paused.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.paused = Some(waker.clone());
        }
        match (self.incoming.left(), self.block_since) {
            (0, Some(_)) => Some(FRAME_HEAD),
            (left, _) => Some(left),
        }
    }

    /// `h2` has handed out a request with a head of so many bytes.
    pub(super) fn accept(&mut self, stream: u32, head: u64) -> Accepted {
        let Some(open) = self.opened.accept(stream) else {
            return Accepted { wrong: None, is_too_much: self.held.is_too_much() };
        };
        open.head = head;
        let (wrong, own) = (open.wrong, open.unread + head);
        self.held.add(head);
        // However little there is left, a client may have one request.
        Accepted { wrong, is_too_much: self.held.is_too_much_beside(own) }
    }

    /// A request that was handed out is not served.
    pub(super) fn dismiss(&mut self, stream: u32) {
        self.opened.accept(stream);
        self.done(stream);
    }

    /// A request is over.
    pub(super) fn done(&mut self, stream: u32) {
        let held = self.opened.done(stream);
        self.held.sub(held);
        self.resume();
    }

    /// What is wrong with the trailers of a request.
    pub(super) fn trailers(&mut self, stream: u32) -> Trailers {
        self.opened.get(stream).map(|open| open.trailers).unwrap_or_default()
    }

    /// The request whose head is coming in, if more of that has come than is taken. `h2` reads on for a
    /// while, to answer it, and then ends the connection.
    pub(super) fn endless_head(&mut self, most: usize) -> Option<Asked> {
        let is_endless = self.block_since.is_some() && self.block_bytes > most as u64;
        let is_head = is_endless && self.opened.get(self.block_stream).is_none();
        is_head.then(|| Asked { bytes: self.block_bytes, ..Asked::of(&self.blocks.block) })
    }

    /// The requests that `h2` has refused since this was asked last.
    pub(super) fn take_refused(&mut self) -> Vec<(Asked, Why)> {
        let (refused, held) = self.opened.take_refused();
        self.held.sub(held);
        refused
    }

    /// Since when a response waits in `h2` though the socket would take it: for a window.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let since = self.opened.waits_since().filter(|_| self.blocked_until.is_none())?;
        Some(self.last_blocked.map_or(since, |blocked| blocked.max(since)))
    }
}

#[cfg(test)]
mod tests;
