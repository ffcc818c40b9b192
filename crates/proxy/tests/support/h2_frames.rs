//! Origins that speak HTTP/2 frame by frame, as a test wants them to.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Origin, Wire};

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;
pub const HTTP_1_1_REQUIRED: u32 = 13;

/// An origin that plays `script` for each request, with the request's number, the first being 0.
pub fn scripted(
    script: impl Fn(usize, &mut Frames, u32) + Send + Sync + 'static,
) -> (Origin, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let count = requests.clone();
    let origin = Origin::new(move |_, wire| {
        let mut frames = Frames::accept(wire);
        while let Some(frame) = frames.find(HEADERS) {
            script(count.fetch_add(1, Ordering::SeqCst), &mut frames, frame.stream);
        }
    });
    (origin, requests)
}

pub fn ok(frames: &mut Frames, stream: u32) {
    frames.answer(stream, 0, 200, &[("content-length", "2")]);
    frames.send(DATA, END_STREAM, stream, b"ok");
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The origin's end of a connection, frame by frame.
pub struct Frames {
    pub wire: Wire,
}

impl Frames {
    /// Reads the client's preface, and sends settings.
    pub fn accept(wire: Wire) -> Frames {
        let mut frames = Frames { wire };
        let preface = frames.wire.bytes(24);
        assert_eq!(preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, []);
        frames
    }

    /// The next frame; none at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.wire.try_bytes(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.try_bytes(length)?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind, whatever comes before it; none at the end of the connection.
    pub fn find(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind && !(kind == SETTINGS && frame.flags & ACK != 0) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection: one that is closed unread is reset, and what was sent
    /// on it may be lost.
    pub fn drain(&mut self) {
        while self.next().is_some() {}
    }

    /// The stream of the next request.
    #[track_caller]
    pub fn request(&mut self) -> u32 {
        self.find(HEADERS).unwrap().stream
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> bool {
        let payload = payload.as_ref();
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.wire.try_send(frame)
    }

    pub fn answer(&mut self, stream: u32, flags: u8, status: u16, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, block(status, fields));
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| literal(&mut block, name, value));
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, block);
    }

    pub fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RESET, 0, stream, reason.to_be_bytes());
    }

    pub fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, payload);
    }
}

fn block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, ":status", &status.to_string());
    fields.iter().for_each(|(name, value)| literal(&mut block, name, value));
    block
}

/// A field as a literal without indexing, neither part compressed.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127);
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}
