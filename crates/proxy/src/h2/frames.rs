//! Looks at the frames that come in, which `h2` shows nobody: what kind they are and when they
//! came, never what is in them. For the time-outs of a connection, and against floods of frames
//! that cost the client nothing.

use tokio::time::Instant;

use super::bucket::Bucket;

/// What a client sends before its first frame.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// How often a client may enlarge a window for each KiB that it is sent.
const WINDOWS_PER_KIB: u64 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What was seen of a connection's frames so far.
pub(super) struct Frames {
    head: [u8; FRAME_HEAD],
    /// Bytes of the next frame's head that have come.
    have: usize,
    /// Bytes to come that are looked at by nobody here.
    skip: usize,
    /// The frame that is coming in ends a block of fields.
    ends_block: bool,
    /// When the block of fields that is coming in began.
    pub(super) block_since: Option<Instant>,
    /// The client has sent its settings.
    pub(super) has_settings: bool,
    /// Something else came in their place (RFC 9113 §3.4).
    pub(super) is_broken: bool,
    /// Frames in the present poll of the connection.
    pub(super) in_this_poll: u32,
    /// When the last byte came.
    pub(super) last_read: Instant,
    /// What ends the connection is no fault of the client's, so that nothing of it is read after.
    pub(super) closes_at_once: bool,
    control: Bucket,
    windows: Bucket,
    /// There were more of these frames than are taken.
    pub(super) is_flooded: bool,
}

impl Frames {
    pub(super) fn new(max_control_frames: u32) -> Self {
        Frames {
            head: [0; FRAME_HEAD],
            have: 0,
            skip: PREFACE,
            ends_block: false,
            block_since: None,
            has_settings: false,
            is_broken: false,
            in_this_poll: 0,
            last_read: Instant::now(),
            closes_at_once: false,
            control: Bucket::new(max_control_frames, max_control_frames / 10),
            windows: Bucket::new(max_control_frames, max_control_frames / 10),
            is_flooded: false,
        }
    }

    /// Bytes came in.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.last_read = Instant::now();
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip == 0 && std::mem::take(&mut self.ends_block) {
                self.block_since = None;
            }
            if bytes.is_empty() {
                return;
            }
            let count = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..][..count].copy_from_slice(&bytes[..count]);
            self.have += count;
            bytes = &bytes[count..];
            if self.have == FRAME_HEAD {
                self.have = 0;
                self.frame();
            }
        }
    }

    /// Bytes of any frames went out.
    pub(super) fn wrote(&mut self, count: usize) {
        self.control.give(count as u64);
        self.windows.give((count as u64).saturating_mul(WINDOWS_PER_KIB));
    }

    /// The head of a frame is there.
    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        self.in_this_poll = self.in_this_poll.saturating_add(1);
        self.is_broken |= !self.has_settings && kind != SETTINGS;
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => self.control.give(length as u64),
            HEADERS | CONTINUATION => {
                self.block_since.get_or_insert(self.last_read);
                self.ends_block = flags & END_HEADERS != 0;
            }
            // Counted where it is known what they ended.
            RST_STREAM => {}
            WINDOW_UPDATE => self.is_flooded |= !self.windows.take(self.last_read),
            _ => self.is_flooded |= !self.control.take(self.last_read),
        }
        self.has_settings |= kind == SETTINGS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let length_bytes = (length as u32).to_be_bytes();
        let mut frame = vec![length_bytes[1], length_bytes[2], length_bytes[3], kind, flags];
        frame.extend([0, 0, 0, 1]);
        frame.resize(FRAME_HEAD + length, 0xff);
        frame
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [
            vec![b'P'; PREFACE],
            frame(SETTINGS, 0, 6),
            frame(HEADERS, 0, 10),
            frame(CONTINUATION, END_HEADERS, 0),
            frame(DATA, 0, 300),
            frame(HEADERS, 0, 1),
        ]
        .concat();
        for step in 1..bytes.len() {
            let mut frames = Frames::new(10);
            for piece in bytes.chunks(step) {
                frames.read(piece);
            }
            assert!(frames.has_settings && !frames.is_broken && !frames.is_flooded);
            assert_eq!(frames.in_this_poll, 5);
            assert!(frames.block_since.is_some());
            frames.read(&frame(CONTINUATION, END_HEADERS, 2));
            assert!(frames.block_since.is_none());
        }
    }

    #[test]
    fn settings_come_first() {
        let mut frames = Frames::new(10);
        frames.read(&[vec![b'P'; PREFACE], frame(HEADERS, END_HEADERS, 1)].concat());
        assert!(frames.is_broken);
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_are_counted_against_what_is_sent() {
        let ping = frame(6, 0, 8);
        let mut frames = Frames::new(10);
        frames.read(&[vec![b'P'; PREFACE], frame(SETTINGS, 0, 0)].concat());
        frames.read(&ping.repeat(9));
        assert!(!frames.is_flooded);
        frames.wrote(5 * 1024);
        frames.read(&ping.repeat(5));
        assert!(!frames.is_flooded);
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        frames.read(&ping.repeat(2));
        assert!(!frames.is_flooded);
        frames.read(&ping);
        assert!(frames.is_flooded);
    }
}
