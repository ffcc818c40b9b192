//! The load generator of HTTP/1.1: a fixed number of keep-alive connections, each with one request in
//! flight. Every answer is checked to its last byte.

use std::{io, rc::Rc, time::Instant};

use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::{
    args::Args,
    invalid,
    tally::{self, Tally},
    tls::Connector,
    wire::{self, Framing, Io, Wire},
};

pub async fn run(args: &Args) -> io::Result<String> {
    let tally = Rc::new(Tally::default());
    let connector = Rc::new(Connector::new(args, "http/1.1")?);
    let (bytes, connections) = (args.number("bytes")?, args.number::<u32>("connections")?);
    let request: Rc<[u8]> = get(args.word(1)?, bytes).into_bytes().into();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn_local(client(connector.clone(), request.clone(), bytes, tally.clone()));
    }
    tally::measure(args, tally, clients).await
}

/// A request as browsers send them, in length and number of fields.
pub fn get(host: &str, bytes: u64) -> String {
    format!(
        "GET /bytes/{bytes}?page=7 HTTP/1.1\r\n\
         host: {host}\r\n\
         user-agent: millrace-bench\r\n\
         accept: */*\r\n\
         accept-encoding: gzip, br\r\n\
         x-request-id: 7c9e6679-7425-40de-944b-e07fc1f90ae7\r\n\
         cookie: sid=0123456789abcdef; theme=dark\r\n\r\n"
    )
}

async fn client(
    connector: Rc<Connector>,
    request: Rc<[u8]>,
    bytes: u64,
    tally: Rc<Tally>,
) -> io::Result<()> {
    let mut wire = Wire::new(connector.connect().await?);
    loop {
        let sent = Instant::now();
        wire.stream.write_all(&request).await?;
        // Above TLS a write may stay in the buffer of the session.
        wire.stream.flush().await?;
        exchange(&mut wire, bytes).await?;
        tally.answered(sent);
    }
}

/// Reads one answer of `bytes` bytes, and nothing beyond it.
pub async fn exchange<S: Io>(wire: &mut Wire<S>, bytes: u64) -> io::Result<()> {
    let (framing, _) = head(wire).await?;
    let length = wire.body(framing).await?;
    if length != bytes || !wire.unread().is_empty() {
        return Err(invalid("an answer of the wrong length"));
    }
    Ok(())
}

/// Reads the head of an answer: how its body ends, and how many bytes the origin says to have had.
pub async fn head<S: Io>(wire: &mut Wire<S>) -> io::Result<(Framing, Option<u64>)> {
    loop {
        wire.more().await?;
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(wire.unread());
        let parsed = parsed.map_err(|error| invalid(&format!("a bad head: {error}")))?;
        let httparse::Status::Complete(length) = parsed else { continue };
        if response.code != Some(200) {
            let text = String::from_utf8_lossy(wire.unread());
            return Err(invalid(&format!("an answer that is no 200: {text}")));
        }
        let framing = wire::framing(response.headers);
        let received =
            response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("x-received"));
        let received =
            received.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
        wire.used(length);
        return Ok((framing.ok_or_else(|| invalid("an answer without a length"))?, received));
    }
}
