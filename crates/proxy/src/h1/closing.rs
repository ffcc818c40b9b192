use std::future::poll_fn;
use std::time::Duration;

use millrace_transport::Quiet;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::H1Connection;
use crate::wire::{ReadSize, poll_read};
use crate::{Body, Downstream};

/// How long the rest of an unread body is waited for.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long the end of a connection over TLS may take to go out where writing has no time-out.
const GOODBYE_TIME: Duration = Duration::from_secs(60);
/// How long a closing connection still reads, in all and without a byte: closing with bytes unread makes
/// the system send a reset, which can destroy the response on its way (RFC 9112 §9.6). However much comes:
/// a client that goes on sending may be one that has not got to reading yet.
const LINGER_TIME: Duration = Duration::from_secs(30);
const LINGER_QUIET: Duration = Duration::from_secs(2);
/// The same in all while the server drains, if no request is cut short by it.
const LAST_LINGER: Duration = Duration::from_millis(250);

impl H1Connection {
    /// After a response: whether the connection can carry another request.
    pub(crate) async fn can_go_on(&mut self) -> bool {
        if !self.current.persistent || !self.current.finished {
            return false;
        }
        self.current.body.is_done() || self.drain().await
    }

    /// Reads what is left of a body: the client's next request starts behind it. It is a small one, or one that
    /// was on its way upstream when the response came, which has said that the connection goes on.
    async fn drain(&mut self) -> bool {
        let drained = timeout(DRAIN_TIME, async {
            loop {
                match poll_fn(|cx| self.poll_body(cx)).await {
                    Ok(Body::Data(_) | Body::Trailers(_)) => {}
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
        let shutdown = self.shutdown.clone();
        // A server that drains cuts short no request that is still being sent.
        let last = if self.current.body.is_done() { LAST_LINGER } else { LINGER_QUIET };
        let draining = async {
            shutdown.draining().await;
            sleep(last).await;
        };
        tokio::select! {
            () = self.linger() => {}
            () = sleep(LINGER_TIME) => {}
            () = draining => {}
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
        let mut size = ReadSize::default();
        loop {
            self.input.clear();
            let (stream, input) = (&mut self.stream, &mut self.input);
            let more = poll_fn(|cx| poll_read(stream, input, Some(&mut size), cx));
            if !matches!(timeout(LINGER_QUIET, more).await, Ok(Ok(count)) if count > 0) {
                return;
            }
        }
    }
}
