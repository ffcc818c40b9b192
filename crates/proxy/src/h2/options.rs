use std::time::Duration;

use h2::server::Builder;

use crate::ProxyOptions;

/// What can be set on HTTP/2 towards clients. The time-outs and limits that are not here are those
/// of every version: see [`crate::ProxyOptions`].
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// Streams that a client may have open at once, on one connection. Default: 100.
    pub max_concurrent_streams: u32,
    /// How many bytes of a request's body a client may send ahead of its origin. The window of the
    /// connection is this times `max_concurrent_streams`, so that streams that stall never stop
    /// the others; what all connections together may take of memory is `max_unread_bytes`.
    /// Default: 256 KiB.
    pub initial_stream_window: u32,
    /// The largest frame that is taken, 16 KiB to 16 MiB. Default: 16 KiB.
    pub max_frame_size: u32,
    /// Bytes of a response that wait for the socket, on each stream. Default: 64 KiB.
    pub max_send_buffer: usize,
    /// How long a connection may be silent before it is asked for a sign of life. Default: 30 s.
    pub ping_interval: Option<Duration>,
    /// How long the answer to that may take before the connection is closed. Default: 20 s.
    pub ping_timeout: Duration,
    /// Streams reset by us whose late frames are still known as such. Default: 50.
    pub max_concurrent_reset_streams: usize,
    /// Streams that a client may reset before they were looked at. Default: 20.
    pub max_pending_accept_reset_streams: usize,
    /// Streams that had to be reset for the client's faults, in a connection's life. Default: 1,024.
    pub max_local_error_reset_streams: usize,
    /// Resets by the client that are taken at once; each second allows for `resets_per_second`
    /// more. A client beyond that is sent away with ENHANCE_YOUR_CALM. Default: 200.
    pub max_resets: u32,
    /// See `max_resets`. Default: 33.
    pub resets_per_second: u32,
    /// Frames that carry nothing (PING, SETTINGS, PRIORITY and the like) that are taken at once.
    /// Each second allows for a tenth of that more, and each KiB of data, either way, for one.
    /// WINDOW_UPDATE frames are counted apart, and each KiB sent allows for eight. Default: 10,000.
    pub max_control_frames: u32,
    /// Bytes of requests that are held for all clients of a service together: those of bodies that
    /// were received and not yet passed on, and those of heads while their request is served. While
    /// there are more, connections that hold more than an equal share of it, and more than 16 KiB,
    /// are not read from, and new requests on them are refused with REFUSED_STREAM. While there is
    /// twice as much, all that hold more than 16 KiB wait. So it is at most twice this, and one
    /// head and one frame for each connection. A connection that is not read from, and of which
    /// nothing is passed on, is closed as one that answers no ping. Default: 256 MiB.
    pub max_unread_bytes: u64,
}

impl Default for Http2Options {
    fn default() -> Self {
        Http2Options {
            max_concurrent_streams: 100,
            initial_stream_window: 256 * 1024,
            max_frame_size: 16 * 1024,
            max_send_buffer: 64 * 1024,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            max_concurrent_reset_streams: 50,
            max_pending_accept_reset_streams: 20,
            max_local_error_reset_streams: 1024,
            max_resets: 200,
            resets_per_second: 33,
            max_control_frames: 10_000,
            max_unread_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What `h2` is told of all options; those out of its bounds are brought within them.
pub(super) fn builder(options: &ProxyOptions) -> Builder {
    const MAX_WINDOW: u32 = (1 << 31) - 1;
    let http2 = &options.http2;
    let streams = http2.max_concurrent_streams.max(1);
    let window = http2.initial_stream_window.min(MAX_WINDOW);
    // `h2` counts 32 bytes more for each field (RFC 9113 §6.5.2). What it lets through is measured
    // again by the rule of all versions; what it does not, it answers with 431 itself.
    let list =
        options.limits.max_bytes.saturating_add(options.limits.max_fields.saturating_mul(40));
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams)
        .initial_window_size(window)
        .initial_connection_window_size(window.saturating_mul(streams).clamp(65_535, MAX_WINDOW))
        .max_frame_size(http2.max_frame_size.clamp(1 << 14, (1 << 24) - 1))
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(http2.max_send_buffer.clamp(1, MAX_WINDOW as usize))
        .max_concurrent_reset_streams(http2.max_concurrent_reset_streams)
        .max_pending_accept_reset_streams(http2.max_pending_accept_reset_streams)
        .max_local_error_reset_streams(Some(http2.max_local_error_reset_streams));
    builder
}
