use bytes::Bytes;
use millrace_message::{Fields, ResponseHead};

use crate::BodyFilter;

/// A response of our own: what a phase answers with, or an error page.
pub struct Answer {
    /// Status and fields. Framing fields are set when it is sent, whatever is here.
    pub head: ResponseHead,
    /// The whole body; not sent where the request or the status forbids one.
    pub body: Bytes,
    /// What follows it, made as fast as the client takes it: asked for more until there is none. If
    /// Content-Length is among the fields, that has to be its length.
    pub stream: Option<Box<dyn BodyFilter>>,
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Answer { head: ResponseHead::new(status), body: Bytes::new(), stream: None }
    }

    /// A short page of plain text that names the status and nothing else.
    pub fn plain(status: u16) -> Self {
        let reason = millrace_message::standard_reason(status);
        let body = Bytes::from(format!("{status} {reason}\n"));
        let mut fields = Fields::with_capacity(128, 4);
        fields.push_unchecked(b"content-type", b"text/plain; charset=utf-8");
        fields.push_unchecked(b"cache-control", b"no-store");
        let mut head = ResponseHead::new(status);
        head.fields = fields;
        Answer { head, body, stream: None }
    }
}
