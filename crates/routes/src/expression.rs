use regex::bytes::{Regex, RegexBuilder};

use crate::pattern::{InvalidPattern, invalid};

/// An expression as users write it. It is matched in time linear in the path, so that no client can make
/// it slow: look-around and back-references are refused.
#[derive(Clone, Copy, Debug)]
pub struct Expression<'a> {
    /// The expression.
    pub source: &'a str,
    /// Whether case does not count.
    pub ignores_case: bool,
}

/// The most that a compiled expression may take.
const MOST_BYTES: usize = 1024 * 1024;

/// Compiles an expression.
pub(crate) fn expression(written: &Expression<'_>) -> Result<Regex, InvalidPattern> {
    let mut builder = RegexBuilder::new(written.source);
    builder.unicode(false).case_insensitive(written.ignores_case).size_limit(MOST_BYTES);
    builder.build().map_err(|error| {
        let error = error.to_string();
        // The last line says what is wrong; those before it draw where.
        let reason = error.lines().last().unwrap_or_default();
        InvalidPattern(format!(
            "a regular expression without look-around and back-references ({})",
            reason.trim_start_matches("error: ")
        ))
    })
}

/// What stands for the match in the result of a replacement: `$1`, `$<name>`, `$&` for all of it, `$$` for
/// a dollar. In the form that `regex` expands.
pub(crate) fn replacement(text: &str, expression: &Regex) -> Result<Vec<u8>, InvalidPattern> {
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        let (name, length) = if let Some(inner) = rest.strip_prefix('<') {
            let Some(end) = inner.find('>') else { return invalid("$<name> with a > at its end") };
            (&inner[..end], end + 2)
        } else if rest.starts_with('&') {
            ("0", 1)
        } else if rest.starts_with('$') {
            made.push_str("$$");
            rest = &rest[1..];
            continue;
        } else if digits > 0 {
            (&rest[..digits], digits)
        } else {
            return invalid("$1, $<name>, $& or $$ after a dollar");
        };
        let is_known = match name.parse::<usize>() {
            Ok(number) => number < expression.captures_len(),
            Err(_) => expression.capture_names().flatten().any(|known| known == name),
        };
        if !is_known {
            return invalid("groups that the pattern has");
        }
        made.push_str("${");
        made.push_str(name);
        made.push('}');
        rest = &rest[length..];
    }
    made.push_str(rest);
    Ok(made.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Result<Regex, InvalidPattern> {
        expression(&Expression { source, ignores_case: false })
    }

    #[test]
    fn what_could_be_slow_does_not_compile() {
        for source in [r"(?=a)b", r"(a)\1", r"a{99999999}", "("] {
            assert!(compile(source).is_err(), "{source}");
        }
        let slow = compile("^(a+)+$").unwrap();
        assert!(!slow.is_match(format!("{}b", "a".repeat(60_000)).as_bytes()));
        assert!(compile(r"^\/a\/(\d+)$").unwrap().is_match(b"/a/12"));
    }

    #[test]
    fn groups_by_number_and_by_name() {
        let expression = compile(r"^/(?<user>[a-z]+)/(\d+)").unwrap();
        let made = replacement("/$2/$<user>/$$/$&/$1x", &expression).unwrap();
        assert_eq!(expression.replace(b"/me/7/z", &made[..]), &b"/7/me/$//me/7/mex/z"[..]);
        for text in ["$", "$x", "$3", "$<x>", "$<user", "$12"] {
            assert!(replacement(text, &expression).is_err(), "{text}");
        }
    }
}
