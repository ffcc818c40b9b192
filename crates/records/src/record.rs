use bytes::Bytes;
use millrace_message::ResponseHead;

/// Ints of a record: slot, number of the crossing, what it is, phase, value, and where in the output
/// its two parts are (offset, length, length). The other side has the same list.
pub const INTS: usize = 8;

/// What the other side says of a crossing.
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// The phase that stopped the crossing, or the last one.
    pub phase: u32,
    /// A peer's number, a decision or a status.
    pub value: i32,
    /// Edits, or the fields of an answer.
    pub first: Bytes,
    /// The body of an answer, or the words of an error.
    pub second: Bytes,
}

/// How a crossing ended on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All phases of the mask have run.
    Done,
    /// A phase answered the request.
    Answered,
    /// A phase threw, rejected, or returned what it may not.
    Thrown,
    /// There is no other side any more.
    Closed,
    /// A phase took too long.
    TooSlow,
    /// It was not begun in time.
    NeverBegun,
}

/// A record as it came from the other side.
pub enum Record {
    /// A crossing has ended.
    Reply {
        /// The request's slot.
        slot: u32,
        /// The number of the crossing.
        seq: u32,
        /// How it ended.
        reply: Reply,
    },
    /// A crossing has come to its next phase.
    Progress {
        /// The request's slot.
        slot: u32,
        /// The number of the crossing.
        seq: u32,
    },
    /// An interim response for the client of the request that has the slot.
    Interim {
        /// The request's slot.
        slot: u32,
        /// The head of the response.
        head: ResponseHead,
    },
    /// A phase waits for the body of its request.
    Read {
        /// The request's slot.
        slot: u32,
        /// The number of the crossing.
        seq: u32,
        /// The most bytes of it.
        most: u32,
    },
    /// A slot may be used again.
    Free {
        /// The slot.
        slot: u32,
    },
    /// The requests whose end was told in this batch are forgotten: their slots may be used again.
    Ended,
}

impl Reply {
    /// One that says nothing else.
    pub fn without_words(outcome: Outcome) -> Self {
        let empty = Bytes::new();
        Reply { outcome, phase: 0, value: 0, first: empty.clone(), second: empty }
    }
}

/// The bytes that go with the records of a batch.
pub struct Output<'a> {
    bytes: &'a [u8],
    /// A copy for all that is small and used at once.
    shared: Bytes,
}

impl<'a> Output<'a> {
    /// Over what was written by the other side.
    pub fn new(bytes: &'a [u8]) -> Self {
        let shared =
            if bytes.len() <= 64 * 1024 { Bytes::copy_from_slice(bytes) } else { Bytes::new() };
        Output { bytes, shared }
    }

    /// A part of it that lives no longer than the phase it is for.
    fn part(&self, from: usize, to: usize) -> Option<Bytes> {
        if to <= self.shared.len() && from <= to {
            return Some(self.shared.slice(from..to));
        }
        self.own(from, to)
    }

    /// A part of it that may live long, and so keeps nothing else alive.
    fn own(&self, from: usize, to: usize) -> Option<Bytes> {
        let part = self.bytes.get(from..to)?;
        Some(if part.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(part) })
    }
}

impl Record {
    /// Reads a record; none if it does not fit its output, which only a fault of ours can cause.
    pub fn read(ints: &[i32], output: &Output<'_>) -> Option<Record> {
        let [slot, seq, result, phase, value, offset, first, second] = *ints else { return None };
        let (slot, seq) = (slot as u32, seq as u32);
        let outcome = match result {
            0 => Outcome::Done,
            1 => Outcome::Answered,
            2 => Outcome::Thrown,
            3 => return Some(Record::Progress { slot, seq }),
            4 => return Some(Record::Free { slot }),
            5 => Outcome::Done,
            6 => return Some(Record::Read { slot, seq, most: value as u32 }),
            7 => return Some(Record::Ended),
            _ => return None,
        };
        let (offset, first, second) =
            (offset as u32 as usize, first as u32 as usize, second as u32 as usize);
        let middle = offset.checked_add(first)?;
        let end = middle.checked_add(second)?;
        if result == 5 {
            let head = interim(value, output.bytes.get(offset..middle)?)?;
            return Some(Record::Interim { slot, head });
        }
        let (first, second) = (output.part(offset, middle)?, output.own(middle, end)?);
        let reply = Reply { outcome, phase: phase as u32, value, first, second };
        Some(Record::Reply { slot, seq, reply })
    }
}

/// The head of an interim response, of `name\0value\n` for each field.
fn interim(status: i32, fields: &[u8]) -> Option<ResponseHead> {
    let mut head = ResponseHead::new(u16::try_from(status).ok()?);
    for line in fields.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let zero = line.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&line[..zero]).ok()?;
        head.fields.append(name, &line[zero + 1..]).ok()?;
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_points_outside_its_output_is_no_record() {
        assert!(Record::read(&[0, 0, 0, 0, 0, 3, 2, 0], &Output::new(b"1234")).is_none());
        assert!(Record::read(&[0, 0, 0, 0, 0, -1, -1, -1], &Output::new(b"1234")).is_none());
        assert!(Record::read(&[0, 0, 9, 0, 0, 0, 0, 0], &Output::new(b"")).is_none());
        assert!(Record::read(&[0, 0, 0], &Output::new(b"")).is_none());
    }

    #[test]
    fn the_two_parts_follow_each_other() {
        let Some(Record::Reply { slot, seq, reply }) =
            Record::read(&[7, 2, 1, 2, 403, 1, 2, 1], &Output::new(b"1234"))
        else {
            panic!("a reply")
        };
        assert_eq!(
            (slot, seq, reply.outcome, reply.phase, reply.value),
            (7, 2, Outcome::Answered, 2, 403)
        );
        assert_eq!((&reply.first[..], &reply.second[..]), (&b"23"[..], &b"4"[..]));
    }
}
