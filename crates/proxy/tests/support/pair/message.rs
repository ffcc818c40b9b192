//! Messages as both ends of the proxy have them, whatever version carried them.

use http::HeaderMap;

/// Names in lower case, with their values, in the order they came in.
pub type FieldList = Vec<(String, String)>;

/// The head of a request or of a response.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// What HTTP/2 says in `:authority`.
    pub authority: Option<String>,
    pub status: u16,
    pub fields: FieldList,
}

/// What a head says of the body that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Nothing,
    Known(usize),
    Unknown,
}

/// What comes of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Vec<u8>),
    /// The end, with trailers if there are any.
    End(FieldList),
    /// It ended before its end.
    Cut,
}

/// A whole response, with the interim ones before it.
#[derive(Debug)]
pub struct Reply {
    pub interim: Vec<Head>,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: FieldList,
}

impl Head {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field, if there is exactly one.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "several {name}: {self:?}");
        all.first().copied()
    }

    /// Whom the request is for.
    pub fn host(&self) -> Option<&str> {
        self.authority.as_deref().or_else(|| self.field("host"))
    }

    /// From the text of HTTP/1.1.
    pub fn parse(text: &str) -> Head {
        let (line, rest) = text.split_once("\r\n").unwrap();
        let fields = parse_fields(rest);
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "HTTP/1.1" => Head { status: words[1].parse().unwrap(), fields, ..Head::default() },
            method => {
                assert_eq!(words[2..], ["HTTP/1.1"], "{line}");
                let (method, target) = (method.to_owned(), words[1].to_owned());
                Head { method, target, fields, ..Head::default() }
            }
        }
    }
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn parse_fields(lines: &str) -> FieldList {
    let lines = lines.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

pub fn listed(map: &HeaderMap) -> FieldList {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
