//! A small origin for demos and tests. It is an app of its own beside the proxy: any app can be
//! a service of a server.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a small page |
//! | `GET /stream` | ten lines, with a pause between them |
//! | `POST /echo` | the body, sent back while it arrives |
//! | `GET /ws` | a WebSocket that greets, and sends each message back |
//! | `GET /missing`, `GET /favicon.ico` | 404 |
//! | `GET` anything else | method, target and fields of the request, as they arrived |
//!
//! HEAD is answered wherever GET is, every other method with 405.

mod body;
mod connection;
mod exchange;
mod pages;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;

use crate::connection::Connection;

/// How patient an origin is.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// For a connection between two requests, and for a WebSocket before it is pinged.
    pub idle: Duration,
    /// For a whole head, for each piece of a body or of a WebSocket's message, for the answer to a
    /// ping, and for each piece that the client takes.
    pub patience: Duration,
    /// Between two lines of `/stream`.
    pub pause: Duration,
}

impl Default for OriginOptions {
    fn default() -> Self {
        OriginOptions {
            idle: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            pause: Duration::from_millis(200),
        }
    }
}

/// The origin.
#[derive(Debug, Default)]
pub struct DemoOrigin {
    options: OriginOptions,
}

impl DemoOrigin {
    /// An origin with these options.
    pub fn new(options: OriginOptions) -> Self {
        DemoOrigin { options }
    }
}

impl ServerApp for DemoOrigin {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        Connection::new(stream, &self.options, &conn.counters, shutdown).serve().await;
        None
    }
}
