use std::sync::Arc;
use std::time::{Duration, SystemTime};

use millrace_connectors::Peer;
use millrace_message::{Method, RequestHead, ResponseHead};
use millrace_routes::Found;
use millrace_transport::Address;
use tokio::time::Instant;

use crate::forwarding::Chain;
use crate::stats::Stage;
use crate::{ClientConnection, InterimSender, RequestBody};

/// What is known of one request. Phases read it; the pipeline alone writes it.
pub struct Exchange {
    /// Unique in this process.
    pub id: u64,
    /// The head as the client sent it; never changed.
    pub request: RequestHead,
    /// Its body, which a phase before the upstream may read.
    pub body: RequestBody,
    /// Who sent it: the other end of the connection, or whom trusted proxies name. Port 0 where they
    /// name none.
    pub client: Address,
    /// What the rules say of it; none where there are none, or it was refused before.
    pub(crate) found: Option<Found>,
    /// What trusted proxies say of its way.
    pub(crate) chain: Option<Box<Chain>>,
    /// The connection it came on.
    pub connection: Arc<ClientConnection>,
    /// How many requests that connection has carried, this one included.
    pub connection_requests: u32,
    /// Where the request was sent, once connected; of the latest try.
    pub upstream: Option<UpstreamInfo>,
    /// The head of the response as it goes to the client, once there is one.
    pub response: Option<ResponseHead>,
    /// Whether that head has gone out: from then on nothing is retried or replaced.
    pub response_started: bool,
    /// How far it has come, for those who count.
    pub(crate) stage: Stage,
    /// How many times an upstream was tried.
    pub attempt: u32,
    /// When things happened.
    pub timings: Timings,
    /// When its time is up, if it has any.
    pub ends: Option<Instant>,
    /// When that of the try under way is, if it has any.
    pub try_ends: Option<Instant>,
    /// Bytes of the request that arrived: head and body as on the wire.
    pub received: u64,
    /// Bytes of the response that were taken by the connection: head and body as on the wire.
    pub sent: u64,
    /// Whether its connection ends with this request.
    pub last_of_connection: bool,
    /// Sends the client interim responses, while the final one has not begun.
    pub interims: InterimSender,
}

impl Exchange {
    /// The number of the route that the request is on, if it is on one: see [`crate::Routing`].
    pub fn route(&self) -> Option<usize> {
        self.found.as_ref().and_then(|found| found.route)
    }

    /// Which filters of its route are for the request, in their order; none where it was refused before
    /// anybody looked.
    pub fn filters(&self) -> Option<&[bool]> {
        self.found.as_ref().map(|found| found.filters.as_slice())
    }

    /// Whether the request asks for a tunnel (CONNECT): nothing of it is sent upstream, and nothing
    /// that comes from there is a response.
    pub fn is_connect(&self) -> bool {
        self.request.method == Method::CONNECT
    }

    /// Method, target and host, as a line of a log may have them.
    pub fn summary(&self) -> String {
        let Exchange { request, .. } = self;
        format!(
            "{} {}, Host: {}",
            clipped(request.method.as_str().as_bytes()),
            clipped(&request.target),
            clipped(request.host().as_bytes()),
        )
    }
}

/// The upstream side of a try.
#[derive(Clone)]
pub struct UpstreamInfo {
    /// Who was chosen.
    pub peer: Arc<Peer>,
    /// The address that was connected to.
    pub address: Address,
    /// Whether the connection had served a request before.
    pub reused: bool,
}

/// When things happened, as lengths of time from the start of the request.
pub struct Timings {
    /// When the first byte of the request was seen.
    pub start: Instant,
    /// The same by the wall clock.
    pub started_at: SystemTime,
    /// How long connecting took; none for a reused connection.
    pub connect: Option<Duration>,
    /// When the head of the response arrived from upstream.
    pub first_byte: Option<Duration>,
    /// When the last byte of the response had gone, or the request had failed.
    pub total: Option<Duration>,
}

impl Timings {
    /// Starts the clock.
    pub fn start() -> Self {
        Timings {
            start: Instant::now(),
            started_at: SystemTime::now(),
            connect: None,
            first_byte: None,
            total: None,
        }
    }
}

/// What a client chose, for a log line: as much of it as helps, and nothing that could break out.
pub(crate) fn clipped(text: &[u8]) -> String {
    const MOST: usize = 512;
    let more = if text.len() > MOST { "..." } else { "" };
    let text = String::from_utf8_lossy(&text[..text.len().min(MOST)]);
    format!("{}{more}", text.escape_default())
}
