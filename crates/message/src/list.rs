//! Comma-separated lists (RFC 9110 §5.6.1).

/// The items of a list, outer white space cut off; empty items are left out.
///
/// Commas in quoted strings separate too: made for lists of tokens.
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|item| !item.is_empty())
}

/// Whether one of the lists has the item `token`, without regard to case.
pub fn has_token<'a>(values: impl Iterator<Item = &'a [u8]>, token: &str) -> bool {
    values.flat_map(list_items).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// `text` without the spaces and tabs at its ends.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_trimmed_and_empty_ones_left_out() {
        let items: Vec<_> = list_items(b" a ,\tb\t,, c d ,").collect();
        assert_eq!(items, [&b"a"[..], b"b", b"c d"]);
        assert_eq!(list_items(b"").count(), 0);
        assert!(has_token([&b"x"[..], b"y, CLOSE"].into_iter(), "close"));
        assert!(!has_token([&b"closed"[..]].into_iter(), "close"));
    }
}
