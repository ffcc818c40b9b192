//! The origin: 1 KiB for every request, as cheaply as it can be had, so that it takes little of the
//! core that it shares with the load generator. `/head` gets back the head it sent, so that the
//! benchmark can check what a subject makes of a request. Requests with bodies are not for it.

use std::io;

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::fill;

pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(connection(stream));
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let page = answer(&[b'x'; 1024]);
    let mut input = Vec::with_capacity(16 * 1024);
    let mut output = Vec::new();
    while fill(&mut stream, &mut input, true).await? {
        let mut done = 0;
        while let Some(end) = memchr::memmem::find(&input[done..], b"\r\n\r\n") {
            let head = &input[done..done + end + 4];
            if head.starts_with(b"GET /head ") {
                output.extend(answer(head));
            } else {
                output.extend(&page);
            }
            done += head.len();
        }
        input.drain(..done);
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\n\
         date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
         server: origin\r\n\
         content-type: text/plain\r\n\
         cache-control: max-age=60\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
