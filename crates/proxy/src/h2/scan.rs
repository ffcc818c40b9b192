//! Finds the frames in the bytes of a connection (RFC 9113 §4.1).

/// Bytes of the head of a frame.
pub(super) const FRAME_HEAD: usize = 9;

/// Kinds of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 32;

/// What a frame says of itself.
#[derive(Clone, Copy, Default)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    fn parse(head: [u8; FRAME_HEAD]) -> Self {
        let [high, middle, low, kind, flags, a, b, c, d] = head;
        FrameHead {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            // The first bit means nothing.
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What comes next in the bytes.
pub(super) enum Seen<'a> {
    /// A frame begins.
    Head(FrameHead),
    /// A piece of its payload, which is its last if the flag is set. Each frame has a last one, be it
    /// empty.
    Payload(FrameHead, &'a [u8], bool),
}

/// Where in a frame the bytes so far have ended.
pub(super) struct Scanner {
    /// Bytes in front of the first frame.
    skip: usize,
    head: [u8; FRAME_HEAD],
    have: usize,
    frame: FrameHead,
    /// Bytes of the payload to come, while there is one.
    left: Option<usize>,
}

impl Scanner {
    /// The first frame begins after so many bytes.
    pub(super) fn after(skip: usize) -> Self {
        let head = [0; FRAME_HEAD];
        Scanner { skip, head, have: 0, frame: FrameHead::default(), left: None }
    }

    /// What `bytes` begin with, which is taken off them; none when they hold nothing more.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Seen<'a>> {
        *bytes = &bytes[taken(&mut self.skip, bytes.len())..];
        if let Some(left) = &mut self.left {
            if bytes.is_empty() && *left > 0 {
                return None;
            }
            let (piece, rest) = bytes.split_at(taken(left, bytes.len()));
            *bytes = rest;
            let is_last = *left == 0;
            if is_last {
                self.left = None;
            }
            return Some(Seen::Payload(self.frame, piece, is_last));
        }
        let count = (FRAME_HEAD - self.have).min(bytes.len());
        let (piece, rest) = bytes.split_at(count);
        self.head[self.have..][..count].copy_from_slice(piece);
        *bytes = rest;
        self.have += count;
        if self.have < FRAME_HEAD {
            return None;
        }
        self.have = 0;
        self.frame = FrameHead::parse(self.head);
        self.left = Some(self.frame.length);
        Some(Seen::Head(self.frame))
    }

    /// How many bytes there are to the end of what has begun: of the head of a frame, or of its
    /// payload; none between two frames.
    pub(super) fn left(&self) -> usize {
        match self.left {
            Some(left) => left,
            None if self.skip > 0 => self.skip,
            None if self.have > 0 => FRAME_HEAD - self.have,
            None => 0,
        }
    }

    /// The stream whose DATA has come in part, and how many bytes it takes in all.
    pub(super) fn unfinished_data(&self) -> Option<(u32, usize)> {
        let is_data = self.left.is_some() && self.frame.kind == DATA;
        is_data.then_some((self.frame.stream, self.frame.length))
    }
}

/// How much of `wanted` there is among `bytes` bytes, which is taken off it.
fn taken(wanted: &mut usize, bytes: usize) -> usize {
    let count = (*wanted).min(bytes);
    *wanted -= count;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let frames: [(u8, u32, &[u8]); 4] =
            [(4, 0, b""), (1, 0x8000_0001, b"abc"), (0, 1, &[7; 300]), (9, 0x7fff_ffff, b"")];
        let mut bytes = b"PREFACE".to_vec();
        for (kind, stream, payload) in frames {
            bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend([kind, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(payload);
        }
        for step in 1..bytes.len() {
            let mut scanner = Scanner::after(7);
            let mut found: Vec<(u8, u32, Vec<u8>, bool)> = Vec::new();
            for mut piece in bytes.chunks(step) {
                while let Some(seen) = scanner.next(&mut piece) {
                    match seen {
                        Seen::Head(head) => found.push((head.kind, head.stream, vec![], false)),
                        Seen::Payload(head, bytes, last) => {
                            let frame = found.last_mut().unwrap();
                            assert_eq!((head.kind, frame.3), (frame.0, false));
                            frame.2.extend(bytes);
                            frame.3 = last;
                        }
                    }
                }
            }
            let expected: Vec<_> = frames
                .iter()
                .map(|(kind, stream, bytes)| (*kind, stream & 0x7fff_ffff, bytes.to_vec(), true))
                .collect();
            assert_eq!(found, expected, "in steps of {step}");
        }
    }
}
