//! The benchmark's own parts, one command each: the origin, the load generators, and the relay that
//! every other subject is compared with. Each runs on one thread.
//!
//! ```text
//! millrace-relay certificate CERT_FILE KEY_FILE
//! millrace-relay origin
//! millrace-relay relay  127.0.0.1:ORIGIN [cert=FILE key=FILE [h2=yes]]
//! millrace-relay load   127.0.0.1:SUBJECT pids=1,2 connections=64 bytes=1024 warm-up=300 measure=2000
//!                       [ca=FILE] [streams=16]
//! millrace-relay idle   127.0.0.1:SUBJECT connections=10000
//! millrace-relay bulk   127.0.0.1:SUBJECT pids=1,2 bytes=1073741824 direction=up|down
//! ```
//!
//! `origin` and `relay` print the address they listen at, on one line, and end with their standard
//! input, as `idle` does: a benchmark that is killed leaves none behind. The others print one JSON object.

mod args;
mod bulk;
mod cpu;
mod idle;
mod load;
mod load_h2;
mod origin;
mod pattern;
mod relay;
mod tally;
mod tls;
mod wire;

use std::io;

use args::Args;
use tokio::{io::AsyncReadExt, net::TcpListener};

fn main() -> io::Result<()> {
    let args = Args::read(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match args.command() {
            "certificate" => tls::certificate(args.word(1)?, args.word(2)?),
            "origin" => until_abandoned(origin::serve(listen().await?)).await,
            "relay" => {
                let (origin, tls) = (args.address()?, tls::acceptor(&args)?);
                until_abandoned(relay::serve(listen().await?, origin, tls)).await
            }
            "load" if args.get("streams").is_some() => answer(load_h2::run(&args).await),
            "load" => answer(load::run(&args).await),
            "idle" => until_abandoned(idle::run(&args)).await,
            "bulk" => answer(bulk::run(&args).await),
            _ => Err(invalid("give one of: certificate | origin | relay | load | idle | bulk")),
        }
    })
}

fn answer(json: io::Result<String>) -> io::Result<()> {
    println!("{}", json?);
    Ok(())
}

async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

/// Serves until standard input ends, as it does when the benchmark is gone.
async fn until_abandoned(serving: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let (end, ended) = tokio::sync::oneshot::channel();
    // A thread of its own: it blocks in one read for as long as the process lives.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = end.send(());
    });
    tokio::select! {
        done = serving => done,
        _ = ended => Ok(()),
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_owned())
}

/// Reads what there is, and waits for something if there is nothing; the end of the stream is an error.
async fn fill(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut Vec<u8>,
) -> io::Result<()> {
    match stream.read_buf(to).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
