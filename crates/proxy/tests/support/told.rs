//! What a client of HTTP/2 that is put together frame by frame is told.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::support::frames::{Frame, Frames};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A response with this status has begun.
    Status(u16),
    /// The stream was reset, with this code.
    Reset(u32),
    /// The connection ends, with this code.
    GoAway(u32),
    /// It has ended without a word.
    End,
}

impl Frames {
    /// What comes first of an answer, a reset or the end of the connection.
    pub fn told(&mut self) -> Told {
        while let Some(frame) = self.try_next() {
            match frame.kind {
                Frames::HEADERS => return Told::Status(status(&frame)),
                Frames::RST_STREAM => return Told::Reset(frame.code()),
                Frames::GOAWAY => return Told::GoAway(frame.code()),
                _ => {}
            }
        }
        Told::End
    }
}

/// The status at the head of a response: from the static table, or three digits in Huffman's code.
pub fn status(head: &Frame) -> u16 {
    match head.payload[..] {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x48, length, ..] if length & 0x80 != 0 => {
            let text = &head.payload[2..][..usize::from(length & 0x7f)];
            let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
            let (mut at, mut status) = (0, 0);
            for _ in 0..3 {
                let word = |length: usize| u16::from_str_radix(&bits[at..][..length], 2).unwrap();
                let (digit, length) = match word(5) {
                    digit @ 0..=2 => (digit, 5),
                    _ => (word(6) - 0x19 + 3, 6),
                };
                status = 10 * status + digit;
                at += length;
            }
            status
        }
        _ => panic!("no status: {:?}", head.payload),
    }
}
