use crate::{Fields, Method, Version};

/// The head of a request: the request line and the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target as it stands on the request line.
    pub target: Vec<u8>,
    /// The version the request came in.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
}

/// The head of a response: the status line and the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase where it is not the standard one.
    pub reason: Option<Box<str>>,
    /// The version the response came in.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
}

impl RequestHead {
    /// A request of HTTP/1.1 without fields.
    pub fn new(method: Method, target: impl Into<Vec<u8>>) -> Self {
        RequestHead {
            method,
            target: target.into(),
            version: Version::Http11,
            fields: Fields::new(),
        }
    }
}

impl ResponseHead {
    /// A response of HTTP/1.1 without fields, with the standard reason.
    pub fn new(status: u16) -> Self {
        ResponseHead { status, reason: None, version: Version::Http11, fields: Fields::new() }
    }

    /// Whether more is to follow before the answer: 1xx, but not 101, which ends HTTP here.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}
