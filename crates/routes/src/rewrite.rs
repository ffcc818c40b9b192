use regex::bytes::Regex;

use crate::expression::{Expression, expression, replacement};
use crate::matcher::Asked;
use crate::pattern::{InvalidPattern, PathPattern, invalid};
use crate::template::{Template, one_slash, with_query};

/// What becomes of the path of a request on its way upstream. It gets the full path and gives the full
/// path. The query stays, unless the new path brings one.
#[derive(Debug)]
pub enum Rewrite {
    /// Another path in its place.
    To(Template),
    /// The first segments replaced by others, if it has them.
    Prefix {
        /// What it has to begin with, as a pattern of all beneath it.
        prefix: PathPattern,
        /// How many segments that is.
        segments: usize,
        /// What it begins with afterwards, without a slash at its end.
        to: Box<[u8]>,
    },
    /// The first match replaced, if there is one.
    Pattern {
        /// What is looked for, in the path as it is written.
        pattern: Regex,
        /// What comes in its place, as `regex` expands it.
        to: Vec<u8>,
    },
}

impl Rewrite {
    /// From a template, which begins with a slash.
    pub fn to(text: &str, patterns: &[PathPattern]) -> Result<Self, InvalidPattern> {
        let template = Template::new(text, patterns)?;
        if !template.is_path() || text.contains('#') {
            return invalid("a path that begins with one /, or with {path}");
        }
        Ok(Rewrite::To(template))
    }

    /// Replaces a prefix of whole segments, such as `/api`.
    pub fn prefix(prefix: &str, to: &str) -> Result<Self, InvalidPattern> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let pattern = PathPattern::new(&format!("{prefix}/*"))?;
        let segments = match &pattern {
            PathPattern::Segments { segments, .. } if pattern.names() == ["*"] => segments.len(),
            _ => return invalid("a path without parameters"),
        };
        if !is_text(to) || to.contains('?') || !(to.is_empty() || to.starts_with('/')) {
            return invalid("a path that begins with /, or an empty one");
        }
        let to = to.strip_suffix('/').unwrap_or(to);
        Ok(Rewrite::Prefix { prefix: pattern, segments, to: to.as_bytes().into() })
    }

    /// Replaces what an expression finds; `to` may name its groups.
    pub fn pattern(written: &Expression<'_>, to: &str) -> Result<Self, InvalidPattern> {
        let pattern = expression(written)?;
        if !is_text(to) {
            return invalid("visible ASCII, all else percent-encoded, without a fragment");
        }
        let to = replacement(to, &pattern)?;
        Ok(Rewrite::Pattern { pattern, to })
    }

    /// The target that goes upstream.
    pub(crate) fn apply(
        &self,
        asked: &Asked<'_>,
        matched: Option<&PathPattern>,
    ) -> Option<Vec<u8>> {
        let path = asked.path.as_ref()?;
        let written = path.written();
        // Of CONNECT and `OPTIONS *` there is no path.
        if !written.starts_with(b"/") {
            return None;
        }
        let mut made = match self {
            Rewrite::To(template) => return Some(template.write(asked, matched)),
            Rewrite::Prefix { prefix, segments, to } if prefix.matches(path) => {
                let mut rest = &written[1..];
                for _ in 0..*segments {
                    let end = rest.iter().position(|byte| *byte == b'/');
                    rest = end.map_or(&b""[..], |end| &rest[end + 1..]);
                }
                let is_whole = written.iter().filter(|byte| **byte == b'/').count() == *segments;
                match is_whole {
                    true if to.is_empty() => b"/".to_vec(),
                    true => to.to_vec(),
                    false => [to, &b"/"[..], rest].concat(),
                }
            }
            Rewrite::Pattern { pattern, to } if pattern.is_match(written) => {
                let mut made = pattern.replace(written, &to[..]).into_owned();
                if !made.starts_with(b"/") {
                    made.insert(0, b'/');
                }
                made
            }
            _ => written.to_vec(),
        };
        if !made.contains(&b'?') {
            with_query(&mut made, asked.head.query());
        }
        Some(one_slash(made))
    }
}

/// Whether a text may stand in a target.
fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#')
}
