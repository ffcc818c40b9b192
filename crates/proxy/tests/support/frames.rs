//! HTTP/2 frame by frame. What only an origin needs is in `h2_frames`.

use std::net::SocketAddr;

use super::Wire;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One end of a connection: a client's, unless it was accepted.
pub struct Frames {
    pub wire: Wire,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of an RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == 7 { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The fields of a plain GET.
pub const GET_FIELDS: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// Those fields with others: pseudo-headers in the place of theirs, and any other behind them.
pub fn with(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut fields = GET_FIELDS.to_vec();
    for (name, value) in changes {
        match fields.iter_mut().find(|field| field.0 == *name) {
            Some(field) if name.starts_with(':') => field.1 = value,
            _ => fields.push((name, value)),
        }
    }
    fields
}

/// Those fields but for one.
pub fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET_FIELDS.into_iter().filter(|field| field.0 != name).collect()
}

/// Fields as literals that are never indexed, byte for byte as given.
pub fn fields_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// With a prefix of seven bits, and no Huffman coding.
fn integer(mut value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push((value % 128 + 128) as u8);
        value /= 128;
    }
    out.push(value as u8);
}

impl Frames {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;

    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const SETTINGS_TIMEOUT: u32 = 4;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const CONNECT_ERROR: u32 = 10;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
    pub const HTTP_1_1_REQUIRED: u32 = 13;

    pub fn connect(address: SocketAddr) -> Frames {
        Frames::with_settings(address, &[])
    }

    pub fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Frames {
        Frames::over(Wire::connect(address), settings)
    }

    /// A client's end over a connection that is there.
    pub fn over(mut wire: Wire, settings: &[(u16, u32)]) -> Frames {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.send([PREFACE, &frame(Self::SETTINGS, 0, 0, &payload)].concat());
        Frames { wire }
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.send(frame(kind, flags, stream, payload));
    }

    /// For what may be refused on the way.
    pub fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: impl AsRef<[u8]>,
    ) -> bool {
        self.wire.try_send(frame(kind, flags, stream, payload.as_ref()))
    }

    /// A GET, or whatever `fields` say beside.
    pub fn get(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        self.head(stream, 5, &[&pseudo("GET", path), fields].concat());
    }

    pub fn post(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        self.head(stream, 4, &[&pseudo("POST", path), fields].concat());
    }

    pub fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(Self::HEADERS, flags, stream, &fields_block(fields));
    }

    /// The next frame; none at the end of the connection.
    pub fn try_next(&mut self) -> Option<Frame> {
        let head = self.wire.try_bytes(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let payload = self.wire.try_bytes(length)?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind, whatever comes before it.
    #[track_caller]
    pub fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.try_next().unwrap_or_else(|| panic!("the end before a {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// All that comes up to the end of the connection.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.try_next()).collect()
    }
}

fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
}
