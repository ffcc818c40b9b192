use std::fmt;

use regex::bytes::Regex;

use crate::expression::{Expression, expression};
use crate::path::Path;

/// A set of paths: `/a/b` exactly, `/a/*` for `/a` and all beneath it, with `:name` for any one segment,
/// or an expression.
#[derive(Debug)]
pub enum PathPattern {
    /// Segment by segment.
    Segments {
        /// What each has to be.
        segments: Vec<Segment>,
        /// Whether more may follow: the pattern ends with `/*`.
        is_open: bool,
    },
    /// Searched for in the decoded path.
    Expression(Regex),
}

/// What one segment of a path has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this, decoded.
    Literal(Vec<u8>),
    /// Anything but nothing; it has a name.
    Parameter(Box<str>),
}

/// A text that is no pattern; it says what one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPattern(pub String);

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPattern {}

pub(crate) fn invalid<T>(allowed: &str) -> Result<T, InvalidPattern> {
    Err(InvalidPattern(allowed.to_owned()))
}

impl PathPattern {
    /// Reads a pattern of segments.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if !text.starts_with('/') {
            return invalid("a path that begins with /");
        }
        if !text.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) || text.contains(['?', '#']) {
            return invalid("a path without a query, its special characters percent-encoded");
        }
        let (text, is_open) = match text.strip_suffix("/*") {
            Some(text) => (text, true),
            None => (text, false),
        };
        if text.contains('*') {
            return invalid("a path with * only as its last segment");
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Ok(PathPattern::Segments { segments: Vec::new(), is_open });
        };
        let Some(path) = Path::new(text.as_bytes(), true).ok().filter(|path| !path.is_changed())
        else {
            return invalid(
                "a path without empty segments, dots to resolve and false percent signs",
            );
        };
        let mut segments = Vec::new();
        let decoded = path.decoded()[1..].split(|byte| *byte == b'/');
        for (decoded, written) in decoded.zip(inner.split('/')) {
            segments.push(match written.strip_prefix(':') {
                None => Segment::Literal(decoded.to_vec()),
                Some(name) if is_name(name) => {
                    let segment = Segment::Parameter(name.into());
                    if segments.contains(&segment) {
                        return invalid("a path whose parameters have different names");
                    }
                    segment
                }
                Some(_) => {
                    return invalid("a path with parameters such as :id, of letters, digits and _");
                }
            });
        }
        Ok(PathPattern::Segments { segments, is_open })
    }

    /// Reads an expression: see [`crate::expression`].
    pub fn expression(written: &Expression<'_>) -> Result<Self, InvalidPattern> {
        expression(written).map(PathPattern::Expression)
    }

    /// Whether the path is in the set.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        let (segments, is_open) = match self {
            PathPattern::Expression(expression) => return expression.is_match(path.decoded()),
            PathPattern::Segments { segments, is_open } => (segments, *is_open),
        };
        let Some(inner) = path.decoded().strip_prefix(b"/") else { return false };
        let mut found = inner.split(|byte| *byte == b'/');
        let fits = |segment: &Segment| match (segment, found.next()) {
            (Segment::Literal(literal), Some(found)) => literal == found,
            (Segment::Parameter(_), Some(found)) => !found.is_empty(),
            (_, None) => false,
        };
        segments.iter().all(fits) && (is_open || found.next().is_none())
    }

    /// The names that can stand in a template for parts of a path of this set: of its parameters, and
    /// `*` for what follows.
    pub fn names(&self) -> Vec<&str> {
        let PathPattern::Segments { segments, is_open } = self else { return Vec::new() };
        let names = segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Literal(_) => None,
        });
        names.chain(is_open.then_some("*")).collect()
    }

    /// The part with this name, of a path of this set as it is written.
    pub(crate) fn part<'a>(&self, name: &str, path: &'a [u8]) -> Option<&'a [u8]> {
        let PathPattern::Segments { segments, is_open } = self else { return None };
        let mut rest = path.strip_prefix(b"/");
        for segment in segments {
            let text = rest?;
            let end = text.iter().position(|byte| *byte == b'/');
            if matches!(segment, Segment::Parameter(known) if **known == *name) {
                return Some(&text[..end.unwrap_or(text.len())]);
            }
            rest = end.map(|end| &text[end + 1..]);
        }
        (*is_open && name == "*").then(|| rest.unwrap_or_default())
    }

    /// Whether every path of `other` is in this set, as far as can be told.
    pub fn covers(&self, other: &PathPattern) -> bool {
        use PathPattern::{Expression, Segments};
        match (self, other) {
            (Segments { segments, is_open: true }, _) if segments.is_empty() => true,
            (
                Segments { segments, is_open },
                Segments { segments: others, is_open: other_is_open },
            ) => {
                let length = match is_open {
                    true => segments.len() <= others.len(),
                    false => segments.len() == others.len() && !other_is_open,
                };
                length && segments.iter().zip(others).all(|(one, other)| one.covers(other))
            }
            (Expression(one), Expression(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Segment {
    fn covers(&self, other: &Segment) -> bool {
        match (self, other) {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            (Segment::Parameter(_), Segment::Literal(literal)) => !literal.is_empty(),
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            (Segment::Literal(_), Segment::Parameter(_)) => false,
        }
    }
}

/// Whether a parameter may have this name.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::new(text).unwrap()
    }

    #[test]
    fn patterns_and_their_paths() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("/", &["/", "//", "/a/.."], &["/a", "*", ""]),
            ("/a", &["/a", "/%61", "//a", "/b/../a"], &["/a/", "/A", "/ab", "/a/b", "/"]),
            ("/a/", &["/a/", "/a/b/.."], &["/a", "/a/b"]),
            ("/*", &["/", "/a", "/a/b/"], &["*", ""]),
            (
                "/a/*",
                &["/a", "/a/", "/a/b/c", "/x/../a/y"],
                &["/ab", "/", "/a/../b", "/a/%2e%2e/b"],
            ),
            ("/a/:id", &["/a/1", "/a/x%20y"], &["/a", "/a/", "/a/1/", "/a/1/2", "/b/1"]),
            ("/:x/b/:y/*", &["/1/b/2", "/1/b/2/", "/1/b/2/3/4"], &["/1/b/", "/1/c/2", "/1/b"]),
            ("/caf%C3%A9", &["/caf%c3%a9"], &["/caf"]),
            ("/a:b", &["/a:b", "/a%3Ab"], &["/a1"]),
            ("/%7Eme/*", &["/~me/x", "/%7eme"], &["/me"]),
        ];
        for (text, inside, outside) in table {
            let pattern = pattern(text);
            for path in *inside {
                assert!(
                    pattern.matches(&Path::new(path.as_bytes(), false).unwrap()),
                    "{path} in {text}"
                );
            }
            for path in *outside {
                assert!(
                    !pattern.matches(&Path::new(path.as_bytes(), false).unwrap()),
                    "{path} in {text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "a", "*", "/a*", "/a/*/b", "/*/a", "/**", "/a b", "/é", "/a?b", "/a#b", "//",
            "/a//b", "/a/..", "/./a", "/%2e", "/%zz", "/:", "/:a-b", "/:1", "/:a/:a", "/a\\b",
            "/a/*/", "/..;/a",
        ] {
            assert!(PathPattern::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parts_are_as_they_were_written() {
        let part = |text: &str, name: &str, path: &'static str| {
            pattern(text).part(name, path.as_bytes()).map(|part| std::str::from_utf8(part).unwrap())
        };
        assert_eq!(part("/a/:id/*", "id", "/a/x%20y/b/c"), Some("x%20y"));
        assert_eq!(part("/a/:id/*", "*", "/a/x%20y/b//c"), Some("b//c"));
        assert_eq!(part("/a/*", "*", "/a"), Some(""));
        assert_eq!(part("/*", "*", "/a/b"), Some("a/b"));
        assert_eq!(part("/a/:id", "*", "/a/b"), None);
        assert_eq!(pattern("/:a/x/:b/*").names(), ["a", "b", "*"]);
    }

    #[test]
    fn patterns_cover_what_they_take_everything_of() {
        for (one, other, covers) in [
            ("/*", "/a", true),
            ("/*", "/", true),
            ("/a/*", "/a", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a/b/*", true),
            ("/a/*", "/ab", false),
            ("/a/b/*", "/a/*", false),
            ("/a", "/a/*", false),
            ("/:x", "/a", true),
            ("/:x", "/:y", true),
            ("/:x", "/", false),
            ("/a", "/:x", false),
            ("/:x/*", "/a/:b", true),
            ("/%61", "/a", true),
        ] {
            assert_eq!(pattern(one).covers(&pattern(other)), covers, "{one} {other}");
        }
    }
}
