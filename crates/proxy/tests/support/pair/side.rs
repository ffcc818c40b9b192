use std::net::TcpStream;
use std::time::Duration;

use h2::Reason;
use socket2::SockRef;

use super::h1::H1Side;
use super::h2::H2Side;
use super::message::{FieldList, Piece};

/// One end of one exchange, whatever its version.
pub enum Side {
    H1(H1Side),
    H2(H2Side),
}

/// How an end goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// With its exchange alone: a reset of the stream. In HTTP/1.1 the end of the connection.
    Stream,
    /// With its connection, which is reset.
    Connection,
}

impl Side {
    /// Sends a piece of the body; whether it was taken.
    pub fn send(&mut self, data: impl AsRef<[u8]>) -> bool {
        match self {
            Side::H1(side) => side.send(data.as_ref()),
            Side::H2(side) => side.send(data.as_ref()),
        }
    }

    /// Ends the body.
    pub fn end(&mut self, trailers: &[(&str, &str)]) -> bool {
        match self {
            Side::H1(side) => side.end(trailers),
            Side::H2(side) => side.end(trailers),
        }
    }

    /// The next piece of the other side's body.
    pub fn piece(&mut self) -> Piece {
        match self {
            Side::H1(side) => side.piece(),
            Side::H2(side) => side.piece(),
        }
    }

    /// So many bytes of it.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.piece() {
                Piece::Data(data) => bytes.extend(data),
                other => panic!("{other:?} after {} bytes", bytes.len()),
            }
        }
        assert_eq!(bytes.len(), count);
        bytes
    }

    /// All of it, and its trailers; none if it is cut short.
    pub fn body(&mut self) -> Option<(Vec<u8>, FieldList)> {
        let mut body = Vec::new();
        loop {
            match self.piece() {
                Piece::Data(data) => body.extend(data),
                Piece::End(trailers) => return Some((body, trailers)),
                Piece::Cut => return None,
            }
        }
    }

    /// How many bytes of it there are, and whether they are all.
    pub fn count(&mut self) -> (usize, bool) {
        let mut count = 0;
        loop {
            match self.piece() {
                Piece::Data(data) => count += data.len(),
                piece => return (count, piece != Piece::Cut),
            }
        }
    }

    /// Sends until nothing was taken for so long, or all of `count` bytes was. How many were.
    pub fn push(&mut self, count: usize, limit: Duration) -> usize {
        const PIECE: &[u8] = &[b'p'; 16 * 1024];
        let mut sent = 0;
        while sent < count {
            let taken = match self {
                Side::H1(side) => PIECE.len() * usize::from(side.send_within(PIECE, limit)),
                Side::H2(side) => side.send_within(PIECE, limit),
            };
            sent += taken;
            if taken < PIECE.len() {
                break;
            }
        }
        sent
    }

    pub(super) fn leave(&mut self, how: Leave, socket: &TcpStream) {
        if how == Leave::Connection {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        match self {
            _ if how == Leave::Connection => {}
            Side::H1(side) => side.close(),
            Side::H2(side) => side.reset(Reason::CANCEL),
        }
    }
}
