//! What a response's head says of its body and of the connection.

use millrace_http1::{BodyDecoder, Decoded, Framing, head_may_end};
use millrace_message::{ResponseHead, Version};

use super::H1Connection;
use crate::BodyRest;
use crate::BodySize;
use crate::date::http_date;
use crate::downstream::{forbids_body, opens_tunnel};

/// An unread body up to this size is drained so that its connection can go on.
pub(super) const DRAIN: u64 = 64 * 1024;

/// Requests of a connection that are served behind one another while the server drains.
const LATE_REQUESTS: u32 = 64;

impl H1Connection {
    /// Decides whether the connection goes on, and sets all that belongs to it on the head.
    pub(super) fn prepare(&mut self, head: &mut ResponseHead, size: BodySize, rest: BodyRest) {
        if opens_tunnel(&self.current.method, head.status) {
            return self.open_tunnel(head);
        }
        if rest.invites() {
            self.continue_once();
        }
        if rest == BodyRest::Unwanted {
            self.skip_buffered();
        }
        let is_last = self.shutdown.is_draining() && !self.has_next();
        let current = &mut self.current;
        current.head_sent = true;
        if !current.body.is_done() {
            // What was not read has to be drained before the next request can be found. A body
            // that was not asked for may never come: then nobody knows what the next bytes are.
            let small = current.body.remaining().is_some_and(|left| left <= DRAIN);
            let is_taken = matches!(rest, BodyRest::Asked | BodyRest::Forwarded);
            current.persistent &= (small || is_taken) && !current.expects_continue;
        }
        current.persistent &= !is_last && !current.end_of_input;
        let no_body = forbids_body(&current.method, head.status);
        self.frame(head, size, no_body);
        let current = &mut self.current;
        if !head.fields.contains("date") {
            head.fields.push_unchecked(b"date", &http_date());
        }
        if !current.persistent {
            head.fields.push_unchecked(b"connection", b"close");
        } else if current.version == Version::Http10 {
            head.fields.push_unchecked(b"connection", b"keep-alive");
        }
    }

    /// Whether the next request is here already. It is served then, also while the server drains: its
    /// client could not know.
    fn has_next(&mut self) -> bool {
        let input = self.input.trim_ascii_start();
        let is_here = self.current.body.is_done()
            && self.late < LATE_REQUESTS
            && head_may_end(input, 1, &self.options.limits);
        self.late += u32::from(is_here);
        is_here
    }

    /// Drops what is here already of a body that nobody reads: if that is all of it, the connection
    /// can go on however the body is framed.
    fn skip_buffered(&mut self) {
        let before = self.input.len();
        // An error is found again by whoever reads on.
        while let Ok(Decoded::Data(_) | Decoded::Trailers(_)) =
            self.current.body.decode(&mut self.input)
        {}
        self.current.received += (before - self.input.len()) as u64;
    }

    /// After this head the connection is a tunnel.
    fn open_tunnel(&mut self, head: &mut ResponseHead) {
        for name in ["content-length", "transfer-encoding", "connection", "keep-alive"] {
            head.fields.remove(name);
        }
        if head.status == 101 {
            head.fields.push_unchecked(b"connection", b"upgrade");
        } else if !head.fields.contains("date") {
            head.fields.push_unchecked(b"date", &http_date());
        }
        let current = &mut self.current;
        (current.head_sent, current.persistent) = (true, false);
        (current.tunnel, current.until_close) = (true, true);
        current.body = BodyDecoder::new(Framing::UntilClose);
    }

    /// Sets the fields that say how long the body is (RFC 9112 §6.2).
    fn frame(&mut self, head: &mut ResponseHead, size: BodySize, no_body: bool) {
        let current = &mut self.current;
        current.no_body = no_body;
        for name in ["transfer-encoding", "connection", "keep-alive"] {
            head.fields.remove(name);
        }
        size.declare(head, no_body);
        if size == BodySize::Unknown && !no_body {
            if current.version == Version::Http11 {
                head.fields.push_unchecked(b"transfer-encoding", b"chunked");
                current.chunked = true;
            } else {
                current.until_close = true;
                current.persistent = false;
            }
        }
    }
}
