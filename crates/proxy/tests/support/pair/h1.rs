use std::net::Shutdown;
use std::time::Duration;

use super::message::{FieldList, Head, Length, Piece, parse_fields};
use crate::support::{PATIENCE, Wire};

/// One end of a connection of HTTP/1.1: reads one message, writes another.
pub struct H1Side {
    pub wire: Wire,
    is_chunked: bool,
    pub reads: Reads,
}

/// What is still to be read of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Length(usize),
    /// So much is left of the present chunk.
    Chunk(usize),
    UntilClose,
    Nothing,
}

impl H1Side {
    pub fn new(wire: Wire) -> Self {
        H1Side { wire, is_chunked: false, reads: Reads::Nothing }
    }

    pub fn send_head(&mut self, line: &str, fields: &[(&str, &str)], length: Length) -> bool {
        let mut head = format!("{line}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.is_chunked = length == Length::Unknown;
        match length {
            Length::Nothing => {}
            Length::Known(length) => head.push_str(&format!("content-length: {length}\r\n")),
            Length::Unknown => head.push_str("transfer-encoding: chunked\r\n"),
        }
        self.wire.try_send(head + "\r\n")
    }

    pub fn send(&mut self, data: &[u8]) -> bool {
        if !self.is_chunked || data.is_empty() {
            return self.wire.try_send(data);
        }
        self.wire.try_send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat())
    }

    /// The same for what may not be taken for so long.
    pub fn send_within(&mut self, data: &[u8], limit: Duration) -> bool {
        self.wire.patience(limit);
        let sent = self.send(data);
        self.wire.patience(PATIENCE);
        sent
    }

    pub fn end(&mut self, trailers: &[(&str, &str)]) -> bool {
        if !self.is_chunked {
            return true;
        }
        let lines = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        self.wire.try_send(format!("0\r\n{}\r\n", lines.collect::<String>()))
    }

    /// The next head; none at the end of the connection. `bodiless` = whatever it says of a body,
    /// there is none.
    pub fn head(&mut self, bodiless: bool) -> Option<Head> {
        let head = Head::parse(&self.wire.try_head()?);
        let (length, coding) = (head.field("content-length"), head.field("transfer-encoding"));
        let empty = bodiless || (100..200).contains(&head.status);
        self.reads = match (length, coding) {
            _ if empty || matches!(head.status, 204 | 304) => Reads::Nothing,
            (Some(length), None) => Reads::Length(length.parse().unwrap()),
            (None, Some("chunked")) => Reads::Chunk(0),
            (None, None) if head.status > 0 => Reads::UntilClose,
            (None, None) => Reads::Nothing,
            _ => panic!("framed twice: {head:?}"),
        };
        Some(head)
    }

    pub fn piece(&mut self) -> Piece {
        self.try_piece().unwrap_or(Piece::Cut)
    }

    fn try_piece(&mut self) -> Option<Piece> {
        let left = match self.reads {
            Reads::Nothing | Reads::Length(0) => return Some(self.over(FieldList::new())),
            Reads::UntilClose => {
                let data = self.wire.piece();
                let more = !data.is_empty();
                return Some(if more { Piece::Data(data) } else { self.over(FieldList::new()) });
            }
            Reads::Length(left) | Reads::Chunk(left) if left > 0 => left,
            _ => match usize::from_str_radix(self.wire.try_line()?.trim(), 16).unwrap() {
                0 => {
                    let mut lines = String::new();
                    while !lines.ends_with("\r\n\r\n") && lines != "\r\n" {
                        lines.push_str(&self.wire.try_line()?);
                    }
                    return Some(self.over(parse_fields(&lines)));
                }
                left => left,
            },
        };
        let data = self.wire.up_to(left)?;
        let left = left - data.len();
        self.reads = match self.reads {
            Reads::Length(_) => Reads::Length(left),
            _ => Reads::Chunk(left),
        };
        if self.reads == Reads::Chunk(0) {
            assert_eq!(self.wire.try_bytes(2)?, b"\r\n");
        }
        Some(Piece::Data(data))
    }

    fn over(&mut self, trailers: FieldList) -> Piece {
        self.reads = Reads::Nothing;
        Piece::End(trailers)
    }

    /// Ends the connection in an orderly way, which in the middle of a message is none.
    pub fn close(&mut self) {
        let _ = self.wire.stream.shutdown(Shutdown::Both);
    }
}
