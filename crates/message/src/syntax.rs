//! What bytes the parts of a head may hold (RFC 9110 §5, RFC 9112 §3 and §4).

/// A table of the bytes that satisfy a condition.
macro_rules! table {
    ($($pattern:pat_param)|+) => {{
        let mut table = [false; 256];
        let mut byte = 0usize;
        while byte < 256 {
            table[byte] = matches!(byte as u8, $($pattern)|+);
            byte += 1;
        }
        table
    }};
}

static TOKEN: [bool; 256] = table!(
    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
);

static VALUE: [bool; 256] = table!(b'\t' | 0x20..=0x7e | 0x80..=0xff);

/// Whether `name` is a token: the grammar of field names and of methods.
pub fn validate_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Whether `value` may stand as a field's value: no CR, LF, NUL or other control byte but HTAB, and
/// no white space at either end. Empty is valid.
pub fn validate_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first())
        && !blank(value.last())
        && value.iter().all(|&byte| VALUE[usize::from(byte)])
}

/// Whether `reason` may stand as a reason phrase. Empty is valid.
pub fn validate_reason(reason: &[u8]) -> bool {
    reason.iter().all(|&byte| VALUE[usize::from(byte)])
}

/// Whether `target` holds only what may stand on a request line: visible ASCII (RFC 3986 §2), and no
/// fragment (an intermediary that cuts one off sees another path than one that does not).
pub fn validate_target(target: &[u8]) -> bool {
    !target.is_empty() && target.iter().all(|&byte| matches!(byte, 0x21..=0x7e) && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        for name in ["a", "Content-Length", "x_y", "!#$%&'*+-.^_`|~09"] {
            assert!(validate_name(name.as_bytes()), "{name}");
        }
        for name in ["", " a", "a ", "a:", "a b", "a\r", "é", "a\0", "(", "a/b", "\"a\"", "a\x7f"]
        {
            assert!(!validate_name(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn values_hold_no_line_ends_and_no_outer_space() {
        for value in [&b""[..], b"a", b"a b\tc", b"\xff\x80", b"\"q\""] {
            assert!(validate_value(value), "{value:?}");
        }
        for value in [" a", "a ", "\ta", "a\t", "a\rb", "a\nb", "a\0b", "\x7f", "\x01", " "] {
            assert!(!validate_value(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn targets_hold_no_space_and_no_fragment() {
        for target in [&b"/"[..], b"*", b"/a?b=|\"<>^{}\\"] {
            assert!(validate_target(target), "{target:?}");
        }
        for target in ["", " ", "/a b", "/a#b", "/\r", "/\n", "/\0", "/\x7f", "/\t", "/é"] {
            assert!(!validate_target(target.as_bytes()), "{target:?}");
        }
    }
}
