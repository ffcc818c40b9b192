//! A reader of messages that shares no line with the proxy's, and takes only what can be read in one
//! way: what the proxy sends has to pass it.

use std::io::Read;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// As its head says; without a word of it there is none.
    ByHead,
    /// The same, but without a word it ends with the connection.
    OrByClose,
    /// There is none, whatever the head says.
    Never,
}

/// What a reader came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// One whole message; chunks put together into one, so that how they were cut does not show.
    Whole(String),
    /// The bytes ended within one.
    Cut(String),
    /// Bytes that are no message.
    Garbage(String),
    /// The bytes ended between two.
    End,
}

pub(crate) struct Reader<S> {
    source: S,
    /// Told each head before its body is read; says how the body ends.
    on_head: Box<dyn FnMut(&str) -> Framed + Send>,
    buf: Vec<u8>,
    ended: bool,
}

type Partial<T> = Result<T, Message>;

impl<S: Read> Reader<S> {
    pub(crate) fn new(source: S, on_head: impl FnMut(&str) -> Framed + Send + 'static) -> Self {
        Reader { source, on_head: Box::new(on_head), buf: Vec::new(), ended: false }
    }

    /// What it reads from.
    pub(crate) fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Message {
        let mut seen = String::new();
        match self.message(&mut seen) {
            Ok(()) => Message::Whole(seen),
            Err(Message::End) if !seen.is_empty() || !self.buf.is_empty() => {
                Message::Cut(seen + &text(&self.buf))
            }
            Err(message) => message,
        }
    }

    fn message(&mut self, seen: &mut String) -> Partial<()> {
        let head = self.until(b"\r\n\r\n")?;
        *seen = head.clone();
        let lines: Vec<&str> = head.trim_end_matches("\r\n").split("\r\n").collect();
        let mut lengths = Vec::new();
        let mut codings = Vec::new();
        for line in &lines {
            if line.is_empty() || line.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return Err(Message::Garbage(head));
            }
        }
        for line in &lines[1..] {
            let Some((name, value)) = line.split_once(": ") else {
                return Err(Message::Garbage(head));
            };
            if name.is_empty() || name.contains(|c: char| !c.is_ascii_graphic()) {
                return Err(Message::Garbage(head));
            }
            match name.to_ascii_lowercase().as_str() {
                "content-length" => lengths.push(value.to_owned()),
                "transfer-encoding" => codings.push(value.to_owned()),
                _ => {}
            }
        }
        if lengths.len() + codings.len() > 1 {
            return Err(Message::Garbage(head));
        }
        let framed = (self.on_head)(&head);
        if framed == Framed::Never {
            return Ok(());
        }
        if let Some(length) = lengths.first() {
            let count: usize = length.parse().map_err(|_| Message::Garbage(head.clone()))?;
            if count.to_string() != *length {
                return Err(Message::Garbage(head));
            }
            seen.push_str(&text(&self.take(count)?));
        } else if let Some(coding) = codings.first() {
            if coding != "chunked" {
                return Err(Message::Garbage(head));
            }
            self.chunks(seen)?;
        } else if framed == Framed::OrByClose {
            while self.fill() {}
            seen.push_str(&text(&std::mem::take(&mut self.buf)));
        }
        Ok(())
    }

    fn chunks(&mut self, seen: &mut String) -> Partial<()> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let size = usize::from_str_radix(line.trim_end(), 16);
            let size = size.map_err(|_| Message::Garbage(line.clone()))?;
            if line != format!("{size:x}\r\n") {
                return Err(Message::Garbage(line));
            }
            if size == 0 {
                break;
            }
            body.extend(self.take(size)?);
            let end = self.take(2)?;
            if end != b"\r\n" {
                return Err(Message::Garbage(text(&end)));
            }
        }
        if !body.is_empty() {
            seen.push_str(&format!("{:x}\r\n{}\r\n", body.len(), text(&body)));
        }
        seen.push_str("0\r\n");
        loop {
            let line = self.until(b"\r\n")?;
            seen.push_str(&line);
            if line == "\r\n" {
                return Ok(());
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> Partial<String> {
        loop {
            if let Some(at) = self.buf.windows(end.len()).position(|window| window == end) {
                return Ok(text(&self.take(at + end.len())?));
            }
            if !self.fill() {
                return Err(Message::End);
            }
        }
    }

    fn take(&mut self, count: usize) -> Partial<Vec<u8>> {
        while self.buf.len() < count {
            if !self.fill() {
                return Err(Message::End);
            }
        }
        Ok(self.buf.drain(..count).collect())
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        // A reset ends it too.
        let count = if self.ended { 0 } else { self.source.read(&mut piece).unwrap_or(0) };
        self.ended = count == 0;
        self.buf.extend_from_slice(&piece[..count]);
        count > 0
    }
}

/// Bytes as text, each of them one character.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte as char).collect()
}
