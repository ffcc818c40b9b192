use std::cell::OnceCell;

use millrace_message::{Method, RequestHead};

use crate::host::HostPattern;
use crate::path::Path;
use crate::pattern::PathPattern;

/// What a request has to be for a rule to be its own. Of a list one has to fit, and all that is not
/// empty has to fit.
#[derive(Debug, Default)]
pub struct Matcher {
    /// The host asked for.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub paths: Vec<PathPattern>,
    /// The method, which is case-sensitive.
    pub methods: Vec<Method>,
    /// Fields.
    pub headers: Vec<HeaderCondition>,
    /// How the request came.
    pub scheme: Option<Scheme>,
}

/// A condition on the fields with one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The name; case does not count.
    pub name: Box<str>,
    /// What is asked of them.
    pub value: HeaderValue,
}

/// What is asked of the fields with one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// That there is one.
    Present,
    /// That there is none.
    Absent,
    /// That one has exactly one of these values.
    OneOf(Vec<Box<[u8]>>),
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A request as matchers see it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its head as it came.
    pub head: &'a RequestHead,
    /// Its host without the port, once somebody wants to know.
    host: OnceCell<&'a str>,
    /// Its path; none where no matcher looks at one.
    pub path: Option<Path<'a>>,
    /// How it came.
    pub scheme: Scheme,
}

impl<'a> Asked<'a> {
    /// A request of which nothing but the head is looked at yet.
    pub fn new(head: &'a RequestHead, path: Option<Path<'a>>, scheme: Scheme) -> Self {
        Asked { head, host: OnceCell::new(), path, scheme }
    }

    /// Its host without the port; empty if there is none.
    pub fn host(&self) -> &'a str {
        let host = || self.head.authority().map(|authority| authority.host).unwrap_or_default();
        self.host.get_or_init(host)
    }
}

impl Matcher {
    /// Whether the rule is for this request.
    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        let path =
            |pattern: &PathPattern| asked.path.as_ref().is_some_and(|path| pattern.matches(path));
        self.scheme.is_none_or(|scheme| scheme == asked.scheme)
            && (self.methods.is_empty() || self.methods.contains(&asked.head.method))
            && (self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(asked.host())))
            && (self.paths.is_empty() || self.paths.iter().any(path))
            && self.headers.iter().all(|condition| condition.holds(asked.head))
    }

    /// Whether this is for every request that `other` is for, as far as can be told.
    pub fn covers(&self, other: &Matcher) -> bool {
        fn all<T>(some: &[T], others: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            some.is_empty()
                || (!others.is_empty()
                    && others.iter().all(|other| some.iter().any(|one| covers(one, other))))
        }
        (self.scheme.is_none() || self.scheme == other.scheme)
            && all(&self.methods, &other.methods, Method::eq)
            && all(&self.hosts, &other.hosts, HostPattern::covers)
            && all(&self.paths, &other.paths, PathPattern::covers)
            && self.headers.iter().all(|one| other.headers.iter().any(|other| one.covers(other)))
    }
}

impl HeaderCondition {
    fn holds(&self, head: &RequestHead) -> bool {
        match &self.value {
            HeaderValue::Present => head.fields.contains(&self.name),
            HeaderValue::Absent => !head.fields.contains(&self.name),
            HeaderValue::OneOf(values) => head
                .fields
                .get_all(&self.name)
                .any(|found| values.iter().any(|value| **value == *found)),
        }
    }

    fn covers(&self, other: &HeaderCondition) -> bool {
        use HeaderValue::{OneOf, Present};
        self.name.eq_ignore_ascii_case(&other.name)
            && match (&self.value, &other.value) {
                (Present, OneOf(_)) => true,
                (OneOf(values), OneOf(others)) => others.iter().all(|value| values.contains(value)),
                (one, other) => one == other,
            }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A matcher of `method,method host,host path,path name=value,name,!name scheme`; `-` = any.
    pub(crate) fn matcher(text: &str) -> Matcher {
        let parts: Vec<&str> = text.split(' ').collect();
        let list = |at: usize| {
            let part: &str = parts.get(at).copied().filter(|part| *part != "-").unwrap_or_default();
            part.split(',').filter(|item| !item.is_empty()).collect::<Vec<_>>()
        };
        let condition = |text: &str| {
            let (name, value) = match text.split_once('=') {
                Some((name, values)) => (
                    name,
                    HeaderValue::OneOf(values.split('|').map(|v| v.as_bytes().into()).collect()),
                ),
                None => match text.strip_prefix('!') {
                    Some(name) => (name, HeaderValue::Absent),
                    None => (text, HeaderValue::Present),
                },
            };
            HeaderCondition { name: name.into(), value }
        };
        Matcher {
            methods: list(0).iter().map(|name| Method::new(name.as_bytes()).unwrap()).collect(),
            hosts: list(1).iter().map(|host| HostPattern::new(host).unwrap()).collect(),
            paths: list(2).iter().map(|path| PathPattern::new(path).unwrap()).collect(),
            headers: list(3).iter().map(|text| condition(text)).collect(),
            scheme: list(4).first().map(|scheme| match *scheme {
                "https" => Scheme::Https,
                _ => Scheme::Http,
            }),
        }
    }

    pub(crate) fn head(text: &str) -> RequestHead {
        let mut lines = text.split('|');
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut head = RequestHead::new(Method::new(method.as_bytes()).unwrap(), target);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            head.fields.append(name, value).unwrap();
        }
        head
    }

    #[test]
    fn all_that_is_asked_for_has_to_fit() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("-", &["GET /", "CONNECT a:1", "OPTIONS *"], &[]),
            ("GET,PUT", &["GET /", "PUT /"], &["HEAD /", "get /"]),
            ("- *.a,b", &["GET /|Host: b:80", "GET /|Host: X.a"], &["GET /", "GET /|Host: a"]),
            ("- b", &["GET http://b:1/|Host: a", "CONNECT b:1"], &["GET http://a/|Host: b"]),
            (
                "- - /a,/b/*",
                &["GET /a?x", "GET /b/c", "GET http://h/b"],
                &["GET /ab", "OPTIONS *", "CONNECT a:1"],
            ),
            (
                "- - - x,y=1|2,!z",
                &["GET /|X: |y: 0|Y: 2"],
                &["GET /|y: 1", "GET /|x: |y: 1, 2", "GET /|x: |y: 1|Z: "],
            ),
            ("- - - - https", &[], &["GET /"]),
            (
                "GET a /x h http",
                &["GET /x|host: a|H: 1"],
                &["GET /y|host: a|H: 1", "GET /x|host: a"],
            ),
        ];
        for (text, inside, outside) in table {
            let matcher = matcher(text);
            let matches = |text: &str| {
                let head = head(text);
                let path = Path::new(head.path(), false).unwrap();
                matcher.matches(&Asked::new(&head, Some(path), Scheme::Http))
            };
            for text in *inside {
                assert!(matches(text), "{text} in {matcher:?}");
            }
            for text in *outside {
                assert!(!matches(text), "{text} in {matcher:?}");
            }
        }
    }

    #[test]
    fn matchers_cover_what_they_take_everything_of() {
        for (one, other, covers) in [
            ("-", "GET a /x h=1 https", true),
            ("GET a /x h=1 https", "-", false),
            ("GET,PUT", "PUT", true),
            ("PUT", "GET,PUT", false),
            ("- *.a,b", "- x.a,b", true),
            ("- *.a", "- x.a,b", false),
            ("- - /a/*,/b", "- - /b,/a/c", true),
            ("- - /a/*", "- - /b,/a/c", false),
            ("- - - x", "- - - x=1", true),
            ("- - - x=1", "- - - X=2", false),
            ("- - - x=1|2", "- - - X=2,y", true),
            ("- - - !x", "- - - !x", true),
            ("- - - !x", "- - - x", false),
            ("- - - - https", "- - - - http", false),
            ("- - /a/*", "GET - /a/b", true),
            ("GET - /a/*", "- - /a/b", false),
        ] {
            assert_eq!(matcher(one).covers(&matcher(other)), covers, "{one} / {other}");
        }
    }
}
