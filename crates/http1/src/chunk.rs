//! The lines between chunks (RFC 9112 §7.1).

use millrace_message::validate_reason;

use crate::ParseError::{self, BadRequest, TooLarge};

/// Bytes of a line with its end. Its extensions are read by nobody, so there is no need for more.
const MAX_LINE: usize = 256;

/// The size on the line that `buf` begins with, and the bytes the line takes.
pub(crate) fn size_line(buf: &[u8]) -> Result<Option<(u64, usize)>, ParseError> {
    let window = &buf[..buf.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return match window.first() {
            Some(first) if !first.is_ascii_hexdigit() => Err(NO_SIZE),
            _ if window.len() == MAX_LINE => Err(TooLarge("a chunk-size line")),
            _ => Ok(None),
        };
    };
    let Some(line) = window[..end].strip_suffix(b"\r") else {
        return Err(BadRequest("a chunk-size line does not end in CRLF"));
    };
    let count = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(count);
    // White space is allowed before an extension, but not before the line's end.
    let valid = extensions.is_empty()
        || (extensions.trim_ascii_start().starts_with(b";")
            && validate_reason(extensions)
            && quotes_are_closed(extensions));
    if !valid {
        return Err(BadRequest("what follows a chunk's size is not valid"));
    }
    Ok(Some((hex(digits)?, end + 1)))
}

/// Whether each quoted string ends on its line: one that does not is a body to those who look for
/// its end further on.
fn quotes_are_closed(extensions: &[u8]) -> bool {
    let (mut quoted, mut bytes) = (false, extensions.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            _ => {}
        }
    }
    !quoted
}

const NO_SIZE: ParseError = BadRequest("a chunk's size is not hexadecimal");

fn hex(digits: &[u8]) -> Result<u64, ParseError> {
    // Sixteen digits are all that 64 bits hold; also no more of them as zeros in front.
    if digits.is_empty() || digits.len() > 16 {
        return Err(NO_SIZE);
    }
    let digit = |byte: &u8| (*byte as char).to_digit(16).map(u64::from).ok_or(NO_SIZE);
    digits.iter().try_fold(0, |size, byte| Ok(size << 4 | digit(byte)?))
}

/// Says whether lines take too many bytes in proportion to data: free are 16 bytes for each chunk
/// and two for each of its bytes, so that no honest sender is hit, however small its chunks.
#[derive(Debug, Default)]
pub(crate) struct Overhead(u64);

impl Overhead {
    const MAX: u64 = 16 * 1024;

    pub(crate) fn add(&mut self, line: usize, size: u64) -> Result<(), ParseError> {
        let free = size.saturating_mul(2).saturating_add(16);
        self.0 = self.0.saturating_add(line as u64).saturating_sub(free);
        if self.0 > Self::MAX { Err(TooLarge("chunk extensions")) } else { Ok(()) }
    }
}
