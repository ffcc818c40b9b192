use std::future::{Future, poll_fn};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::{Handle, Runtime};
use tokio::time::timeout;

use super::message::{FieldList, Piece, listed};
use crate::support::PATIENCE;

/// One end of a stream of HTTP/2.
#[derive(Default)]
pub struct H2Side {
    pub recv: Option<RecvStream>,
    pub send: Option<SendStream<Bytes>>,
    pub has_ended: bool,
    /// Reads without making room for more.
    pub keeps_window: bool,
}

/// Where the clients' connections are driven.
pub static CLIENTS: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// Waits on a thread of its own: a test's, or that of an origin's script.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    within(PATIENCE, future).expect("it took too long")
}

/// The same; none if it was not done in time.
pub fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let work = async { timeout(limit, future).await.ok() };
    match Handle::try_current() {
        Ok(handle) => handle.block_on(work),
        Err(_) => CLIENTS.block_on(work),
    }
}

pub fn header_map(fields: &[(&str, &str)]) -> HeaderMap {
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
    let value = |value: &str| HeaderValue::from_bytes(value.as_bytes()).unwrap();
    let mut map = HeaderMap::new();
    for (key, text) in fields {
        map.append(name(key), value(text));
    }
    map
}

impl H2Side {
    /// Sends as there is room for; whether it was taken.
    pub fn send(&mut self, data: &[u8]) -> bool {
        self.send_within(data, PATIENCE) == data.len()
    }

    /// How much was taken, if each piece of it may take so long.
    pub fn send_within(&mut self, data: &[u8], limit: Duration) -> usize {
        let Some(stream) = &mut self.send else { return 0 };
        let mut sent = 0;
        while sent < data.len() {
            stream.reserve_capacity(data.len() - sent);
            let mut room = stream.capacity();
            if room == 0 {
                match within(limit, poll_fn(|cx| stream.poll_capacity(cx))) {
                    Some(Some(Ok(more))) => room = more,
                    _ => return sent,
                }
            }
            let end = data.len().min(sent + room);
            if stream.send_data(Bytes::copy_from_slice(&data[sent..end]), false).is_err() {
                return sent;
            }
            sent = end;
        }
        sent
    }

    pub fn end(&mut self, trailers: &[(&str, &str)]) -> bool {
        let Some(stream) = self.send.as_mut().filter(|_| !self.has_ended) else { return true };
        self.has_ended = true;
        let ended = match trailers {
            [] => stream.send_data(Bytes::new(), true),
            trailers => stream.send_trailers(header_map(trailers)),
        };
        ended.is_ok()
    }

    pub fn piece(&mut self) -> Piece {
        let keeps_window = self.keeps_window;
        let Some(stream) = &mut self.recv else { return Piece::End(FieldList::new()) };
        loop {
            let data = match wait(stream.data()) {
                Some(Ok(data)) => data,
                Some(Err(_)) => return Piece::Cut,
                None => break,
            };
            if !keeps_window {
                let _ = stream.flow_control().release_capacity(data.len());
            }
            if !data.is_empty() {
                return Piece::Data(data.to_vec());
            }
        }
        match wait(stream.trailers()) {
            Ok(trailers) => Piece::End(trailers.as_ref().map(listed).unwrap_or_default()),
            Err(_) => Piece::Cut,
        }
    }

    pub fn reset(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.send {
            stream.send_reset(reason);
        }
    }
}
