//! Messages out of frames (RFC 6455 §5.4).

use bytes::BytesMut;

use super::frame::{Fault, Frame, Opcode, read_frame};

/// The largest message that is taken.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A text or a binary message, as a whole.
    Message(Opcode, BytesMut),
    Ping(BytesMut),
    Pong,
    /// The end, and what was said of it.
    Close(BytesMut),
}

/// The message that is coming in, if one is.
#[derive(Default)]
pub(super) struct Incoming {
    begun: Option<(Opcode, BytesMut)>,
}

impl Incoming {
    /// Whether a message has begun.
    pub(super) fn is_open(&self) -> bool {
        self.begun.is_some()
    }

    /// The next that is whole in `input`; none if more has to come.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Heard>, Fault> {
        loop {
            let held = self.begun.as_ref().map_or(0, |(_, held)| held.len());
            let Some(frame) = read_frame(input, MAX_MESSAGE - held)? else { return Ok(None) };
            if let Some(heard) = self.take(frame)? {
                return Ok(Some(heard));
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Heard>, Fault> {
        let Frame { is_last, opcode, payload } = frame;
        let message = match (opcode, self.begun.take()) {
            (Opcode::Text | Opcode::Binary, None) => (opcode, payload),
            (Opcode::Continuation, Some((opcode, mut held))) => {
                held.unsplit(payload);
                (opcode, held)
            }
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Fault::Protocol);
            }
            // Controls may come between the pieces of a message.
            (control, begun) => {
                self.begun = begun;
                return Ok(Some(match control {
                    Opcode::Ping => Heard::Ping(payload),
                    Opcode::Pong => Heard::Pong,
                    _ => Heard::Close(check_close(payload)?),
                }));
            }
        };
        if !is_last {
            self.begun = Some(message);
            return Ok(None);
        }
        let (opcode, payload) = message;
        if opcode == Opcode::Text && std::str::from_utf8(&payload).is_err() {
            return Err(Fault::NotText);
        }
        Ok(Some(Heard::Message(opcode, payload)))
    }
}

/// What a Close frame says: nothing, or a code that may be sent and a reason in UTF-8.
fn check_close(payload: BytesMut) -> Result<BytesMut, Fault> {
    match &payload[..] {
        [] => return Ok(payload),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Fault::Protocol);
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Fault::NotText);
            }
        }
        [_] => return Err(Fault::Protocol),
    }
    Ok(payload)
}
