//! The benchmark's own parts, one command each: the origin, the load generator, and the relay that
//! every other subject is compared with. Each runs on one thread.
//!
//! ```text
//! millrace-relay origin
//! millrace-relay relay 127.0.0.1:ORIGIN
//! millrace-relay load 127.0.0.1:SUBJECT CONNECTIONS WARM_UP_MS MEASURE_MS PID
//! ```
//!
//! `origin` and `relay` print the address they listen at, on one line, and end with their standard
//! input: a benchmark that is killed leaves none behind.

mod load;
mod origin;
mod relay;

use std::{io, net::SocketAddr, time::Duration};

use tokio::{io::AsyncReadExt, net::TcpListener};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match args[..] {
            ["origin"] => until_abandoned(origin::serve(listen().await?)).await,
            ["relay", origin] => {
                until_abandoned(relay::serve(listen().await?, address(origin)?)).await
            }
            ["load", subject, connections, warm_up, measure, pid] => {
                let plan = load::Plan {
                    subject: address(subject)?,
                    connections: number(connections)?,
                    warm_up: Duration::from_millis(number(warm_up)?),
                    measure: Duration::from_millis(number(measure)?),
                    pid: number(pid)?,
                };
                println!("{}", load::run(plan).await?);
                Ok(())
            }
            _ => Err(invalid("give one of: origin | relay ADDRESS | load ADDRESS N MS MS PID")),
        }
    })
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

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(|_| invalid(&format!("not an address: {text}")))
}

fn number<N: std::str::FromStr>(text: &str) -> io::Result<N> {
    text.parse().map_err(|_| invalid(&format!("not a number: {text}")))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_owned())
}

/// Reads more from `stream` into `buffer`; an end of the stream is an error unless it is `between`
/// messages, where it is `Ok(false)`.
async fn fill(
    stream: &mut tokio::net::TcpStream,
    buffer: &mut Vec<u8>,
    between: bool,
) -> io::Result<bool> {
    match stream.read_buf(buffer).await? {
        0 if between && buffer.is_empty() => Ok(false),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(true),
    }
}
