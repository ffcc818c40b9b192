use std::sync::Arc;
use std::time::Duration;

use millrace_http1::HeadLimits;

use crate::{ForwardingOptions, Http2Options, Routing};

/// What can be set on a proxy. Durations that may be off are options.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// For the whole head of every request, from its first byte. Default: 10 s.
    pub request_header_timeout: Option<Duration>,
    /// For an idle connection between requests. Default: 75 s.
    pub keep_alive_timeout: Option<Duration>,
    /// Between two pieces of a request's body, while it is waited for. Default: 60 s.
    pub body_read_timeout: Option<Duration>,
    /// Between two pieces of a response that the client takes. Default: 60 s.
    pub write_timeout: Option<Duration>,
    /// The slowest rate a client may send or take a body at, once it was waited for 10 s in all;
    /// bytes per second, 0 = any. Default: 100.
    pub min_bytes_per_second: u64,
    /// Bounds of a head, of requests and of responses. Default: 64 KiB, 128 fields.
    pub limits: HeadLimits,
    /// The largest body of a request. Default: none.
    pub max_request_body: Option<u64>,
    /// For a request with all its tries. Default: off.
    pub request_timeout: Option<Duration>,
    /// For one try, until the head of its response. Default: off.
    pub try_timeout: Option<Duration>,
    /// How many requests a connection may carry; 0 = no limit. Default: 0.
    pub max_requests_per_connection: u32,
    /// How many extra tries a request may take. Default: 3.
    pub max_retries: u32,
    /// Whether a client may end its side of the connection and still get its answer. Off, the end
    /// of its side counts as leaving. Default: off.
    pub half_close: bool,
    /// Rules in the place of phases. Default: none.
    pub routing: Option<Arc<Routing>>,
    /// What origins are told of who a request comes from.
    pub forwarding: ForwardingOptions,
    /// Whether `response_filter` also sees answers of our own. Default: off.
    pub filter_own_responses: bool,
    /// Protocols that a client of HTTP/1.1 may change to (RFC 9110 §7.8), in lower case; a request for
    /// another is served as if it had not asked. Default: `websocket`.
    pub upgrades: Vec<String>,
    /// Whether a client may ask for a tunnel (CONNECT, RFC 9110 §9.3.6). It leads to the peer that
    /// `upstream_peer` chooses, never by itself to where the client wants to go. Off, CONNECT is
    /// answered with 405. Default: off.
    pub connect: bool,
    /// How long neither side of a tunnel may send anything. Default: 10 min.
    pub tunnel_idle_timeout: Option<Duration>,
    /// Whether a client may speak HTTP/2 in the clear, by prior knowledge. Default: on.
    pub h2c: bool,
    /// What concerns HTTP/2 towards clients.
    pub http2: Http2Options,
    /// Idle upstream connections kept, for the whole service. Default: 1,024.
    pub pool_size: usize,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        ProxyOptions {
            request_header_timeout: seconds(10),
            keep_alive_timeout: seconds(75),
            body_read_timeout: seconds(60),
            write_timeout: seconds(60),
            min_bytes_per_second: 100,
            limits: HeadLimits::default(),
            max_request_body: None,
            request_timeout: None,
            try_timeout: None,
            max_requests_per_connection: 0,
            max_retries: 3,
            half_close: false,
            routing: None,
            forwarding: ForwardingOptions::default(),
            filter_own_responses: false,
            upgrades: vec!["websocket".to_owned()],
            connect: false,
            tunnel_idle_timeout: seconds(600),
            h2c: true,
            http2: Http2Options::default(),
            pool_size: 1024,
        }
    }
}
