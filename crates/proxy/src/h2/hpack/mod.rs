//! Reads blocks of fields (RFC 7541) beside `h2`, for what it does not say of them: how large one is
//! that was cut short, whether a path had a fragment that was cut off, and what was asked for in one
//! that was refused. What is no valid block is left to `h2`, which ends the connection.

#[cfg(test)]
mod beside_h2;
mod huffman;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

use huffman::Decoder;
use static_table::STATIC;
use table::{Field, MAX_TABLE, Name, Table};

/// What is kept of a text: enough for a log line.
const MAX_TEXT: usize = 256;

/// What is known of a block.
#[derive(Default)]
pub(super) struct Block {
    pub(super) fields: usize,
    /// Bytes of all fields, as they would be in HTTP/1.1.
    pub(super) bytes: u64,
    /// There are pseudo-headers.
    pub(super) has_pseudo: bool,
    /// A path holds a `#`.
    pub(super) has_fragment: bool,
    /// A scheme is neither http nor https.
    pub(super) has_odd_scheme: bool,
    pub(super) method: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) authority: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// At a field's first byte.
    Start,
    NameLength,
    Name,
    ValueLength,
    Value,
    /// What came is no block.
    Broken,
}

/// What a field's first byte says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Indexed,
    Literal { is_kept: bool },
    SizeUpdate,
}

/// Reads the blocks of one connection.
pub(super) struct Blocks {
    table: Table,
    step: Step,
    kind: Kind,
    /// A number of which there is more to come, and how far the next bits are shifted.
    number: Option<(usize, u32)>,
    /// Bytes of a string to come.
    left: usize,
    huffman: Option<Decoder>,
    /// The field that is being read.
    name: Name,
    name_start: Vec<u8>,
    name_length: usize,
    value_length: usize,
    has_fragment: bool,
    text: Vec<u8>,
    /// The block that is being read.
    pub(super) block: Block,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Blocks {
            table: Table::new(),
            step: Step::Start,
            kind: Kind::Indexed,
            number: None,
            left: 0,
            huffman: None,
            name: Name::Other,
            name_start: Vec::new(),
            name_length: 0,
            value_length: 0,
            has_fragment: false,
            text: Vec::new(),
            block: Block::default(),
        }
    }

    /// A block begins.
    pub(super) fn begin(&mut self) {
        let block = &mut self.block;
        (block.fields, block.bytes) = (0, 0);
        (block.has_pseudo, block.has_fragment, block.has_odd_scheme) = (false, false, false);
        for text in [&mut block.method, &mut block.path, &mut block.authority] {
            text.clear();
        }
    }

    /// The block goes on.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.step {
                Step::Broken => return,
                Step::Name | Step::Value => {
                    let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                    bytes = rest;
                    self.string(piece);
                }
                Step::Start | Step::NameLength | Step::ValueLength => {
                    bytes = rest;
                    if let Some(number) = self.number(byte) {
                        self.counted(number);
                    }
                }
            }
        }
    }

    /// A number that is complete with `byte` (RFC 7541 §5.1).
    fn number(&mut self, byte: u8) -> Option<usize> {
        if let Some((value, shift)) = self.number.take() {
            let value = value + (usize::from(byte & 0x7f) << shift);
            if byte & 0x80 == 0 {
                return Some(value);
            }
            match shift {
                0..21 => self.number = Some((value, shift + 7)),
                _ => self.step = Step::Broken,
            }
            return None;
        }
        let prefix = match (self.step, byte) {
            (Step::Start, 0x80..) => (Kind::Indexed, 0x7f),
            (Step::Start, 0x40..) => (Kind::Literal { is_kept: true }, 0x3f),
            (Step::Start, 0x20..) => (Kind::SizeUpdate, 0x1f),
            (Step::Start, _) => (Kind::Literal { is_kept: false }, 0x0f),
            _ => {
                self.huffman = (byte & 0x80 != 0).then(Decoder::default);
                (self.kind, 0x7f)
            }
        };
        let (kind, mask) = prefix;
        self.kind = kind;
        if byte & mask == mask {
            self.number = Some((mask.into(), 0));
            return None;
        }
        Some((byte & mask).into())
    }

    /// What a number that has come means.
    fn counted(&mut self, number: usize) {
        match (self.step, self.kind) {
            (Step::Start, Kind::Indexed) => self.known(number),
            (Step::Start, Kind::SizeUpdate) if number <= MAX_TABLE => {
                self.table.resize(number);
            }
            (Step::Start, Kind::Literal { .. }) => {
                (self.value_length, self.has_fragment) = (0, false);
                self.text.clear();
                let known = match number {
                    0 => None,
                    1..=61 => STATIC
                        .get(number - 1)
                        .map(|(name, _)| (Name::of(name.as_bytes()), name.len())),
                    _ => {
                        let entry = self.table.get(number - 62);
                        entry.map(|entry| (entry.name, entry.name_length))
                    }
                };
                match known {
                    Some((name, length)) => {
                        (self.name, self.name_length) = (name, length);
                        self.step = Step::ValueLength;
                    }
                    None if number == 0 => self.step = Step::NameLength,
                    None => self.step = Step::Broken,
                }
            }
            (Step::NameLength, _) if number > 0 => {
                self.name_length = 0;
                self.name_start.clear();
                (self.left, self.step) = (number, Step::Name);
            }
            (Step::ValueLength, _) => {
                (self.left, self.step) = (number, Step::Value);
                if number == 0 {
                    self.literal();
                }
            }
            _ => self.step = Step::Broken,
        }
    }

    /// A piece of a name or a value.
    fn string(&mut self, piece: &[u8]) {
        self.left -= piece.len();
        let (length, text) = match self.step {
            Step::Name => (&mut self.name_length, &mut self.name_start),
            _ => (&mut self.value_length, &mut self.text),
        };
        let is_path = self.step == Step::Value && self.name == Name::Path;
        let is_kept = self.step == Step::Name || self.name.matters();
        match &mut self.huffman {
            Some(decoder) => {
                let has_fragment = &mut self.has_fragment;
                let mut sink = |byte| {
                    *length += 1;
                    *has_fragment |= is_path && byte == b'#';
                    if is_kept && text.len() < MAX_TEXT {
                        text.push(byte);
                    }
                };
                piece.iter().for_each(|byte| decoder.push(*byte, &mut sink));
            }
            None => {
                *length += piece.len();
                self.has_fragment |= is_path && piece.contains(&b'#');
                if is_kept {
                    let room = MAX_TEXT - text.len();
                    text.extend_from_slice(&piece[..piece.len().min(room)]);
                }
            }
        }
        match (self.left, self.step) {
            (0, Step::Name) => {
                self.name = Name::of(&self.name_start);
                self.step = Step::ValueLength;
            }
            (0, _) => self.literal(),
            _ => {}
        }
    }

    /// A literal field is complete.
    fn literal(&mut self) {
        self.step = Step::Start;
        let (name, name_length, value_length) = (self.name, self.name_length, self.value_length);
        self.block.add(name, name_length + value_length, self.has_fragment, &self.text);
        if self.kind == (Kind::Literal { is_kept: true }) {
            let text = self.text.as_slice().into();
            let has_fragment = self.has_fragment;
            self.table.insert(Field { name, name_length, value_length, has_fragment, text });
        }
    }

    /// A field that is in a table.
    fn known(&mut self, index: usize) {
        if let 1..=61 = index
            && let Some((name, value)) = STATIC.get(index - 1)
        {
            let size = name.len() + value.len();
            self.block.add(Name::of(name.as_bytes()), size, false, value.as_bytes());
        } else if let Some(index) = index.checked_sub(62)
            && let Some(entry) = self.table.get(index)
        {
            let size = entry.name_length + entry.value_length;
            self.block.add(entry.name, size, entry.has_fragment, &entry.text);
        } else {
            self.step = Step::Broken;
        }
    }
}

impl Block {
    /// What is wrong with a request's head and cannot be seen in what `h2` makes of it: a fragment is
    /// cut off, and where there is no authority a scheme is left out and a path made up.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        if self.has_fragment {
            Some(":path has a fragment")
        } else if self.has_odd_scheme {
            Some("the scheme is neither http nor https")
        } else if self.path.is_empty() && self.method != b"CONNECT" {
            Some("no :path")
        } else {
            None
        }
    }

    fn add(&mut self, name: Name, size: usize, has_fragment: bool, text: &[u8]) {
        self.fields += 1;
        self.bytes = self.bytes.saturating_add(size as u64 + b": \r\n".len() as u64);
        self.has_pseudo |= name != Name::Other;
        self.has_fragment |= has_fragment;
        let to = match name {
            Name::Method => &mut self.method,
            Name::Path => &mut self.path,
            Name::Authority => &mut self.authority,
            Name::Scheme => {
                self.has_odd_scheme |= !matches!(text, b"http" | b"https");
                return;
            }
            Name::Pseudo | Name::Other => return,
        };
        to.clear();
        to.extend_from_slice(text);
    }
}
