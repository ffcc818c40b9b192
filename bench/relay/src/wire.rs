//! HTTP/1.1 as the origin and the load generators read it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{fill, invalid, pattern};

/// A stream of either kind.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// How much is read at once, at most.
const ROOM: usize = 64 * 1024;

/// A connection, and what has been read of it and not yet used.
pub struct Wire<S> {
    pub stream: S,
    buffer: Vec<u8>,
    at: usize,
}

/// How the end of a body is known.
#[derive(Clone, Copy)]
pub enum Framing {
    Length(u64),
    Chunked,
}

impl<S: Io> Wire<S> {
    pub fn new(stream: S) -> Self {
        Wire { stream, buffer: Vec::with_capacity(ROOM), at: 0 }
    }

    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    pub fn used(&mut self, length: usize) {
        self.at += length;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
    }

    pub async fn more(&mut self) -> io::Result<()> {
        if self.at > 0 && self.buffer.capacity() - self.buffer.len() < ROOM / 2 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        fill(&mut self.stream, &mut self.buffer).await
    }

    /// Reads a body, whose bytes have to be the pattern's; its length.
    pub async fn body(&mut self, framing: Framing) -> io::Result<u64> {
        if let Framing::Length(length) = framing {
            self.piece(0, length).await?;
            return Ok(length);
        }
        let mut length = 0;
        loop {
            let size = self.chunk_size().await?;
            if size > 0 {
                self.piece(length, size).await?;
                length += size;
            }
            while self.unread().len() < 2 {
                self.more().await?;
            }
            if !self.unread().starts_with(b"\r\n") {
                return Err(invalid("a bad chunk, or trailers"));
            }
            self.used(2);
            if size == 0 {
                return Ok(length);
            }
        }
    }

    async fn chunk_size(&mut self) -> io::Result<u64> {
        loop {
            match httparse::parse_chunk_size(self.unread()) {
                Ok(httparse::Status::Complete((line, size))) => {
                    self.used(line);
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) => self.more().await?,
                Err(_) => return Err(invalid("a bad chunk")),
            }
        }
    }

    async fn piece(&mut self, mut at: u64, mut left: u64) -> io::Result<()> {
        while left > 0 {
            if self.unread().is_empty() {
                self.more().await?;
            }
            let unread = self.unread();
            let data = &unread[..unread.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            if !pattern::fits(at, data) {
                return Err(invalid(&format!("a body with wrong bytes near {at}")));
            }
            let length = data.len();
            self.used(length);
            at += length as u64;
            left -= length as u64;
        }
        Ok(())
    }
}

/// How long the body is that follows these fields; none if they do not say.
pub fn framing(fields: &[httparse::Header<'_>]) -> Option<Framing> {
    let value = |name: &str| {
        let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Some(Framing::Chunked);
    }
    value("content-length").and_then(|value| value.parse().ok()).map(Framing::Length)
}
