//! The way to a peer through a proxy (CONNECT, RFC 9110 §9.3.6).

use std::io::{self, ErrorKind};

use millrace_http1::{HeadLimits, head_may_end, parse_response, write_request_head};
use millrace_message::{Method, RequestHead, ResponseHead, TargetForm};
use millrace_transport::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::failure::Failure;
use crate::{ConnectProxy, Peer};

/// What the proxy may answer. Nobody reads its fields.
const LIMITS: HeadLimits = HeadLimits { max_bytes: 16 * 1024, max_fields: 128 };
/// Interim responses before its answer, at most.
const MAX_INTERIM: usize = 8;

/// Asks the proxy at the other end of `stream` for a tunnel to the peer. Of what comes behind the
/// answer no byte is read: it is the peer's.
pub(super) async fn through(
    stream: &mut Stream,
    peer: &Peer,
    proxy: &ConnectProxy,
) -> Result<(), Failure> {
    let mut request = Vec::new();
    write_request_head(&head(peer, proxy).ok_or(Failure::NoTarget)?, &mut request);
    stream.write_all(&request).await?;
    stream.flush().await?;
    for _ in 0..=MAX_INTERIM {
        let answer = answer(stream).await?;
        match answer.status {
            // Whatever it says of a body, there is none.
            200..=299 => return Ok(()),
            _ if answer.is_interim() => {}
            status => return Err(Failure::Refused(status)),
        }
    }
    Err(io::Error::other("the proxy does not come to its answer").into())
}

/// The request; none where the peer is not at a host and a port.
fn head(peer: &Peer, proxy: &ConnectProxy) -> Option<RequestHead> {
    let target = peer.address.host_and_port()?;
    let mut head = RequestHead::new(Method::CONNECT, target.as_bytes());
    if head.target_form() != Some(TargetForm::Authority) {
        return None;
    }
    head.fields.push_unchecked(b"Host", target.as_bytes());
    for (name, value) in proxy.fields() {
        head.fields.push_unchecked(name.as_bytes(), value);
    }
    Some(head)
}

async fn answer(stream: &mut Stream) -> Result<ResponseHead, Failure> {
    let mut head = Vec::with_capacity(128);
    loop {
        let seen = head.len();
        head.resize(seen + missing(&head), 0);
        let count = stream.read(&mut head[seen..]).await?;
        head.truncate(seen + count);
        if count == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        if head_may_end(&head, seen, &LIMITS)
            && let Some((answer, _)) = parse_response(&head, &LIMITS)?
        {
            return Ok(answer);
        }
    }
}

/// How many bytes a head that begins like this lacks at least: as many can be read and none of them
/// is behind it.
fn missing(head: &[u8]) -> usize {
    const SHORTEST: usize = b"HTTP/1.1 200\r\n\r\n".len();
    let end = match head {
        [.., b'\r', b'\n', b'\r'] => 1,
        [.., b'\r', b'\n'] => 2,
        [.., b'\r'] => 3,
        _ => 4,
    };
    end.max(SHORTEST.saturating_sub(head.len()))
}

/// How many more bytes are read of an answer that begins like this.
#[cfg(feature = "fuzzing")]
pub fn missing_of_answer(head: &[u8]) -> usize {
    missing(head)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A stream whose other end has sent this, and has ended if `end`.
    async fn sent(bytes: &[u8], end: bool) -> (Stream, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        other.write_all(bytes).await.unwrap();
        if end {
            other.shutdown().await.unwrap();
        }
        (Stream::Tcp(stream), other)
    }

    #[tokio::test]
    async fn no_byte_behind_the_answer_is_read() {
        for head in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.0 200 \r\n\r\n",
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.1 299 O\r\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let (mut stream, _other) = sent(format!("{head}\r\n\r\nrest").as_bytes(), true).await;
            assert!((200..300).contains(&answer(&mut stream).await.ok().unwrap().status));
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "\r\n\r\nrest", "{head}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_refused_without_waiting_for_more() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n", "x".repeat(20_000));
        for wrong in ["SSH-2.0-OpenSSH_9\r\n", "HTTP/1.1 200 OK\nA: b\n\n", &long] {
            let (mut stream, _other) = sent(wrong.as_bytes(), false).await;
            assert!(matches!(answer(&mut stream).await, Err(Failure::Answer(_))), "{wrong}");
        }
        for early in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            let (mut stream, _other) = sent(early.as_bytes(), true).await;
            let Err(Failure::Connect(error)) = answer(&mut stream).await else { panic!("{early}") };
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}
