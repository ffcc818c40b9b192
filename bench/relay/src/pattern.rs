//! The bytes of every body, by their place in it: a piece that is missing, doubled or swapped shows.

use std::sync::LazyLock;

/// A prime, so that it divides no size of a buffer.
const PERIOD: usize = 251;
/// The most bytes that can be had at once.
pub const PIECE: usize = 256 * 1024;

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PIECE + PERIOD).map(|at| (at % PERIOD) as u8).collect());

/// The bytes of a body from `at` on, at most `most` of them.
pub fn piece(at: u64, most: u64) -> &'static [u8] {
    let start = (at % PERIOD as u64) as usize;
    &BYTES[start..start + most.min(PIECE as u64) as usize]
}

/// Whether `data` is what a body has at `at`.
pub fn fits(mut at: u64, data: &[u8]) -> bool {
    data.chunks(PIECE).all(|part| {
        let fits = piece(at, part.len() as u64) == part;
        at += part.len() as u64;
        fits
    })
}
