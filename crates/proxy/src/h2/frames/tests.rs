use super::*;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let length_bytes = (length as u32).to_be_bytes();
    let mut frame = vec![length_bytes[1], length_bytes[2], length_bytes[3], kind, flags];
    frame.extend([0, 0, 0, 1]);
    frame.resize(9 + length, 0x82);
    frame
}

fn frames(max_control_frames: u32) -> Frames {
    Frames::new(max_control_frames, Unread::new(u64::MAX))
}

#[test]
fn a_block_begins_and_ends_however_its_frames_are_cut() {
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
        let mut frames = frames(10);
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
    let mut frames = frames(10);
    frames.read(&[vec![b'P'; PREFACE], frame(HEADERS, END_HEADERS, 1)].concat());
    assert!(frames.is_broken);
}

#[tokio::test(start_paused = true)]
async fn control_frames_are_counted_against_what_is_sent() {
    let ping = frame(6, 0, 8);
    let mut frames = frames(10);
    frames.read(&[vec![b'P'; PREFACE], frame(SETTINGS, 0, 0)].concat());
    frames.read(&ping.repeat(9));
    assert!(!frames.is_flooded);
    frames.wrote(&frame(DATA, 0, 5 * 1024));
    frames.read(&ping.repeat(5));
    assert!(!frames.is_flooded);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    frames.read(&ping.repeat(2));
    assert!(!frames.is_flooded);
    frames.read(&ping);
    assert!(frames.is_flooded);
}

#[test]
fn what_is_held_of_a_body_is_counted_until_it_is_taken() {
    let unread = Unread::new(u64::MAX);
    let mut frames = Frames::new(10, unread.clone());
    frames.read(&[vec![b'P'; PREFACE], frame(SETTINGS, 0, 0)].concat());
    frames.read(&frame(HEADERS, END_HEADERS, 10));
    frames.accept(1, 100);
    // With the frames in front of it, which lie in the same buffer.
    frames.read(&frame(DATA, 0, 1000));
    assert_eq!(unread.held(), 100 + 10 + 1000);
    frames.read(&frame(DATA, 0, 1));
    frames.read(&frame(DATA, 0, 2000)[..20]);
    assert_eq!(unread.held(), 100 + 10 + 1000 + 256 + 2000);
    frames.took(1, 1000);
    assert_eq!(unread.held(), 100 + 10 + 256 + 2000);
    frames.took_all(1);
    assert_eq!(unread.held(), 100 + 2000);
    frames.done(1);
    assert_eq!(unread.held(), 0);
    frames.read(&[0; 2000 - 11]);
    frames.read(&frame(DATA, 0, 1000));
    assert_eq!(unread.held(), 0);
}

#[test]
fn what_h2_refuses_is_found_in_what_it_sends() {
    let mut frames = frames(10);
    frames.read(&[vec![b'P'; PREFACE], frame(SETTINGS, 0, 0)].concat());
    frames.read(&frame(HEADERS, END_HEADERS, 2));
    let mut reset = frame(RST_STREAM, 0, 4);
    reset[9..].copy_from_slice(&[0, 0, 0, 7]);
    reset.chunks(1).for_each(|piece| frames.wrote(piece));
    let refused = frames.take_refused();
    assert_eq!(refused[0].0.line, b"GET ");
    assert_eq!(refused[0].1, Why::Reset(7));
}
