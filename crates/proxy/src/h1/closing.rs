use std::future::poll_fn;
use std::time::Duration;

use millrace_transport::Quiet;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::H1Connection;
use super::framing::DRAIN;
use crate::wire::{ReadSize, poll_read};
use crate::{Body, Downstream};

/// How long a small unread body is waited for.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long the end of a connection over TLS may take to go out where writing has no time-out.
const GOODBYE_TIME: Duration = Duration::from_secs(60);
/// How long, and for how many bytes, a closing connection still reads: closing with bytes unread
/// makes the system send a reset, which can destroy the response on its way (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);
/// The same while the server drains, if no request is cut short by it.
const LAST_LINGER: Duration = Duration::from_millis(250);
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

    /// Ends the connection so that the client gets all that was sent.
    pub(crate) async fn close(mut self) {
        if self.current.aborted {
            return;
        }
        let is_over = self.current.end_of_input || self.expects_nothing();
        // Dropped, a plain connection ends by itself. Over TLS the end has to be written, behind
        // bytes that the client may not have taken yet.
        if is_over && !self.stream.needs_flush() {
            return;
        }
        let limit = self.options.write_timeout.unwrap_or(GOODBYE_TIME);
        let said = timeout(limit, self.stream.shutdown()).await;
        if is_over || !matches!(said, Ok(Ok(()))) {
            return;
        }
        let (shutdown, is_done) = (self.shutdown.clone(), self.current.body.is_done());
        let patience = async {
            let draining = async {
                shutdown.draining().await;
                sleep(LAST_LINGER).await;
            };
            tokio::select! {
                () = sleep(LINGER_TIME) => {}
                () = draining, if is_done => {}
            }
        };
        tokio::select! {
            () = self.linger() => {}
            () = patience => {}
        }
    }

    /// Whether nothing more can come of the client. While the server drains, what it might send
    /// in spite of all is not worth the wait.
    fn expects_nothing(&mut self) -> bool {
        let said_all = self.current.closed_by_client || self.shutdown.is_draining();
        let done = said_all && self.current.body.is_done() && self.input.is_empty();
        // Some send an empty line after a body: unread, it would make the close a reset.
        done && self.stream.is_quiet() != Quiet::Data
    }

    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        let mut size = ReadSize::default();
        loop {
            self.input.clear();
            let (stream, input) = (&mut self.stream, &mut self.input);
            match poll_fn(|cx| poll_read(stream, input, Some(&mut size), cx)).await {
                Ok(count) if count > 0 && count <= left => left -= count,
                _ => return,
            }
        }
    }
}
