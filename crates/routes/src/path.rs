use std::borrow::Cow;

/// The path of a request as rules see it: so that no two ways of writing one path lead to two rules.
///
/// Percent-encoded bytes are decoded, `.` and `..` are resolved, and empty segments left out (`//`).
/// What an origin might still read otherwise is refused.
#[derive(Debug)]
pub struct Path<'a> {
    decoded: Cow<'a, [u8]>,
    written: Cow<'a, [u8]>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedPath(pub &'static str);

const ENCODED_SLASH: RefusedPath =
    RefusedPath("a slash or a backslash is percent-encoded in the path");

impl<'a> Path<'a> {
    /// Reads the path of a target. `keeps_slashes` = a percent-encoded slash or backslash is taken as
    /// a part of its segment; otherwise it is refused, as an origin may take it for a separator.
    pub fn new(path: &'a [u8], keeps_slashes: bool) -> Result<Self, RefusedPath> {
        if is_plain(path) {
            return Ok(Path { decoded: Cow::Borrowed(path), written: Cow::Borrowed(path) });
        }
        // Not of the form that has segments: `*`, or none.
        let Some(inner) = path.strip_prefix(b"/") else {
            return Ok(Path { decoded: Cow::Borrowed(path), written: Cow::Borrowed(path) });
        };
        let mut kept: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let mut changed = false;
        let mut ends_open = false;
        for segment in inner.split(|byte| *byte == b'/') {
            let decoded = decode(segment, keeps_slashes)?;
            let dots = dots(&decoded);
            if dots.is_none() && !keeps_slashes && is_disguised(&decoded, b";") {
                return Err(RefusedPath("a segment of the path is dots with a parameter"));
            }
            if dots.is_none() && keeps_slashes && hides_dots(&decoded) {
                return Err(ENCODED_SLASH);
            }
            // What is left out leaves an open end where it is the last.
            ends_open = decoded.is_empty() || dots.is_some();
            changed |= ends_open;
            match dots {
                Some(1) => {}
                Some(_) => drop(kept.pop()),
                None if decoded.is_empty() => {}
                None => kept.push((segment, decoded)),
            }
        }
        let join = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut text = Vec::with_capacity(path.len());
            for part in parts {
                text.push(b'/');
                text.extend_from_slice(part);
            }
            if ends_open || text.is_empty() {
                text.push(b'/');
            }
            text
        };
        let decoded = join(&mut kept.iter().map(|(_, decoded)| decoded.as_slice()));
        let written = join(&mut kept.iter().map(|(segment, _)| *segment));
        let written = match changed && written != path {
            true => Cow::Owned(written),
            false => Cow::Borrowed(path),
        };
        Ok(Path { decoded: Cow::Owned(decoded), written })
    }

    /// What patterns are compared with: decoded but for what is encoded of `/`, `\` and `%`.
    pub fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// What goes upstream: as the client wrote it, less what was resolved and left out.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Whether that is not what the client wrote.
    pub fn is_changed(&self) -> bool {
        matches!(self.written, Cow::Owned(_))
    }
}

/// Whether there is nothing in it to decode, to resolve or to refuse.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        match byte {
            b'%' | b'\\' => return false,
            b'/' | b'.' | b';' if before == b'/' => return false,
            _ => {}
        }
        before = byte;
    }
    true
}

/// One or two, if a segment is so many dots.
fn dots(segment: &[u8]) -> Option<usize> {
    matches!(segment, b"." | b"..").then_some(segment.len())
}

/// Whether a segment is dots but for what follows one of `separators`: some origins cut that off.
fn is_disguised(segment: &[u8], separators: &[u8]) -> bool {
    let end = segment.iter().position(|byte| separators.contains(byte));
    end.is_some_and(|end| dots(&segment[..end]).is_some())
}

/// Whether an origin that decodes slashes would find dots to resolve in this segment.
fn hides_dots(segment: &[u8]) -> bool {
    let text = String::from_utf8_lossy(segment).replace("%5C", "%2F");
    text.split("%2F")
        .any(|part| dots(part.as_bytes()).is_some() || is_disguised(part.as_bytes(), b";"))
}

fn decode(segment: &[u8], keeps_slashes: bool) -> Result<Vec<u8>, RefusedPath> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => return Err(RefusedPath("a backslash in the path")),
            b'%' => {
                let Some((&[high, low], after)) = rest.split_first_chunk::<2>() else {
                    return Err(RefusedPath("a percent sign in the path that encodes nothing"));
                };
                rest = after;
                match hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low) {
                    None => {
                        return Err(RefusedPath("a percent sign in the path that encodes nothing"));
                    }
                    Some(0) => return Err(RefusedPath("a NUL in the path")),
                    Some(b'/' | b'\\') if !keeps_slashes => return Err(ENCODED_SLASH),
                    Some(b'/') => decoded.extend_from_slice(b"%2F"),
                    Some(b'\\') => decoded.extend_from_slice(b"%5C"),
                    // Decoded once and no more: `%252F` does not become what `%2F` is.
                    Some(b'%') => decoded.extend_from_slice(b"%25"),
                    Some(byte) => decoded.push(byte),
                }
            }
            byte => decoded.push(byte),
        }
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, keeps: bool) -> Result<(String, String), RefusedPath> {
        let path = Path::new(path.as_bytes(), keeps)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(path.decoded()), text(path.written())))
    }

    #[test]
    fn one_path_in_all_the_ways_it_can_be_written() {
        for (path, decoded, written) in [
            ("/", "/", "/"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/", "/a/", "/a/"),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
            ("/..a/...", "/..a/...", "/..a/..."),
            ("/a.b;c", "/a.b;c", "/a.b;c"),
            ("/%61dmin", "/admin", "/%61dmin"),
            ("/a%7Eb%c3%a9", "/a~bé", "/a%7Eb%c3%a9"),
            ("/a%3Fb%23", "/a?b#", "/a%3Fb%23"),
            ("/a%252Fb%25", "/a%252Fb%25", "/a%252Fb%25"),
            ("/api/../admin", "/admin", "/admin"),
            ("/api/%2e%2E/admin", "/admin", "/admin"),
            ("/api/.%2e/x%20y", "/x y", "/x%20y"),
            ("/a/./b", "/a/b", "/a/b"),
            ("/a/.", "/a/", "/a/"),
            ("/a/..", "/", "/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/../../a", "/a", "/a"),
            ("//a", "/a", "/a"),
            ("//", "/", "/"),
            ("/a//b///", "/a/b/", "/a/b/"),
            ("/a//../b", "/b", "/b"),
            ("//evil.example/x", "/evil.example/x", "/evil.example/x"),
            ("*", "*", "*"),
            ("", "", ""),
        ] {
            assert_eq!(read(path, false), Ok((decoded.into(), written.into())), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "/a%2Fb",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/a%00",
            "/..;/admin",
            "/a/..;x=1",
            "/a/.;",
            "/a/%2e.;",
            "/..%3bx",
            "/a/..%5c..",
        ] {
            assert!(read(path, false).is_err(), "{path}");
        }
        // Where slashes may be encoded: but not to hide dots.
        let kept = Ok(("/@a%2Fb".into(), "/@a%2fb".into()));
        assert_eq!(read("/@a%2fb", true), kept);
        assert_eq!(read("/a%5Cb/../c%2f", true), Ok(("/c%2F".into(), "/c%2f".into())));
        for path in [
            "/a%2f..%2fb",
            "/a%2f..",
            "/..%2fb",
            "/a%5c..",
            "/a\\b",
            "/.%2fb",
            "/..%2f;",
            "/..;%2f",
        ] {
            assert!(read(path, true).is_err(), "{path}");
        }
    }

    #[test]
    fn what_goes_upstream_is_read_as_what_was_compared() {
        let mut seed = 7u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize
        };
        const PARTS: [&str; 16] = [
            "/", "/", ".", "..", "a", "%2e", "%2F", "%5c", "%25", "%61", "\\", ";", "%", "%00",
            "%7E", "/../",
        ];
        let mut read = 0;
        for round in 0..100_000 {
            let text: String = (0..random() % 8).map(|_| PARTS[random() % PARTS.len()]).collect();
            let (path, keeps) = (format!("/{text}"), round % 2 == 0);
            let Ok(once) = Path::new(path.as_bytes(), keeps) else { continue };
            read += 1;
            let again = Path::new(once.written(), keeps).unwrap();
            assert_eq!(again.decoded(), once.decoded(), "{path}");
            assert!(!again.is_changed(), "{path}");
            let written = String::from_utf8(once.written().to_vec()).unwrap();
            assert!(written.starts_with('/') && !written.contains("//"), "{path}: {written}");
            let decoded =
                String::from_utf8_lossy(once.decoded()).replace("%2F", "/").replace("%5C", "/");
            assert!(!decoded.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
        }
        assert!(read > 10_000);
    }
}
