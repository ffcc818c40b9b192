//! See `crates/fuzz-targets`.

#![allow(clippy::panic)]

use super::Unread;
use super::frames::Frames;
use super::hpack::Blocks;
use super::scan::{Scanner, Seen};

/// The kind, flags, stream and payload of each frame, and whether it is whole.
type Found = Vec<(u8, u8, u32, Vec<u8>, bool)>;

fn scanned<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Found {
    let mut scanner = Scanner::after(24);
    let mut found = Found::new();
    for mut piece in pieces {
        while let Some(seen) = scanner.next(&mut piece) {
            match seen {
                Seen::Head(head) => {
                    found.push((head.kind, head.flags, head.stream, Vec::new(), false));
                }
                Seen::Payload(_, bytes, is_last) => {
                    let Some(frame) = found.last_mut().filter(|frame| !frame.4) else {
                        panic!("a payload without a head");
                    };
                    frame.3.extend_from_slice(bytes);
                    frame.4 = is_last;
                }
            }
        }
        assert!(piece.is_empty(), "bytes are left");
    }
    found
}

/// The frames of a connection: the same however they are cut, and what is counted as held is given
/// back when the connection ends.
pub fn h2_frames(data: &[u8]) {
    let (first, bytes) = data.split_first().unwrap_or((&0, &[]));
    let step = usize::from(*first) + 1;
    // Where all but the preface is the same, all is.
    let whole = scanned(std::iter::once(bytes));
    assert_eq!(whole, scanned(bytes.chunks(step)), "a cut decides");

    let unread = Unread::new(1024);
    let mut frames = Frames::new(100, unread.clone());
    for (number, piece) in bytes.chunks(step).enumerate() {
        frames.read(piece);
        let stream = whole.get(number).map_or(1, |frame| frame.2);
        match number % 7 {
            0 => drop(frames.accept(stream, 100)),
            1 => frames.took(stream, piece.len()),
            2 => frames.took_all(stream),
            3 => frames.done(stream),
            4 => frames.dismiss(stream),
            5 => drop(frames.take_refused()),
            _ => frames.wrote(piece),
        }
        let _ = (frames.trailers(stream), frames.waits_since());
        let _ = frames.may_read(std::task::Waker::noop());
    }
    drop(frames);
    assert_eq!(unread.held(), 0, "something is held for nobody");
}

/// Blocks of fields: read the same however they are cut, the table of one for the next.
pub fn hpack(data: &[u8]) {
    let (first, bytes) = data.split_first().unwrap_or((&0, &[]));
    let step = usize::from(*first) + 1;
    let (mut whole, mut cut) = (Blocks::new(), Blocks::new());
    for block in bytes.split_inclusive(|byte| *byte == 0xff) {
        whole.begin();
        whole.read(block);
        cut.begin();
        block.chunks(step).for_each(|piece| cut.read(piece));
        let (one, other) = (&whole.block, &cut.block);
        assert_eq!((one.fields, one.bytes), (other.fields, other.bytes), "a cut decides");
        assert_eq!((one.has_pseudo, one.wrong()), (other.has_pseudo, other.wrong()));
        assert_eq!((&one.method, &one.path), (&other.method, &other.path));
        assert_eq!(one.authority, other.authority);
        assert!(one.method.len().max(one.path.len()).max(one.authority.len()) <= 256);
    }
}
