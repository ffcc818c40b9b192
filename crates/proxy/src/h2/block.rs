//! Where the block of fields lies in a HEADERS frame (RFC 9113 §6.2).

use super::scan::{FrameHead, PADDED, PRIORITY};

/// What comes before the block, and how much of the block is to come.
#[derive(Default)]
pub(super) struct Fragment {
    before: [u8; 6],
    have: usize,
    need: usize,
    left: usize,
    /// The stream depends on itself, for which `h2` resets it and reads no block.
    pub(super) is_skipped: bool,
}

impl Fragment {
    /// Of a frame whose payload begins.
    pub(super) fn of(frame: FrameHead) -> Self {
        let need = usize::from(frame.has(PADDED)) + if frame.has(PRIORITY) { 5 } else { 0 };
        Fragment { need, left: frame.length.saturating_sub(need), ..Fragment::default() }
    }

    /// What of a piece of the payload belongs to the block.
    pub(super) fn of_piece<'a>(&mut self, frame: FrameHead, piece: &'a [u8]) -> &'a [u8] {
        let count = (self.need - self.have).min(piece.len());
        let (before, piece) = piece.split_at(count);
        self.before[self.have..][..count].copy_from_slice(before);
        self.have += count;
        if count > 0 && self.have == self.need {
            let mut before = &self.before[..self.need];
            if frame.has(PADDED) && !before.is_empty() {
                self.left = self.left.saturating_sub(before[0].into());
                before = &before[1..];
            }
            if let [a, b, c, d, ..] = *before {
                self.is_skipped = u32::from_be_bytes([a & 0x7f, b, c, d]) == frame.stream;
            }
        }
        let (block, _) = piece.split_at(self.left.min(piece.len()));
        self.left -= block.len();
        if self.is_skipped { &[] } else { block }
    }
}
