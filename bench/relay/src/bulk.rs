//! One large body, up or down, on one connection.

use std::{io, time::Instant};

use tokio::io::AsyncWriteExt;

use crate::{args::Args, cpu, invalid, load, pattern, tls::Connector, wire::Wire};

const MIB: f64 = 1024.0 * 1024.0;

pub async fn run(args: &Args) -> io::Result<String> {
    let (pids, bytes, host) = (args.pids()?, args.number::<u64>("bytes")?, args.word(1)?);
    let mut wire = Wire::new(Connector::new(args, "http/1.1")?.connect().await?);
    let (start, before) = (Instant::now(), cpu::spent_ns(&pids)?);
    match args.get("direction") {
        Some("down") => {
            wire.stream.write_all(load::get(host, bytes).as_bytes()).await?;
            load::exchange(&mut wire, bytes).await?;
        }
        Some("up") => {
            let head = format!(
                "POST /sink HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n"
            );
            wire.stream.write_all(head.as_bytes()).await?;
            let mut at = 0;
            while at < bytes {
                let piece = pattern::piece(at, bytes - at);
                wire.stream.write_all(piece).await?;
                at += piece.len() as u64;
            }
            let (framing, received) = load::head(&mut wire).await?;
            if received != Some(bytes) {
                return Err(invalid(&format!("the origin had {received:?} bytes of {bytes}")));
            }
            wire.body(framing).await?;
        }
        _ => return Err(invalid("direction is up or down")),
    }
    let (seconds, spent) = (start.elapsed().as_secs_f64(), cpu::spent_ns(&pids)? - before);
    let mib = bytes as f64 / MIB;
    Ok(format!(
        "{{\"mibPerSecond\":{:.1},\"cpuMicrosPerMib\":{:.2}}}",
        mib / seconds,
        spent as f64 / 1e3 / mib,
    ))
}
