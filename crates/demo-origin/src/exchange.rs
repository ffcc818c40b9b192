use std::io;

use millrace_http1::{
    BodyDecoder, CONTINUE, Framing, request_framing, write_chunk, write_last_chunk,
    write_response_head,
};
use millrace_message::{
    Fields, Method, RequestHead, ResponseHead, Version, check_host, has_token, is_persistent,
};

use crate::body::{Incoming, MAX_BODY};
use crate::connection::{Connection, status_of};
use crate::pages::{Page, Whole};
use crate::websocket;

const LINES: usize = 10;

/// What becomes of the connection when the answer is out.
pub(crate) enum After {
    /// It carries the next request.
    Next,
    /// It is closed.
    Close,
}

/// A request being answered, as far as that decides how the answer is written.
pub(crate) struct Exchange {
    version: Version,
    /// HEAD: nothing of the body is sent.
    head_only: bool,
    keep: bool,
}

/// How the end of an answer's body is told.
#[derive(Clone, Copy)]
enum Size {
    Known(u64),
    Unknown,
}

impl Connection<'_> {
    /// Answers one request.
    pub(crate) async fn exchange(&mut self, mut request: RequestHead) -> io::Result<After> {
        let framing = match request_framing(&request) {
            Ok(framing) => framing,
            Err(error) => {
                return Exchange::refusal().send(self, Whole::plain(status_of(error))).await;
            }
        };
        if check_host(&request).is_err() {
            return Exchange::refusal().send(self, Whole::plain(400)).await;
        }
        request.make_origin_form();
        let mut exchange = Exchange {
            version: request.version,
            head_only: request.method == Method::HEAD,
            keep: is_persistent(request.version, &request.fields) && !self.shutdown.is_draining(),
        };
        let body = matches!(framing, Framing::Chunked | Framing::Length(1..));
        match Page::of(&request) {
            Page::Echo if matches!(framing, Framing::Length(length) if length > MAX_BODY) => {
                exchange.keep = false;
                exchange.send(self, Whole::plain(413)).await
            }
            Page::Echo => exchange.echo(self, &request, framing).await,
            Page::Socket(_) if body => exchange.ending_if(true).send(self, Whole::plain(400)).await,
            Page::Socket(accept) => websocket::talk(self, &accept).await,
            // Behind a body that nobody reads no further request is looked for.
            Page::Lines => exchange.ending_if(body).lines(self).await,
            Page::Whole(page) => exchange.ending_if(body).send(self, page).await,
        }
    }
}

impl Exchange {
    /// The answer to what is no request: the last on its connection.
    pub(crate) fn refusal() -> Self {
        Exchange { version: Version::Http11, head_only: false, keep: false }
    }

    /// The same, the last on its connection if so.
    fn ending_if(mut self, last: bool) -> Self {
        self.keep &= !last;
        self
    }

    /// Sends a page.
    pub(crate) async fn send(mut self, to: &mut Connection<'_>, page: Whole) -> io::Result<After> {
        let mut head = ResponseHead::new(page.status);
        head.fields.push_unchecked(b"content-type", page.kind.as_bytes());
        for (name, value) in page.fields {
            head.fields.push_unchecked(name.as_bytes(), value.as_bytes());
        }
        let mut out = self.start(head, Size::Known(page.text.len() as u64));
        if !self.head_only {
            out.extend_from_slice(page.text.as_bytes());
        }
        to.write(&out).await?;
        Ok(self.after())
    }

    async fn lines(mut self, to: &mut Connection<'_>) -> io::Result<After> {
        let mut head = ResponseHead::new(200);
        head.fields.push_unchecked(b"content-type", b"text/plain; charset=utf-8");
        let mut out = self.start(head, Size::Unknown);
        to.write(&out).await?;
        if self.head_only {
            return Ok(self.after());
        }
        for line in 1..=LINES {
            if line > 1 {
                tokio::time::sleep(to.options.pause).await;
            }
            out.clear();
            self.piece(format!("line {line} of {LINES}\n").as_bytes(), Size::Unknown, &mut out);
            to.write(&out).await?;
        }
        out.clear();
        self.end(Size::Unknown, &mut out);
        to.write(&out).await?;
        Ok(self.after())
    }

    /// Sends the body back while it arrives: never more than one piece of it is held.
    async fn echo(
        mut self,
        with: &mut Connection<'_>,
        request: &RequestHead,
        framing: Framing,
    ) -> io::Result<After> {
        let size = match framing {
            Framing::None => Size::Known(0),
            Framing::Length(length) => Size::Known(length),
            Framing::Chunked | Framing::UntilClose => Size::Unknown,
        };
        if request.version == Version::Http11
            && has_token(request.fields.get_all("expect"), "100-continue")
        {
            with.write(CONTINUE).await?;
        }
        let mut head = ResponseHead::new(200);
        let kind = request.fields.get("content-type").unwrap_or(b"application/octet-stream");
        head.fields.push_unchecked(b"content-type", kind);
        let mut out = self.start(head, size);
        let mut body = Incoming::new(BodyDecoder::new(framing));
        loop {
            let piece = body.next(with).await?;
            match &piece {
                Some(data) => self.piece(data, size, &mut out),
                None => self.end(size, &mut out),
            }
            // The head leaves with the first piece.
            with.write(&out).await?;
            out.clear();
            if piece.is_none() {
                return Ok(self.after());
            }
        }
    }

    /// The head with what frames the body and what becomes of the connection.
    fn start(&mut self, mut head: ResponseHead, size: Size) -> Vec<u8> {
        let fields: &mut Fields = &mut head.fields;
        match size {
            Size::Known(length) => {
                fields.push_unchecked(b"content-length", length.to_string().as_bytes());
            }
            Size::Unknown if self.chunks() => {
                fields.push_unchecked(b"transfer-encoding", b"chunked");
            }
            // Only the end of the connection tells an old client the end of the body.
            Size::Unknown => self.keep = false,
        }
        if !self.keep {
            fields.push_unchecked(b"connection", b"close");
        } else if self.version == Version::Http10 {
            fields.push_unchecked(b"connection", b"keep-alive");
        }
        let mut out = Vec::new();
        write_response_head(&head, &mut out);
        out
    }

    fn chunks(&self) -> bool {
        self.version == Version::Http11
    }

    fn piece(&self, data: &[u8], size: Size, out: &mut Vec<u8>) {
        match size {
            Size::Unknown if self.chunks() => write_chunk(data, out),
            _ => out.extend_from_slice(data),
        }
    }

    fn end(&self, size: Size, out: &mut Vec<u8>) {
        if matches!(size, Size::Unknown) && self.chunks() {
            write_last_chunk(None, out);
        }
    }

    fn after(&self) -> After {
        if self.keep { After::Next } else { After::Close }
    }
}
