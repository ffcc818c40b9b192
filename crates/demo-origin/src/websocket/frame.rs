//! Frames as a server reads and writes them (RFC 6455 §5.2).

use bytes::{Buf, BytesMut};

/// What a frame of a control, a ping for one, may hold.
const MAX_CONTROL: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// One frame of a client, its mask taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) is_last: bool,
    pub(super) opcode: Opcode,
    pub(super) payload: BytesMut,
}

/// Why a socket is closed, as the Close frame says it (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client broke the rules.
    Protocol = 1002,
    /// A text that is not UTF-8.
    NotText = 1007,
    /// A message that is larger than what is taken.
    TooLarge = 1009,
}

impl Opcode {
    fn of(number: u8) -> Option<Self> {
        use Opcode::*;
        [Continuation, Text, Binary, Close, Ping, Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == number)
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// Takes the next frame out of `input`; none before all of it is there. `room` is how many bytes
/// of a message may still come.
pub(super) fn read_frame(input: &mut BytesMut, room: usize) -> Result<Option<Frame>, Fault> {
    let [first, second, ..] = input[..] else { return Ok(None) };
    let (is_last, length) = (first & 0x80 != 0, second & 0x7f);
    // No extension was agreed on that could give the reserved bits a meaning, and clients mask.
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(Fault::Protocol);
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Protocol)?;
    let (length, start) = match (length, &input[2..]) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (u64::from(length), 2),
    };
    let is_shortest = match start {
        4 => length > 125,
        10 => length > u64::from(u16::MAX),
        _ => true,
    };
    if !is_shortest || (opcode.is_control() && (!is_last || length > MAX_CONTROL)) {
        return Err(Fault::Protocol);
    }
    let length = match usize::try_from(length) {
        Ok(length) if length <= room || opcode.is_control() => length,
        _ => return Err(Fault::TooLarge),
    };
    if input.len() < start + 4 + length {
        return Ok(None);
    }
    input.advance(start);
    let mask = input.split_to(4);
    let mut payload = input.split_to(length);
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some(Frame { is_last, opcode, payload }))
}

/// Writes a whole message, or a control, as one frame.
pub(super) fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length => match u16::try_from(length) {
            Ok(length) => {
                out.push(126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Frame>, Fault> {
        read_frame(&mut BytesMut::from(bytes), 64 * 1024)
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        write_frame(Opcode::Text, payload, &mut plain);
        let start = plain.len() - payload.len();
        let mut frame = plain[..start].to_vec();
        frame[0] = first;
        frame[1] |= 0x80;
        frame.extend([1, 2, 3, 4]);
        frame.extend(
            payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let frame = read(&hello).unwrap().unwrap();
        assert_eq!(
            (frame.is_last, frame.opcode, &frame.payload[..]),
            (true, Opcode::Text, &b"Hello"[..])
        );
        let mut out = Vec::new();
        write_frame(Opcode::Text, b"Hello", &mut out);
        assert_eq!(out, [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn every_length_is_read_when_all_of_it_is_there() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = masked(0x82, &payload);
            for cut in (0..bytes.len()).filter(|cut| *cut < 20 || cut + 3 > bytes.len()) {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
            let mut input = BytesMut::from(&[&bytes[..], b"more"].concat()[..]);
            let frame = read_frame(&mut input, 65_536).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload.len()), (Opcode::Binary, length));
            assert!(frame.payload == payload[..] && input == b"more"[..]);
        }
    }

    #[test]
    fn what_a_client_must_not_send() {
        for (why, bytes) in [
            ("not masked", &[0x81, 5][..]),
            ("a reserved bit", &[0xc1, 0x80]),
            ("an unknown opcode", &[0x83, 0x80]),
            ("an unknown control", &[0x8b, 0x80]),
            ("a control in pieces", &[0x09, 0x80]),
            ("a long control", &[0x89, 0xfe, 0, 126]),
            ("a length that could be shorter", &[0x81, 0xfe, 0, 125]),
            ("another", &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ] {
            assert_eq!(read(bytes), Err(Fault::Protocol), "{why}");
        }
        for large in [
            &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1][..],
            &[0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(read(large), Err(Fault::TooLarge));
        }
        // A ping is taken where a message has no room left.
        let ping = masked(0x89, b"ping");
        assert!(read_frame(&mut BytesMut::from(&ping[..]), 0).unwrap().is_some());
    }
}
