//! Bodies in.

use bytes::{Buf, Bytes, BytesMut};
use millrace_message::Fields;

use crate::chunk::{Overhead, size_line};
use crate::trailers::parse_trailers;
use crate::{Framing, ParseError};

/// Finds a body in the bytes of a connection. What follows the body is left in the buffer.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    overhead: Overhead,
}

/// What [`BodyDecoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Bytes of the body, never none.
    Data(Bytes),
    /// The trailers, if there are any; the end follows.
    Trailers(Fields),
    /// The body is complete. Said again at each further call.
    End,
    /// The buffer holds no more of the body: read on.
    NeedMore,
}

#[derive(Debug)]
enum State {
    /// So many bytes to come, never none.
    Length(u64),
    UntilClose,
    /// At a chunk-size line.
    Size,
    /// In a chunk with so many bytes to come, never none.
    Chunk(u64),
    /// At the line end after a chunk's data.
    ChunkEnd,
    /// After the last chunk's line.
    Trailers,
    Done,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder { state, overhead: Overhead::default() }
    }

    /// Takes the next piece of the body off the buffer, without a copy. After an error the
    /// connection cannot be read any further.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, ParseError> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End),
                _ if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Size => {
                    let Some((size, line)) = size_line(buf)? else { return Ok(Decoded::NeedMore) };
                    self.overhead.add(line, size)?;
                    buf.advance(line);
                    self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                }
                State::ChunkEnd => {
                    match &buf[..buf.len().min(2)] {
                        b"\r\n" => buf.advance(2),
                        b"\r" => return Ok(Decoded::NeedMore),
                        _ => {
                            return Err(ParseError::BadRequest(
                                "a chunk is not as long as it says",
                            ));
                        }
                    }
                    self.state = State::Size;
                }
                State::Trailers => {
                    let trailers = if buf.starts_with(b"\r\n") {
                        Some((Fields::new(), 2))
                    } else {
                        parse_trailers(buf)?
                    };
                    let Some((fields, length)) = trailers else { return Ok(Decoded::NeedMore) };
                    buf.advance(length);
                    self.state = State::Done;
                    if !fields.is_empty() {
                        return Ok(Decoded::Trailers(fields));
                    }
                }
            }
        }
    }

    /// Whether the body is complete: all of it was taken off the buffer.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Whether the body is whole if the connection ends here, with the buffer decoded.
    pub fn on_eof(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }
}

/// Up to `left` bytes of the buffer, and how many are then left.
fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    (buf.split_to(count).freeze(), left - count as u64)
}
