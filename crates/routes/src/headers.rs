use millrace_message::{Fields, InvalidField};

/// What is always done to the fields of a head, in order.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Set(Box<str>, Vec<Box<[u8]>>),
    Append(Box<str>, Box<[u8]>),
    Remove(Box<str>),
}

impl HeaderChanges {
    /// Nothing is done.
    pub const fn none() -> Self {
        HeaderChanges { changes: Vec::new() }
    }

    /// Gives a field these values, in the place of those it has.
    pub fn set(&mut self, name: &str, values: &[&[u8]]) -> Result<(), InvalidField> {
        check(name, values)?;
        let values = values.iter().map(|value| (*value).into()).collect();
        self.changes.push(Change::Set(name.into(), values));
        Ok(())
    }

    /// Adds a field.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidField> {
        check(name, &[value])?;
        self.changes.push(Change::Append(name.into(), value.into()));
        Ok(())
    }

    /// Removes all fields with this name.
    pub fn remove(&mut self, name: &str) -> Result<(), InvalidField> {
        check(name, &[])?;
        self.changes.push(Change::Remove(name.into()));
        Ok(())
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Changes a head that comes from elsewhere.
    pub fn apply(&self, fields: &mut Fields) {
        for change in &self.changes {
            match change {
                Change::Set(name, values) => set(fields, name, values),
                Change::Append(name, value) => fields.push_unchecked(name.as_bytes(), value),
                Change::Remove(name) => drop(fields.remove(name)),
            }
        }
    }

    /// Completes a head of our own: what it says itself stands.
    pub fn complete(&self, fields: &mut Fields) {
        let said: Vec<bool> = self
            .changes
            .iter()
            .map(|change| match change {
                Change::Set(name, _) | Change::Remove(name) => fields.contains(name),
                Change::Append(..) => false,
            })
            .collect();
        for (change, is_said) in self.changes.iter().zip(said) {
            match change {
                Change::Set(name, values) if !is_said => set(fields, name, values),
                Change::Append(name, value) => fields.push_unchecked(name.as_bytes(), value),
                _ => {}
            }
        }
    }
}

fn set(fields: &mut Fields, name: &str, values: &[Box<[u8]>]) {
    let values: Vec<&[u8]> = values.iter().map(|value| &**value).collect();
    // Checked when it was made; fields of 4 GiB stay as they are.
    let _ = fields.set_all(name, &values);
}

fn check(name: &str, values: &[&[u8]]) -> Result<(), InvalidField> {
    Fields::new().set_all(name, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.append(name, value).unwrap();
        }
        fields
    }

    fn changes() -> HeaderChanges {
        let mut changes = HeaderChanges::default();
        changes.set("x-set", &[b"1", b"2"]).unwrap();
        changes.append("x-added", b"3").unwrap();
        changes.remove("X-Gone").unwrap();
        changes
    }

    #[test]
    fn a_head_is_changed_in_order() {
        let mut head = fields(&[("X-Set", "0"), ("x-gone", "0"), ("x-added", "0"), ("kept", "0")]);
        changes().apply(&mut head);
        let expected =
            [("x-set", "1"), ("x-set", "2"), ("x-added", "0"), ("kept", "0"), ("x-added", "3")];
        assert_eq!(head, fields(&expected));
    }

    #[test]
    fn a_head_of_our_own_is_completed() {
        let mut head = fields(&[("X-Set", "0"), ("x-gone", "0"), ("x-added", "0")]);
        changes().complete(&mut head);
        let expected = [("X-Set", "0"), ("x-gone", "0"), ("x-added", "0"), ("x-added", "3")];
        assert_eq!(head, fields(&expected));
        let mut head = fields(&[]);
        changes().complete(&mut head);
        assert_eq!(head, fields(&[("x-set", "1"), ("x-set", "2"), ("x-added", "3")]));
    }

    #[test]
    fn what_would_split_a_head_is_refused() {
        let mut changes = HeaderChanges::default();
        assert!(changes.set("a b", &[b"1"]).is_err() && changes.set("a", &[b"1\r\nb: 2"]).is_err());
        assert!(changes.append("a", b" 1").is_err() && changes.remove("").is_err());
        assert!(changes.is_empty());
    }
}
