//! The dynamic table of HPACK (RFC 7541 §2.3.2 and §4), of whose fields only what matters is kept.

use std::collections::VecDeque;

/// The largest table that a client may ask for: what it is without a setting of ours.
pub(super) const MAX_TABLE: usize = 4096;
/// What a field counts beside its text.
const OVERHEAD: usize = 32;

/// Names that are told from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Path,
    Authority,
    Scheme,
    /// Another pseudo-header.
    Pseudo,
    Other,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Name::Method,
            b":path" => Name::Path,
            b":authority" => Name::Authority,
            b":scheme" => Name::Scheme,
            [b':', ..] => Name::Pseudo,
            _ => Name::Other,
        }
    }
}

impl Name {
    /// Whether its value is looked at.
    pub(super) fn matters(self) -> bool {
        !matches!(self, Name::Pseudo | Name::Other)
    }
}

/// A field, as much of it as matters.
pub(super) struct Field {
    pub(super) name: Name,
    pub(super) name_length: usize,
    pub(super) value_length: usize,
    pub(super) has_fragment: bool,
    /// The value's beginning, of those with a name that matters.
    pub(super) text: Box<[u8]>,
}

impl Field {
    fn size(&self) -> usize {
        self.name_length + self.value_length + OVERHEAD
    }
}

pub(super) struct Table {
    /// The newest comes first.
    entries: VecDeque<Field>,
    size: usize,
    max: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Table { entries: VecDeque::new(), size: 0, max: MAX_TABLE }
    }

    /// The field that is `index` younger ones away.
    pub(super) fn get(&self, index: usize) -> Option<&Field> {
        self.entries.get(index)
    }

    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink(max);
    }

    pub(super) fn insert(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    /// What its fields count.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(last) = self.entries.pop_back()
        {
            self.size -= last.size();
        }
    }
}
