//! What a request is for: its target, and the host (RFC 9112 §3).

use crate::{Authority, Method, RequestHead, split_authority};

/// Which of RFC 9112's four forms a request target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `*`, for OPTIONS.
    Asterisk,
    /// `host:port`, for CONNECT.
    Authority,
}

impl RequestHead {
    /// The target's form; none if it has no valid one, or not one that the method may have.
    pub fn target_form(&self) -> Option<TargetForm> {
        if self.method == Method::CONNECT {
            let authority = split_authority(&self.target)?;
            // Port 0 is none that anything could listen on (RFC 9110 §9.3.6).
            return authority.port.filter(|port| *port > 0).map(|_| TargetForm::Authority);
        }
        match self.target.as_slice() {
            [b'/', ..] => Some(TargetForm::Origin),
            b"*" => (self.method == Method::OPTIONS).then_some(TargetForm::Asterisk),
            target => split_authority(absolute(target)?.0).map(|_| TargetForm::Absolute),
        }
    }

    /// The path: `/` where an absolute target has none, empty for CONNECT.
    pub fn path(&self) -> &[u8] {
        let path = self.path_and_query();
        let path = &path[..path.iter().position(|&byte| byte == b'?').unwrap_or(path.len())];
        if path.is_empty() && self.method != Method::CONNECT { b"/" } else { path }
    }

    /// The query without its question mark, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        let path = self.path_and_query();
        path.iter().position(|&byte| byte == b'?').map(|at| &path[at + 1..])
    }

    /// What follows the authority: may be empty, or begin with `?`.
    fn path_and_query(&self) -> &[u8] {
        match self.target.as_slice() {
            _ if self.method == Method::CONNECT => b"",
            target @ ([b'/', ..] | b"*") => target,
            target => absolute(target).map_or(target, |(_, rest)| rest),
        }
    }

    /// The authority that the target itself names: of the absolute form, or of CONNECT.
    pub fn target_authority(&self) -> Option<&[u8]> {
        match self.target.as_slice() {
            target if self.method == Method::CONNECT => Some(target),
            [b'/', ..] => None,
            target => absolute(target).map(|(authority, _)| authority),
        }
    }

    /// The host (with its port) that the request is for: the target's own, or else the Host field.
    /// Empty if there is none, or if it is not text; call [`crate::check_host`] first.
    pub fn host(&self) -> &str {
        let host = self.target_authority().or_else(|| self.fields.get("host"));
        std::str::from_utf8(host.unwrap_or_default()).unwrap_or_default()
    }

    /// The parts of [`RequestHead::host`].
    pub fn authority(&self) -> Option<Authority<'_>> {
        split_authority(self.host().as_bytes())
    }

    /// Turns an absolute target into path and query, and its authority into the Host field, as a
    /// proxy has to (RFC 9112 §3.2.2). Does nothing to the other forms.
    pub fn make_origin_form(&mut self) {
        if self.method == Method::CONNECT {
            return;
        }
        let Some((authority, rest)) = absolute(&self.target) else { return };
        // An authority that is no valid value is none that `target_form` lets through.
        let _ = self.fields.set("Host", authority);
        self.target = match rest {
            [b'/', ..] => rest.to_vec(),
            [] if self.method == Method::OPTIONS => b"*".to_vec(),
            _ => [b"/", rest].concat(),
        };
    }
}

/// Authority, and path with query, of a target in absolute form.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let starts = |scheme: &str| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let scheme = ["http://", "https://"].into_iter().find(|scheme| starts(scheme))?;
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    Some(rest.split_at(end.unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str) -> RequestHead {
        RequestHead::new(Method::new(method.as_bytes()).unwrap(), target)
    }

    #[test]
    fn forms_paths_and_queries() {
        use TargetForm::*;
        type Case =
            (&'static str, &'static str, Option<TargetForm>, &'static str, Option<&'static str>);
        let table: &[Case] = &[
            ("GET", "/", Some(Origin), "/", None),
            ("GET", "/a?b?c", Some(Origin), "/a", Some("b?c")),
            ("GET", "/?", Some(Origin), "/", Some("")),
            ("GET", "//x/y", Some(Origin), "//x/y", None),
            ("GET", "http://h", Some(Absolute), "/", None),
            ("GET", "HTTP://h:1?q", Some(Absolute), "/", Some("q")),
            ("GET", "https://h/p?q", Some(Absolute), "/p", Some("q")),
            ("OPTIONS", "*", Some(Asterisk), "*", None),
            ("CONNECT", "h:443", Some(Authority), "", None),
            ("GET", "*", None, "*", None),
            ("GET", "ftp://h/", None, "ftp://h/", None),
            ("GET", "http:///p", None, "/p", None),
            ("GET", "http://u@h/", None, "/", None),
            ("GET", "h:443", None, "h:443", None),
            ("GET", "p", None, "p", None),
            ("GET", "", None, "/", None),
            ("CONNECT", "/", None, "", None),
            ("CONNECT", "h", None, "", None),
            ("CONNECT", "h:", None, "", None),
            ("CONNECT", "h:0", None, "", None),
            ("CONNECT", "[::1]:443", Some(Authority), "", None),
            ("CONNECT", "http://h/", None, "", None),
        ];
        for &(method, target, form, path, query) in table {
            let head = head(method, target);
            assert_eq!(head.target_form(), form, "{method} {target}");
            assert_eq!(head.path(), path.as_bytes(), "{method} {target}");
            assert_eq!(head.query(), query.map(str::as_bytes), "{method} {target}");
        }
    }

    #[test]
    fn the_targets_authority_wins_over_host() {
        let mut origin = head("GET", "/");
        assert_eq!(origin.host(), "");
        origin.fields.append("Host", b"a:81").unwrap();
        assert_eq!(origin.host(), "a:81");
        assert_eq!(origin.authority().unwrap().port, Some(81));
        let mut absolute = RequestHead { target: b"http://b?q".to_vec(), ..origin };
        assert_eq!(absolute.host(), "b");
        absolute.make_origin_form();
        assert_eq!(
            (absolute.target.as_slice(), absolute.fields.get("host")),
            (&b"/?q"[..], Some(&b"b"[..]))
        );
        assert_eq!(head("CONNECT", "c:443").host(), "c:443");
    }

    #[test]
    fn origin_form_is_made_of_absolute_form_only() {
        for (method, target, expected) in [
            ("GET", "http://h/p", "/p"),
            ("GET", "http://h", "/"),
            ("OPTIONS", "http://h", "*"),
            ("OPTIONS", "http://h/", "/"),
            ("GET", "/p", "/p"),
            ("OPTIONS", "*", "*"),
            ("CONNECT", "h:1", "h:1"),
        ] {
            let mut head = head(method, target);
            head.make_origin_form();
            assert_eq!(head.target, expected.as_bytes(), "{method} {target}");
        }
    }
}
