//! Changes to fields.

use super::{Fields, InvalidField, Span};
use crate::{validate_name, validate_value};

/// Garbage below this is not worth moving the text for.
const SLACK: usize = 1024;

impl Fields {
    /// Adds a field that the caller has validated.
    pub fn push_unchecked(&mut self, name: &[u8], value: &[u8]) {
        let fits = self.store(name, value);
        debug_assert!(fits.is_ok(), "fields larger than 4 GiB");
    }

    /// Adds a field after all others.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidField> {
        check(name, &[value.as_ref()])?;
        self.store(name.as_bytes(), value.as_ref())
    }

    /// Gives `name` this one value, in the place of its first field; its other fields go.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidField> {
        self.set_all(name, &[value.as_ref()])
    }

    /// Gives `name` these values, in the place of its first field; without values its fields go.
    pub fn set_all(&mut self, name: &str, values: &[&[u8]]) -> Result<(), InvalidField> {
        check(name, values)?;
        let added = values.iter().map(|value| name.len() + value.len()).sum::<usize>();
        if self.text.len().saturating_add(added) > u32::MAX as usize {
            return Err(InvalidField::TooLarge);
        }
        let old = self.len();
        let first = self.index.iter().position(|span| self.is(span, name)).unwrap_or(old);
        for value in values {
            self.store(name.as_bytes(), value)?;
        }
        if first < old {
            let mut position = 0;
            self.keep(|fields, span| {
                position += 1;
                position <= first || position > old || !fields.is(span, name)
            });
            // The new ones stand last: turn them to where the first of the old ones stood.
            self.index[first..].rotate_right(values.len());
            self.compact();
        }
        Ok(())
    }

    /// Removes all fields with this name; says whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.len();
        self.keep(|fields, span| !fields.is(span, name));
        self.len() < before
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.keep(|fields, span| keep(fields.name(span), fields.value(span)));
    }

    /// Removes all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.index.clear();
        self.live = 0;
    }

    fn store(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        let start = self.text.len();
        if start + name.len() + value.len() > u32::MAX as usize {
            return Err(InvalidField::TooLarge);
        }
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        let span = Span {
            name: start as u32,
            name_len: name.len() as u32,
            value: (start + name.len()) as u32,
            value_len: value.len() as u32,
        };
        self.live += span.len();
        self.index.push(span);
        Ok(())
    }

    fn keep(&mut self, mut keep: impl FnMut(&Fields, &Span) -> bool) {
        // Taken out for the walk, so that `keep` can look at the text.
        let mut index = std::mem::take(&mut self.index);
        let mut live = 0;
        index.retain(|span| {
            let kept = keep(self, span);
            live += if kept { span.len() } else { 0 };
            kept
        });
        self.index = index;
        self.live = live;
    }

    /// Moves the text together once more than half of it is garbage, so that a field set over and
    /// over does not grow the arena for ever.
    fn compact(&mut self) {
        if self.text.len() <= 2 * self.live + SLACK {
            return;
        }
        let mut whole = Fields::with_capacity(self.live, self.index.len());
        for (name, value) in self.iter() {
            whole.push_unchecked(name, value);
        }
        *self = whole;
    }
}

fn check(name: &str, values: &[&[u8]]) -> Result<(), InvalidField> {
    if !validate_name(name.as_bytes()) {
        return Err(InvalidField::Name);
    }
    if !values.iter().all(|value| validate_value(value)) {
        return Err(InvalidField::Value);
    }
    Ok(())
}
