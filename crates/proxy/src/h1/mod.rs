//! HTTP/1.1 towards the client: one connection, its requests one after the other.

mod closing;
mod downstream;
mod framing;
mod next;
mod reading;

use std::sync::Arc;

use bytes::BytesMut;
use millrace_http1::BodyDecoder;
use millrace_message::{Method, Version};
use millrace_transport::Stream;

use crate::stall::Stall;
use crate::timer::Timer;
use crate::wire::{ReadSize, WriteQueue};
use crate::{BodySize, ClientConnection, ProxyOptions};

pub(crate) use next::{Arrived, LAST_CHANCE, Wait, guess, too_large};

/// A connection of a client.
pub(crate) struct H1Connection {
    stream: Stream,
    options: Arc<ProxyOptions>,
    info: Arc<ClientConnection>,
    input: BytesMut,
    output: WriteQueue,
    read_timer: Timer,
    write_timer: Timer,
    /// Requests read so far.
    requests: u32,
    /// Requests that came before their client could know that the server ends.
    late: u32,
    interims: crate::Interims,
    /// Whether the server ends: each response is then the last of its connection.
    shutdown: millrace_server::Shutdown,
    current: Current,
}

/// What belongs to the request being served.
struct Current {
    method: Method,
    version: Version,
    body: BodyDecoder,
    size: BodySize,
    /// The client waits for a 100; none has been sent.
    expects_continue: bool,
    /// The client has said that this is its last request.
    closed_by_client: bool,
    /// Whether the connection outlives this request, as far as is known.
    persistent: bool,
    /// The response's framing, once its head is out.
    chunked: bool,
    no_body: bool,
    /// The response's body ends with the connection.
    until_close: bool,
    /// The connection is a tunnel: bytes go through as they come, until each side ends.
    tunnel: bool,
    /// Our side of the tunnel has ended.
    shut: bool,
    head_sent: bool,
    finished: bool,
    /// The client ended its side.
    end_of_input: bool,
    aborted: bool,
    received: u64,
    /// Bytes of the body, counted against the limit.
    body_bytes: u64,
    sent: u64,
    read_size: ReadSize,
    read_stall: Stall,
    write_stall: Stall,
}

impl Current {
    fn new(method: Method, version: Version, body: BodyDecoder) -> Self {
        Current {
            method,
            version,
            body,
            size: BodySize::None,
            expects_continue: false,
            closed_by_client: false,
            persistent: false,
            chunked: false,
            no_body: false,
            until_close: false,
            tunnel: false,
            shut: false,
            head_sent: false,
            finished: false,
            end_of_input: false,
            aborted: false,
            received: 0,
            body_bytes: 0,
            sent: 0,
            read_size: ReadSize::default(),
            read_stall: Stall::default(),
            write_stall: Stall::default(),
        }
    }
}

impl H1Connection {
    pub(crate) fn new(
        stream: Stream,
        input: BytesMut,
        options: Arc<ProxyOptions>,
        info: Arc<ClientConnection>,
        shutdown: millrace_server::Shutdown,
    ) -> Self {
        let body = BodyDecoder::new(millrace_http1::Framing::None);
        H1Connection {
            stream,
            options,
            info,
            input,
            output: WriteQueue::default(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            interims: crate::Interims::default(),
            requests: 0,
            late: 0,
            shutdown,
            current: Current::new(Method::GET, Version::Http11, body),
        }
    }

    /// Requests read so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests
    }
}

impl Drop for H1Connection {
    /// Sees to it that a client can tell an answer that was cut short, by an error or with the
    /// server, from a whole one. Where the end of the connection is the end of the body, only a
    /// reset says so.
    fn drop(&mut self) {
        let whole = self.current.finished && self.output.is_empty();
        if self.current.until_close && !whole {
            let _ = self.stream.reset_on_drop();
        }
    }
}
