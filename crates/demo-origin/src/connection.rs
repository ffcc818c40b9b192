use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use millrace_http1::{HeadLimits, ParseError, head_may_end, parse_request};
use millrace_message::RequestHead;
use millrace_server::{Counters, OpenRequest, Shutdown};
use millrace_transport::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::OriginOptions;
use crate::exchange::{After, Exchange};
use crate::pages::Whole;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 16 * 1024, max_fields: 100 };
/// How long, and for how many bytes, a closing connection still reads: closing with bytes unread
/// makes the system send a reset, which can destroy the answer on its way (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// One client's connection and its requests, one after the other.
pub(crate) struct Connection<'a> {
    pub(crate) stream: Stream,
    pub(crate) input: BytesMut,
    pub(crate) options: &'a OriginOptions,
    pub(crate) shutdown: &'a Shutdown,
    counters: &'a Arc<Counters>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        stream: Stream,
        options: &'a OriginOptions,
        counters: &'a Arc<Counters>,
        shutdown: &'a Shutdown,
    ) -> Self {
        Connection { stream, input: BytesMut::new(), options, shutdown, counters }
    }

    pub(crate) async fn serve(mut self) {
        while let Some(request) = self.next().await {
            let open = OpenRequest::new(self.counters);
            let after = match request {
                Ok(request) => self.exchange(request).await,
                Err(status) => Exchange::refusal().send(&mut self, Whole::plain(status)).await,
            };
            open.finish();
            match after {
                Ok(After::Next) => {}
                Ok(After::Close) => return self.close().await,
                // The client left, took nothing for too long, or sent what cannot be read: what
                // it got of the answer is not to look like the whole.
                Err(_) => {
                    let _ = self.stream.reset_on_drop();
                    return;
                }
            }
        }
    }

    /// The next request, or the status that refuses it; none if there will not be one.
    async fn next(&mut self) -> Option<Result<RequestHead, u16>> {
        if self.input.is_empty() {
            let Connection { stream, input, options, shutdown, .. } = self;
            let read = timeout(options.idle, stream.read_buf(input));
            let read = tokio::select! {
                read = read => read.ok()?.ok()?,
                () = shutdown.draining() => 0,
            };
            if read == 0 {
                return None;
            }
        }
        timeout(self.options.patience, self.head()).await.unwrap_or(Some(Err(408)))
    }

    async fn head(&mut self) -> Option<Result<RequestHead, u16>> {
        let mut seen = 0;
        loop {
            if head_may_end(&self.input, seen, &LIMITS) {
                seen = self.input.len();
                match parse_request(&self.input, &LIMITS) {
                    Ok(Some((head, length))) => {
                        self.input.advance(length);
                        return Some(Ok(head));
                    }
                    Ok(None) => {}
                    Err(error) => return Some(Err(status_of(error))),
                }
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Reads more; false at the end.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let read = timeout(self.options.patience, self.stream.read_buf(&mut self.input));
        Ok(read.await?? > 0)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Piece by piece, so that a large one has the patience of several.
        for piece in bytes.chunks(64 * 1024) {
            timeout(self.options.patience, self.stream.write_all(piece)).await??;
        }
        Ok(())
    }

    async fn close(mut self) {
        if self.stream.shutdown().await.is_ok() {
            let _ = timeout(LINGER_TIME, self.linger()).await;
        }
    }

    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        loop {
            self.input.clear();
            match self.stream.read_buf(&mut self.input).await {
                Ok(count) if count > 0 && count <= left => left -= count,
                _ => return,
            }
        }
    }
}

/// The status for a head that was refused.
pub(crate) fn status_of(error: ParseError) -> u16 {
    match error {
        ParseError::BadRequest(_) => 400,
        ParseError::TooLarge(_) => 431,
        ParseError::NotImplemented(_) => 501,
        ParseError::VersionNotSupported => 505,
    }
}
