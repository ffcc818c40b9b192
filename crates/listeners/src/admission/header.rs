use std::time::Duration;

use millrace_proxy_protocol::{Addresses, LONGEST, missing, parse};
use millrace_transport::{Networks, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::Refusal;

/// The proxies that say in front of each connection whose it is (the PROXY protocol, version 1 or 2), over
/// TLS before the handshake.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Who is believed. Each of their connections has to begin with a header: without one, a client could
    /// send its own.
    pub from: Networks,
    /// What becomes of connections from elsewhere.
    pub others: Others,
    /// How long a header may take to come.
    pub timeout: Duration,
}

/// What becomes of connections that come from none of the proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// They are closed.
    #[default]
    Refuse,
    /// They are served as what they are. A header that they send is not read as one.
    Direct,
}

impl ProxyProtocol {
    pub(super) async fn read(&self, stream: &mut Stream) -> Result<Option<Addresses>, Refusal> {
        let late = |_| Refusal::Late(self.timeout);
        timeout(self.timeout, header(stream)).await.map_err(late)?
    }
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Addresses>, Refusal> {
    // Enough for what most of them say.
    let mut bytes = Vec::with_capacity(64);
    loop {
        let seen = bytes.len();
        let next = missing(&bytes).min(LONGEST.saturating_sub(seen));
        bytes.resize(seen + next, 0);
        let count = stream.read(&mut bytes[seen..]).await.map_err(|_| Refusal::Ended)?;
        bytes.truncate(seen + count);
        if count == 0 {
            return Err(Refusal::Ended);
        }
        if let Some((said, _)) = parse(&bytes).map_err(Refusal::Malformed)? {
            return Ok(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_proxy_protocol::{Version, write};
    use millrace_transport::MemoryStream;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn ends() -> Addresses {
        let (client, server) = ("[2001:db8::1]:5", "[2001:db8::2]:443");
        Addresses { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[tokio::test]
    async fn nothing_behind_a_header_is_read_wherever_it_is_split() {
        for version in [Version::V1, Version::V2] {
            let bytes = write(version, Some(&ends()));
            for cut in 1..bytes.len() {
                let (mut near, mut far) = MemoryStream::pair(1024);
                far.write_all(&bytes[..cut]).await.unwrap();
                let sending = async {
                    tokio::task::yield_now().await;
                    far.write_all(&[&bytes[cut..], b"PROXY rest"].concat()).await.unwrap();
                    far.shutdown().await.unwrap();
                };
                let (said, ()) = tokio::join!(header(&mut near), sending);
                assert_eq!(said, Ok(Some(ends())));
                let mut rest = String::new();
                near.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "PROXY rest", "{version:?} {cut}");
            }
        }
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_fault() {
        let cases = [("", false), ("PROXY TCP4 1.", false), ("\r\n\r\n", false), ("GET /", true)];
        for (sent, is_malformed) in cases {
            let (mut near, mut far) = MemoryStream::pair(1024);
            far.write_all(sent.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            let refusal = header(&mut near).await.unwrap_err();
            assert_eq!(matches!(refusal, Refusal::Malformed(_)), is_malformed, "{refusal:?}");
        }
    }
}
