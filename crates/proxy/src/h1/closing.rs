use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use millrace_message::Version;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::H1Connection;
use super::downstream::DRAIN;
use crate::wire::poll_read;
use crate::{Body, Downstream};

/// How long a small unread body is waited for.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, a closing connection still reads: closing with bytes unread
/// makes the system send a reset, which can destroy the response on its way (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

impl H1Connection {
    /// After a response: whether the connection can carry another request.
    pub(crate) async fn can_go_on(&mut self) -> bool {
        if !self.current.persistent || !self.current.finished {
            return false;
        }
        self.current.body.is_done() || self.drain().await
    }

    /// Reads what is left of a small body. The client's next request starts behind it.
    async fn drain(&mut self) -> bool {
        let mut left = DRAIN as usize;
        let drained = timeout(DRAIN_TIME, async {
            loop {
                match poll_fn(|cx| self.poll_body(cx)).await {
                    Ok(Body::Data(data)) if data.len() <= left => left -= data.len(),
                    Ok(Body::Trailers(_)) => {}
                    Ok(Body::End) => return true,
                    _ => return false,
                }
            }
        });
        drained.await.unwrap_or(false)
    }

    /// Ends the connection so that the client gets all that was sent, and can tell an answer that
    /// was cut short from a whole one.
    pub(crate) async fn close(mut self) {
        if self.current.aborted {
            // Bytes of an answer are out and it will never be whole. Without framing of its own,
            // only a reset says so.
            if self.current.head_sent && self.current.version == Version::Http10 {
                let _ = self.stream.reset_on_drop();
            }
            return;
        }
        if self.current.end_of_input || self.stream.shutdown().await.is_err() {
            return;
        }
        let _ = timeout(LINGER_TIME, self.linger()).await;
    }

    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        loop {
            self.input.clear();
            let read = poll_fn(|cx| poll_read(&mut self.stream, &mut self.input, true, cx));
            match Pin::from(Box::new(read)).await {
                Ok(count) if count > 0 && count <= left => left -= count,
                _ => return,
            }
        }
    }
}
