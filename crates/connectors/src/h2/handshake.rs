use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use millrace_error::{Code, Error, Result};
use millrace_transport::Stream;
use tokio::time::timeout;

use super::meter::{Meter, Metered};
use super::{SEND_BUFFER, STREAM_WINDOW};
use crate::Peer;

/// The connection as h2 has it, for its task.
pub(super) type Driven = client::Connection<Metered, Bytes>;

/// Locally reset streams that h2 remembers, so that what was on its way for them is not taken for
/// an error: clients that leave come in crowds.
const RESET_STREAMS: usize = 1024;

/// Agrees on HTTP/2 over a new connection. Waits for the origin's
/// SETTINGS: then it is known to speak HTTP/2 and how many streams it takes, before any request is
/// risked. So all errors may be retried.
pub(super) async fn handshake(
    stream: Stream,
    peer: &Peer,
    max_header_list: u32,
    meter: &Arc<Meter>,
) -> Result<(SendRequest<Bytes>, Driven)> {
    let work = shake(stream, peer, max_header_list, meter);
    let limit = peer.options.connect_timeout.or(peer.options.total_connect_timeout);
    let done = match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| {
            let message = match meter.read() {
                0 => "the origin sent no HTTP/2 settings",
                _ => "the origin sent no HTTP/2 settings, or allows no streams",
            };
            Err(Error::new(Code::ConnectTimeout, message))
        }),
        None => work.await,
    };
    done.map_err(|error| error.retry(true))
}

async fn shake(
    stream: Stream,
    peer: &Peer,
    max_header_list: u32,
    meter: &Arc<Meter>,
) -> Result<(SendRequest<Bytes>, Driven)> {
    let streams = peer.options.h2_max_streams.max(1);
    // As much as all streams together may hold, so that one that is not read stops no other.
    let window = streams.saturating_mul(STREAM_WINDOW).min(i32::MAX as u32);
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(max_header_list)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .enable_push(false)
        // None before the origin has said how many.
        .initial_max_send_streams(0);
    let stream = Metered::new(stream, Arc::clone(meter));
    let failed = |error| failed(error, meter);
    let (send, mut driven) = builder.handshake::<_, Bytes>(stream).await.map_err(failed)?;
    poll_fn(|cx| {
        meter.begin_turn();
        if let Poll::Ready(ended) = Pin::new(&mut driven).poll(cx) {
            let closed = Error::new(Code::ConnectFailed, "the origin closed the connection");
            return Poll::Ready(Err(ended.map_or_else(failed, |()| closed)));
        }
        if send.current_max_send_streams() == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    Ok((send, driven))
}

fn failed(error: h2::Error, meter: &Meter) -> Error {
    if meter.is_refused() {
        return Error::new(Code::TlsFailed, "the origin refused the handshake").because(error);
    }
    if error.is_io() {
        return Error::new(Code::ConnectFailed, "agreeing on HTTP/2").because(error);
    }
    Error::new(Code::UpstreamInvalid, "the origin does not speak HTTP/2").because(error)
}
