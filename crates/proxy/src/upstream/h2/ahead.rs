use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces from this size on are kept as they are.
const LARGE: usize = 4 * 1024;

/// What was read of a body before there was room for it.
///
/// A piece keeps the whole buffer that it was read into, with what other streams of the connection
/// had in it. So small ones are copied, and those that follow each other become one.
#[derive(Default)]
pub(super) struct Ahead {
    pieces: VecDeque<Bytes>,
    /// The small ones behind them.
    small: BytesMut,
}

impl Ahead {
    pub(super) fn push(&mut self, data: Bytes) {
        if data.len() < LARGE {
            return self.small.extend_from_slice(&data);
        }
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
        self.pieces.push_back(data);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let small = || (!self.small.is_empty()).then(|| std::mem::take(&mut self.small).freeze());
        self.pieces.pop_front().or_else(small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_in_order_and_small_ones_together() {
        let mut ahead = Ahead::default();
        let large = Bytes::from(vec![b'l'; LARGE]);
        for piece in [&b"a"[..], b"b", &large, &large, b"c", b"d"] {
            ahead.push(Bytes::copy_from_slice(piece));
        }
        let all: Vec<_> = std::iter::from_fn(|| ahead.pop()).collect();
        assert_eq!(all, [Bytes::from("ab"), large.clone(), large, Bytes::from("cd")]);
        ahead.push(Bytes::from("e"));
        assert_eq!(ahead.pop(), Some(Bytes::from("e")));
        assert_eq!(ahead.pop(), None);
    }
}
