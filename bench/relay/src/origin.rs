//! The origin, as cheap as it can be had, so that it takes little of the core that it shares with the
//! load generator. `/bytes/N` is N bytes of the pattern; `/head` gets back the head it sent, so that
//! the benchmark can check what a subject makes of a request; a POST gets the number of its bytes.

use std::io;

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    invalid, pattern,
    wire::{self, Framing, Wire},
};

/// What is written with its head in one piece.
const SMALL: u64 = pattern::PIECE as u64;

pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            match connection(Wire::new(stream)).await {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    eprintln!("origin: {error}");
                }
                // A subject that closes a connection, or is gone.
                _ => {}
            }
        });
    }
}

async fn connection(mut wire: Wire<TcpStream>) -> io::Result<()> {
    // The answer to the last request, as the next one is likely to be for the same.
    let mut cached = (0, answer(b"", ""));
    loop {
        let end = loop {
            if let Some(end) = memchr::memmem::find(wire.unread(), b"\r\n\r\n") {
                break end + 4;
            }
            wire.more().await?;
        };
        let head = &wire.unread()[..end];
        if head.starts_with(b"POST ") {
            let framing = request_framing(head)?;
            wire.used(end);
            let received = wire.body(framing).await?;
            let field = format!("x-received: {received}\r\n");
            wire.stream.write_all(&answer(b"", &field)).await?;
            continue;
        }
        let Some(bytes) = bytes_asked(head) else {
            let echo = answer(head, "");
            wire.used(end);
            wire.stream.write_all(&echo).await?;
            continue;
        };
        wire.used(end);
        if bytes <= SMALL {
            if cached.0 != bytes {
                cached = (bytes, answer(pattern::piece(0, bytes), ""));
            }
            wire.stream.write_all(&cached.1).await?;
        } else {
            wire.stream.write_all(head_of(bytes, "").as_bytes()).await?;
            let mut at = 0;
            while at < bytes {
                let piece = pattern::piece(at, bytes - at);
                wire.stream.write_all(piece).await?;
                at += piece.len() as u64;
            }
        }
    }
}

fn bytes_asked(head: &[u8]) -> Option<u64> {
    let digits = head.strip_prefix(b"GET /bytes/")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn request_framing(head: &[u8]) -> io::Result<Framing> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).map_err(|error| invalid(&format!("a bad head: {error}")))?;
    Ok(wire::framing(request.headers).unwrap_or(Framing::Length(0)))
}

fn answer(body: &[u8], more: &str) -> Vec<u8> {
    [head_of(body.len() as u64, more).as_bytes(), body].concat()
}

fn head_of(length: u64, more: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\n\
         date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
         server: origin\r\n\
         content-type: text/plain\r\n\
         cache-control: max-age=60\r\n\
         {more}content-length: {length}\r\n\r\n"
    )
}
