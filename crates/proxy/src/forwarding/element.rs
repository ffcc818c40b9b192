//! Forwarded (RFC 7239), read from its right end: what a trusted proxy has added there is read right
//! whatever its client has put in front of it.

use std::net::SocketAddr;

use millrace_message::validate_name;

use super::node::node;

/// What one element says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// Who asked; none where that is not said, or hidden.
    pub(crate) node: Option<SocketAddr>,
    /// The scheme of the request, as it stands there.
    pub(crate) proto: Option<&'a [u8]>,
    /// The host that was asked for, as it stands there.
    pub(crate) host: Option<&'a [u8]>,
}

/// The last element of a list as text, and what is in front of it.
pub(crate) fn split_last(list: &[u8]) -> (&[u8], &[u8]) {
    let mut is_quoted = false;
    for at in (0..list.len()).rev() {
        match list[at] {
            b'"' if !is_escaped(&list[..at]) => is_quoted = !is_quoted,
            b',' if !is_quoted => return (&list[..at], list[at + 1..].trim_ascii()),
            _ => {}
        }
    }
    (b"", list.trim_ascii())
}

/// Whether what follows `before` in a quoted string stands for itself.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// What an element says; none if it is malformed.
pub(crate) fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    let mut has_node = false;
    let mut rest = text;
    loop {
        rest = rest.trim_ascii();
        if !matches!(rest.first(), None | Some(b';')) {
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (&rest[..equals], &rest[equals + 1..]);
            if !validate_name(name) {
                return None;
            }
            let (value, after) = self::value(value)?;
            rest = after.trim_ascii_start();
            let once = if name.eq_ignore_ascii_case(b"for") {
                element.node = node(value);
                !std::mem::replace(&mut has_node, true)
            } else if name.eq_ignore_ascii_case(b"proto") {
                element.proto.replace(value).is_none()
            } else if name.eq_ignore_ascii_case(b"host") {
                element.host.replace(value).is_none()
            } else {
                true
            };
            if !once {
                return None;
            }
        }
        match rest.split_first() {
            None => return Some(element),
            Some((b';', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// A token, or what is in a quoted string, which nothing is taken out of: one with a backslash is no
/// value that is looked for here. And what follows it.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(inner) = text.strip_prefix(b"\"") {
        let end = (0..inner.len()).find(|at| inner[*at] == b'"' && !is_escaped(&inner[..*at]))?;
        return Some((&inner[..end], &inner[end + 1..]));
    }
    let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    let (value, rest) = text.split_at(end.unwrap_or(text.len()));
    // Brackets and colons belong in quotes, but are often seen without.
    let is_value = |byte: &u8| validate_name(&[*byte]) || matches!(byte, b':' | b'[' | b']');
    (!value.is_empty() && value.iter().all(is_value)).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements of a list from the right, as text.
    fn all(mut list: &str) -> Vec<&str> {
        let mut elements = Vec::new();
        while !list.is_empty() {
            let (rest, last) = split_last(list.as_bytes());
            elements.push(std::str::from_utf8(last).unwrap());
            list = std::str::from_utf8(rest).unwrap();
        }
        elements
    }

    #[test]
    fn lists_are_split_from_the_right_outside_of_quotes() {
        assert_eq!(all("for=a, for=b;proto=http ,for=c"), ["for=c", "for=b;proto=http", "for=a"]);
        assert_eq!(all(r#"for="a,b", for="c\",d""#), [r#"for="c\",d""#, r#"for="a,b""#]);
        assert_eq!(all(r#"x="\\", for=b"#), ["for=b", r#"x="\\""#]);
        // An open quote of a client's takes nothing of what its proxy has added.
        assert_eq!(all(r#"for="evil, for="[::1]:80""#), [r#"for="[::1]:80""#, r#"for="evil"#]);
        assert_eq!(all(r#"for=x\, for=b"#), ["for=b", r"for=x\"]);
    }

    #[test]
    fn elements_are_read_strictly() {
        let node = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let says = |text: &'static str| element(text.as_bytes());
        let full = says(r#"For="[2001:db8:cafe::17]:4711";PROTO=https;host="a.example:81";by=_x"#);
        let expected = Element {
            node: node("[2001:db8:cafe::17]:4711"),
            proto: Some(b"https"),
            host: Some(b"a.example:81"),
        };
        assert_eq!(full, Some(expected));
        assert_eq!(says("for=192.0.2.43; proto=http").unwrap().node, node("192.0.2.43:0"));
        assert_eq!(says(r#"for="192.0.2.43:47011""#).unwrap().node, node("192.0.2.43:47011"));
        assert_eq!(says("for=192.0.2.43:47011").unwrap().node, node("192.0.2.43:47011"));
        for hidden in ["", ";", "for=unknown", "for=_secret", "proto=http", r#"for="\1.2.3.4""#] {
            assert_eq!(says(hidden).unwrap().node, None, "{hidden}");
        }
        for malformed in [
            "for",
            "for=",
            "for =1.2.3.4",
            "for= 1.2.3.4",
            "for=1.2.3.4 proto=http",
            r#"for="1.2.3.4"#,
            "for=1.2.3.4;for=5.6.7.8",
            "proto=http;proto=https",
            "host=a;host=b",
            r#"for="1.2.3.4"x"#,
            "1.2.3.4",
            "=1.2.3.4",
            "for=1.2.3.4;=",
            "for=a\"b",
            "for=(x)",
            "f or=1.2.3.4",
        ] {
            assert_eq!(says(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn any_bytes_are_split_whole_and_read_without_harm() {
        let mut seed = 7u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 16
        };
        const BYTES: &[u8] = b"\"\\,;= for:[]1.\xff";
        for _ in 0..20_000 {
            let length = random() % 24;
            let list: Vec<u8> =
                (0..length).map(|_| BYTES[random() as usize % BYTES.len()]).collect();
            let (mut rest, mut count) = (&list[..], 0);
            while !rest.is_empty() {
                let (before, item) = split_last(rest);
                element(item);
                assert!(before.len() + item.len() <= rest.len() && before.len() < rest.len());
                (rest, count) = (before, count + 1);
            }
            assert!(count <= list.iter().filter(|byte| **byte == b',').count() + 1);
            // What a trusted proxy adds is the last of it, whatever was there.
            let added = [&list[..], b", for=\"[::1]:80\";proto=https"].concat();
            assert_eq!(split_last(&added).1, b"for=\"[::1]:80\";proto=https");
        }
    }
}
