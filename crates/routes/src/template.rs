use crate::matcher::Asked;
use crate::pattern::{InvalidPattern, PathPattern};

/// A text with places for parts of the request: `{path}`, `{host}` (without its port), `{scheme}`, and what
/// the path pattern names: `{id}` for its `:id`, `{*}` for what its `*` stands for.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
    /// Whether it has a query of its own.
    has_query: bool,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Path,
    Host,
    Scheme,
    Named(Box<str>),
}

impl Template {
    /// Reads a template that may name what each of `patterns` has.
    pub fn new(text: &str, patterns: &[PathPattern]) -> Result<Self, InvalidPattern> {
        if !text.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(InvalidPattern("visible ASCII, all else percent-encoded".to_owned()));
        }
        let mut names = patterns.first().map(PathPattern::names).unwrap_or_default();
        names.retain(|name| patterns.iter().all(|pattern| pattern.names().contains(name)));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, place) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let name = place.strip_prefix('{').and_then(|place| place.split_once('}'));
            let (part, after) = match name {
                Some(("path", after)) => (Part::Path, after),
                Some(("host", after)) => (Part::Host, after),
                Some(("scheme", after)) => (Part::Scheme, after),
                Some((name, after)) if names.contains(&name) => (Part::Named(name.into()), after),
                _ => {
                    let known = ["path", "host", "scheme"].into_iter().chain(names);
                    let known: Vec<String> = known.map(|name| format!("{{{name}}}")).collect();
                    return Err(InvalidPattern(format!(
                        "with no other places than {}",
                        known.join(", ")
                    )));
                }
            };
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { parts, has_query: text.contains('?') })
    }

    /// Whether it begins with a slash and no second one, or with a path.
    pub fn is_path(&self) -> bool {
        match self.parts.as_slice() {
            [Part::Path, ..] => true,
            [Part::Text(text), ..] => text.starts_with('/') && !text.starts_with("//"),
            _ => false,
        }
    }

    /// Whether it begins with a scheme and a host.
    pub fn is_absolute(&self) -> bool {
        let after = |text: &str| text.strip_prefix("://").map(str::to_owned);
        let (rest, next) = match self.parts.as_slice() {
            [Part::Scheme, Part::Text(text), rest @ ..] => (after(text), rest.first()),
            [Part::Text(text), rest @ ..] => {
                let scheme =
                    ["http", "https"].iter().find_map(|scheme| after(text.strip_prefix(scheme)?));
                (scheme, rest.first())
            }
            _ => (None, None),
        };
        rest.is_some_and(|rest| match rest.chars().next() {
            Some(first) => first.is_ascii_alphanumeric() || first == '[',
            None => matches!(next, Some(Part::Host | Part::Named(_))),
        })
    }

    /// Writes it for a request, with the request's query unless it has one of its own.
    pub(crate) fn write(&self, asked: &Asked<'_>, pattern: Option<&PathPattern>) -> Vec<u8> {
        let path = asked.path.as_ref().map(|path| path.written()).unwrap_or_default();
        let mut made: Vec<u8> = Vec::with_capacity(path.len() + 64);
        for part in &self.parts {
            let text = match part {
                Part::Text(text) => text.as_bytes(),
                // Of CONNECT and `OPTIONS *` there is none.
                Part::Path if !path.starts_with(b"/") => b"/",
                Part::Path => path,
                Part::Scheme => asked.scheme.as_str().as_bytes(),
                Part::Host if asked.host().contains(':') => {
                    made.push(b'[');
                    made.extend_from_slice(asked.host().as_bytes());
                    b"]"
                }
                Part::Host => asked.host().as_bytes(),
                Part::Named(name) => {
                    pattern.and_then(|pattern| pattern.part(name, path)).unwrap_or_default()
                }
            };
            made.extend_from_slice(text);
        }
        if !self.has_query {
            with_query(&mut made, asked.head.query());
        }
        one_slash(made)
    }
}

/// A path that begins with two slashes would name a host to some: what stands for nothing may have left
/// them side by side.
pub(crate) fn one_slash(mut target: Vec<u8>) -> Vec<u8> {
    let slashes = target.iter().take_while(|byte| **byte == b'/').count();
    if slashes > 1 {
        target.drain(..slashes - 1);
    }
    target
}

/// Adds a query, in front of a fragment.
pub(crate) fn with_query(target: &mut Vec<u8>, query: Option<&[u8]>) {
    let Some(query) = query else { return };
    let end = target.iter().position(|byte| *byte == b'#').unwrap_or(target.len());
    let fragment = target.split_off(end);
    target.push(b'?');
    target.extend_from_slice(query);
    target.extend_from_slice(&fragment);
}
