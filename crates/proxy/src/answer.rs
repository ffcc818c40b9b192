use bytes::Bytes;
use millrace_message::{Fields, ResponseHead};

/// A response of our own: what a phase answers with, or an error page.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and fields. Framing fields are set when it is sent, whatever is here.
    pub head: ResponseHead,
    /// The whole body; not sent where the request or the status forbids one.
    pub body: Bytes,
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Answer { head: ResponseHead::new(status), body: Bytes::new() }
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
        Answer { head, body }
    }
}
