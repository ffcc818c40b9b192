use bytes::Bytes;

/// What is kept of a request's body for another try, if a phase did not ask for more.
const REPLAY: usize = 64 * 1024;
/// The most that is sent at once of what is kept.
const PIECE: usize = 256 * 1024;

/// The start of a body, kept for another try, and how far this try has sent it.
#[derive(Default)]
pub(crate) struct Kept {
    /// What was there before the first try.
    early: Bytes,
    /// What has come since. One copy of it: the pieces share memory with the buffers they came in,
    /// and may be as small as a byte.
    later: Vec<u8>,
    cursor: usize,
    /// More may be kept than usual.
    most: usize,
    /// More was read than is kept: the body cannot be sent again.
    overflowed: bool,
}

impl Kept {
    /// Nothing has come since this, of a body of which as much as `most` may be kept.
    pub(crate) fn start(&mut self, early: Bytes, most: usize) {
        (self.early, self.most) = (early, most);
    }

    /// Whether the body can be sent from its start.
    pub(crate) fn can_replay(&self) -> bool {
        !self.overflowed
    }

    /// Another try begins.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Nothing is kept any more.
    pub(crate) fn overflow(&mut self) {
        *self = Kept { overflowed: true, ..Kept::default() };
    }

    /// The next of what this try has not sent.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let early = self.early.len();
        let piece = if self.cursor < early {
            self.early.slice(self.cursor..early.min(self.cursor + PIECE))
        } else {
            let left = self.later.get(self.cursor - early..).filter(|left| !left.is_empty())?;
            Bytes::copy_from_slice(&left[..left.len().min(PIECE)])
        };
        self.cursor += piece.len();
        Some(piece)
    }

    /// A piece that this try sends now, behind all that is kept.
    pub(crate) fn add(&mut self, data: &Bytes) {
        if self.overflowed {
            return;
        }
        if self.early.len() + self.later.len() + data.len() > self.most.max(REPLAY) {
            return self.overflow();
        }
        self.later.extend_from_slice(data);
        self.cursor += data.len();
    }

    /// How long the whole of it is that was there before the first try.
    pub(crate) fn early_length(&self) -> u64 {
        self.early.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kept: &mut Kept) -> Vec<u8> {
        std::iter::from_fn(|| kept.next()).flatten().collect()
    }

    #[test]
    fn what_was_there_and_what_came_is_sent_again_in_order() {
        let mut kept = Kept::default();
        let early = Bytes::from(vec![7; PIECE + 1]);
        kept.start(early.clone(), PIECE + 10);
        assert_eq!((kept.next().map(|piece| piece.len()), all(&mut kept).len()), (Some(PIECE), 1));
        kept.add(&Bytes::from_static(b"more"));
        assert!(kept.next().is_none());
        kept.rewind();
        assert_eq!(all(&mut kept), [&early[..], b"more"].concat());
    }

    #[test]
    fn beyond_what_is_kept_nothing_is() {
        let mut kept = Kept::default();
        kept.add(&Bytes::from(vec![0; REPLAY]));
        assert!(kept.can_replay());
        kept.add(&Bytes::from_static(b"x"));
        kept.rewind();
        assert!(!kept.can_replay() && kept.next().is_none());
    }
}
