//! Origins that speak HTTP/2 frame by frame, as a test wants them to.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use crate::support::frames::*;
use crate::support::{Origin, Wire};

/// An origin that plays `script` for each request, with the request's number, the first being 0.
pub fn scripted(
    script: impl Fn(usize, &mut Frames, u32) + Send + Sync + 'static,
) -> (Origin, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let count = requests.clone();
    let origin = Origin::new(move |_, wire| {
        let mut frames = Frames::accept(wire);
        while let Some(frame) = frames.find(Frames::HEADERS) {
            script(count.fetch_add(1, Ordering::SeqCst), &mut frames, frame.stream);
        }
    });
    (origin, requests)
}

pub fn ok(frames: &mut Frames, stream: u32) {
    frames.answer(stream, 0, 200, &[("content-length", "2")]);
    frames.try_send(Frames::DATA, Frames::END_STREAM, stream, b"ok");
}

/// An origin's end of a connection. What it sends may find nobody any more.
impl Frames {
    /// Reads the client's preface, and sends settings.
    pub fn accept(wire: Wire) -> Frames {
        let mut frames = Frames { wire };
        assert_eq!(frames.wire.bytes(PREFACE.len()), PREFACE);
        frames.try_send(Frames::SETTINGS, 0, 0, []);
        frames
    }

    /// The next frame of this kind, whatever comes before it; none at the end of the connection.
    pub fn find(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.try_next()?;
            let is_ack = kind == Frames::SETTINGS && frame.flags & Frames::ACK != 0;
            if frame.kind == kind && !is_ack {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection: one that is closed unread is reset, and what was sent
    /// on it may be lost.
    pub fn drain(&mut self) {
        while self.try_next().is_some() {}
    }

    /// The stream of the next request.
    #[track_caller]
    pub fn request(&mut self) -> u32 {
        self.find(Frames::HEADERS).unwrap().stream
    }

    pub fn answer(&mut self, stream: u32, flags: u8, status: u16, fields: &[(&str, &str)]) {
        let status = status.to_string();
        let fields = [&[(":status", status.as_str())], fields].concat();
        let flags = flags | Frames::END_HEADERS;
        self.try_send(Frames::HEADERS, flags, stream, fields_block(&fields));
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let flags = Frames::END_HEADERS | Frames::END_STREAM;
        self.try_send(Frames::HEADERS, flags, stream, fields_block(fields));
    }

    pub fn reset(&mut self, stream: u32, reason: u32) {
        self.try_send(Frames::RST_STREAM, 0, stream, reason.to_be_bytes());
    }

    pub fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.try_send(Frames::GOAWAY, 0, 0, payload);
    }
}
