//! Connections that have carried one request each, and wait.

use std::{io, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{args::Args, invalid, load, tls::Connector, wire::Wire};

/// How many are opened at once: fewer than any listener's backlog.
const AT_ONCE: usize = 64;
const BYTES: u64 = 1024;

/// Says `ready` on a line once all are open; then holds them.
pub async fn run(args: &Args) -> io::Result<()> {
    let connector = Rc::new(Connector::new(args, "http/1.1")?);
    let request: Rc<[u8]> = load::get(args.word(1)?, BYTES).into_bytes().into();
    let (mut opening, mut idle) = (JoinSet::new(), Vec::new());
    for _ in 0..args.number::<u32>("connections")? {
        if opening.len() == AT_ONCE {
            idle.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        opening.spawn_local(open(connector.clone(), request.clone()));
    }
    while let Some(opened) = opening.join_next().await {
        idle.push(opened??);
    }
    println!("ready");
    // Nothing comes any more; the end of one would be that of the measurement.
    for mut stream in idle {
        opening.spawn_local(async move {
            stream.read_u8().await?;
            Ok(stream)
        });
    }
    opening.join_next().await;
    Err(invalid("a connection did not stay idle"))
}

async fn open(connector: Rc<Connector>, request: Rc<[u8]>) -> io::Result<Box<dyn crate::wire::Io>> {
    let mut wire = Wire::new(connector.connect().await?);
    wire.stream.write_all(&request).await?;
    load::exchange(&mut wire, BYTES).await?;
    Ok(wire.stream)
}
