use std::fmt;

use crate::validate_name;

/// A request's method. The common ones need no allocation. Methods are case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Method(Inner);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Inner {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Connect,
    Trace,
    // Never one of the above, so that the derived equality holds.
    Other(Box<str>),
}

impl Method {
    /// GET.
    pub const GET: Method = Method(Inner::Get);
    /// HEAD.
    pub const HEAD: Method = Method(Inner::Head);
    /// POST.
    pub const POST: Method = Method(Inner::Post);
    /// PUT.
    pub const PUT: Method = Method(Inner::Put);
    /// DELETE.
    pub const DELETE: Method = Method(Inner::Delete);
    /// OPTIONS.
    pub const OPTIONS: Method = Method(Inner::Options);
    /// PATCH.
    pub const PATCH: Method = Method(Inner::Patch);
    /// CONNECT.
    pub const CONNECT: Method = Method(Inner::Connect);
    /// TRACE.
    pub const TRACE: Method = Method(Inner::Trace);

    /// The method with this name, if the name is a token.
    pub fn new(name: &[u8]) -> Option<Method> {
        let inner = match name {
            b"GET" => Inner::Get,
            b"HEAD" => Inner::Head,
            b"POST" => Inner::Post,
            b"PUT" => Inner::Put,
            b"DELETE" => Inner::Delete,
            b"OPTIONS" => Inner::Options,
            b"PATCH" => Inner::Patch,
            b"CONNECT" => Inner::Connect,
            b"TRACE" => Inner::Trace,
            _ if validate_name(name) => Inner::Other(std::str::from_utf8(name).ok()?.into()),
            _ => return None,
        };
        Some(Method(inner))
    }

    /// The method's name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Get => "GET",
            Inner::Head => "HEAD",
            Inner::Post => "POST",
            Inner::Put => "PUT",
            Inner::Delete => "DELETE",
            Inner::Options => "OPTIONS",
            Inner::Patch => "PATCH",
            Inner::Connect => "CONNECT",
            Inner::Trace => "TRACE",
            Inner::Other(name) => name,
        }
    }

    /// Whether the method only reads (RFC 9110 §9.2.1). An unknown method is not.
    pub fn is_safe(&self) -> bool {
        matches!(self.0, Inner::Get | Inner::Head | Inner::Options | Inner::Trace)
    }

    /// Whether doing it twice is the same as once (RFC 9110 §9.2.2). An unknown method is not.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self.0, Inner::Put | Inner::Delete)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_methods() {
        let table = [
            ("GET", true, true),
            ("HEAD", true, true),
            ("OPTIONS", true, true),
            ("TRACE", true, true),
            ("PUT", false, true),
            ("DELETE", false, true),
            ("POST", false, false),
            ("PATCH", false, false),
            ("CONNECT", false, false),
            ("PROPFIND", false, false),
            ("get", false, false),
        ];
        for (name, safe, idempotent) in table {
            let method = Method::new(name.as_bytes()).unwrap();
            assert_eq!(method.as_str(), name);
            assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
        }
        assert_ne!(Method::new(b"get").unwrap(), Method::GET);
        assert_eq!(Method::new(b"GET").unwrap(), Method::GET);
    }

    #[test]
    fn what_is_no_token_is_no_method() {
        for name in ["", "GE T", "GET\r", "G/T", "é"] {
            assert!(Method::new(name.as_bytes()).is_none(), "{name:?}");
        }
    }
}
