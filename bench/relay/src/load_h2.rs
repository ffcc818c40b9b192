//! The load generator of HTTP/2: a number of connections with a number of streams each, every stream
//! with one request at a time. Every answer is checked to its last byte.

use std::{io, rc::Rc, time::Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::task::JoinSet;

use crate::{
    args::Args,
    invalid, pattern,
    tally::{self, Tally},
    tls::Connector,
};

/// Room for what comes, so that no stream waits for it.
const WINDOW: u32 = 16 * 1024 * 1024;

pub async fn run(args: &Args) -> io::Result<String> {
    let tally = Rc::new(Tally::default());
    let connector = Connector::new(args, "h2")?;
    let (bytes, connections) = (args.number("bytes")?, args.number::<u32>("connections")?);
    let streams = args.number::<u32>("streams")?;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let stream = connector.connect().await?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        clients.spawn_local(async move { connection.await.map_err(io::Error::other) });
        for _ in 0..streams {
            clients.spawn_local(client(sender.clone(), bytes, tally.clone()));
        }
    }
    tally::measure(args, tally, clients).await
}

async fn client(sender: SendRequest<Bytes>, bytes: u64, tally: Rc<Tally>) -> io::Result<()> {
    let mut sender = Some(sender);
    while let Some(ready) = sender.take() {
        let mut ready = ready.ready().await.map_err(io::Error::other)?;
        let sent = Instant::now();
        exchange(&mut ready, bytes).await?;
        tally.answered(sent);
        sender = Some(ready);
    }
    Ok(())
}

async fn exchange(sender: &mut SendRequest<Bytes>, bytes: u64) -> io::Result<()> {
    let request = http::Request::get(format!("https://localhost/bytes/{bytes}?page=7"))
        .version(http::Version::HTTP_2)
        .header("user-agent", "millrace-bench")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, br")
        .header("x-request-id", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
        .header("cookie", "sid=0123456789abcdef; theme=dark")
        .body(())
        .map_err(io::Error::other)?;
    let (response, _) = sender.send_request(request, true).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if response.status() != 200 {
        return Err(invalid(&format!("an answer that is no 200: {}", response.status())));
    }
    let (mut body, mut length) = (response.into_body(), 0);
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        if !pattern::fits(length, &data) {
            return Err(invalid("a body with wrong bytes"));
        }
        length += data.len() as u64;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    if length == bytes { Ok(()) } else { Err(invalid("an answer of the wrong length")) }
}
