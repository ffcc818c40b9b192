//! How bytes are cut on their way: where one read ends must not matter.

/// All at once, a byte at a time, and two ways that look random and are the same in each run.
pub(crate) const WAYS: [Way; 4] = [Way::Whole, Way::Bytes, Way::Random(1), Way::Random(2)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    Bytes,
    Random(u64),
}

/// Single bytes of more than this would take long and show nothing new.
const MOST_SINGLE: usize = 4096;

impl Way {
    pub(crate) fn cut(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Way::Whole => vec![bytes],
            Way::Bytes if bytes.len() <= MOST_SINGLE => bytes.chunks(1).collect(),
            Way::Bytes => bytes.chunks(1000).collect(),
            Way::Random(seed) => {
                let mut state = seed ^ bytes.len() as u64;
                let (mut rest, mut pieces) = (bytes, Vec::new());
                while !rest.is_empty() {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(seed | 1);
                    let most = (bytes.len() / 3).max(2) as u64;
                    let length = 1 + ((state >> 33) % most) as usize;
                    let (piece, after) = rest.split_at(length.min(rest.len()));
                    pieces.push(piece);
                    rest = after;
                }
                pieces
            }
        }
    }
}
