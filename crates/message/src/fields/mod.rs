//! The fields of one head, in one arena.

mod edit;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

/// The fields of one head: any number of names and values in the order and the case they came in,
/// all in one allocation of text and one of positions. Names compare without regard to case.
#[derive(Default)]
pub struct Fields {
    // Names and values, with gaps: what was replaced, or stood between them on the wire.
    text: Vec<u8>,
    index: Vec<Span>,
    // Bytes of `text` that names and values in `index` cover.
    live: usize,
}

/// Where one field lies in the text.
#[derive(Clone, Copy)]
struct Span {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
}

/// Why a field was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidField {
    /// The name is not a token.
    Name,
    /// The value holds a control byte, or white space at an end.
    Value,
    /// The fields together would be larger than 4 GiB.
    TooLarge,
}

impl Span {
    fn len(self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

impl Fields {
    /// No fields, and nothing allocated.
    pub fn new() -> Self {
        Fields::default()
    }

    /// No fields, with room for `count` of them that hold `text` bytes in all.
    pub fn with_capacity(text: usize, count: usize) -> Self {
        Fields { text: Vec::with_capacity(text), index: Vec::with_capacity(count), live: 0 }
    }

    /// No fields yet, over a copy of a parsed block; [`Fields::push_span`] then says where in it
    /// each field lies. One copy for the whole head.
    pub fn with_block(block: &[u8], count: usize) -> Self {
        Fields { text: block.to_vec(), index: Vec::with_capacity(count), live: 0 }
    }

    /// Adds the field at these places of the block. The caller has validated it; places outside
    /// the block are ignored.
    pub fn push_span(&mut self, name: Range<usize>, value: Range<usize>) {
        let end = name.end.max(value.end);
        if end > self.text.len() || end > u32::MAX as usize {
            debug_assert!(false, "a span outside the block");
            return;
        }
        let (name_len, value_len) = (name.len() as u32, value.len() as u32);
        let span = Span { name: name.start as u32, name_len, value: value.start as u32, value_len };
        self.live += span.len();
        self.index.push(span);
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The bytes that all names and values have together.
    pub fn text_len(&self) -> usize {
        self.live
    }

    /// The value of the first field with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.index.iter().find(|span| self.is(span, name)).map(|span| self.value(span))
    }

    /// The values of all fields with this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.index.iter().filter(move |span| self.is(span, name)).map(|span| self.value(span))
    }

    /// Whether there is a field with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.iter().any(|span| self.is(span, name))
    }

    /// Name and value of each field, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.index.iter().map(|span| (self.name(span), self.value(span)))
    }

    fn name(&self, span: &Span) -> &[u8] {
        &self.text[span.name as usize..][..span.name_len as usize]
    }

    fn value(&self, span: &Span) -> &[u8] {
        &self.text[span.value as usize..][..span.value_len as usize]
    }

    fn is(&self, span: &Span, name: &str) -> bool {
        // The lengths differ for almost every field: compared first, they make a search cheap.
        span.name_len as usize == name.len()
            && self.name(span).eq_ignore_ascii_case(name.as_bytes())
    }
}

/// A copy is made to be edited, so it has room for a few fields more.
impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut copy = Fields::with_capacity(self.text.len() + 256, self.index.len() + 4);
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &Self) {
        self.text.clone_from(&source.text);
        self.index.clone_from(&source.index);
        self.live = source.live;
    }
}

/// Equal when they hold the same fields in the same order; case counts.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        f.debug_list().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidField::Name => "a field's name is not a token",
            InvalidField::Value => "a field's value holds a control byte or outer white space",
            InvalidField::TooLarge => "the fields are too large",
        })
    }
}

impl std::error::Error for InvalidField {}
