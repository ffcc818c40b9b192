use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use millrace_error::Level;
use millrace_server::{ConnInfo, Reached, Shutdown};
use millrace_transport::Stream;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frames::Frames;
use super::io::Watched;
use super::options::builder;
use super::pings::{Liveness, Pings, after};
use super::request::{content_length, request_head};
use super::shared::Shared;
use super::stream::H2Stream;
use crate::app::Arrival;
use crate::phases::ProxyHttp;
use crate::timer::{Timer, within};
use crate::{HttpProxy, ProxyOptions, Timings};

/// How long saying goodbye may take, once no stream is left.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Serves a connection until it ends. All its streams end with it.
pub(crate) async fn serve_connection<P: ProxyHttp>(
    proxy: &Arc<HttpProxy<P>>,
    stream: Stream,
    input: BytesMut,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) {
    let options = proxy.options.clone();
    let frames = Arc::new(Mutex::new(Frames::new(options.http2.max_control_frames)));
    let io = Watched::new(stream, input, frames.clone());
    let deadline = after(conn.accepted, options.request_header_timeout);
    let mut draining = pin!(shutdown.draining());
    let mut handshake = pin!(builder(&options).handshake::<_, Bytes>(io));
    let handshake = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(h2) => Poll::Ready(h2.ok()),
        Poll::Pending => draining.as_mut().poll(cx).map(|()| None),
    });
    let Some(Some(mut h2)) = within(deadline, handshake).await else { return };
    let mut connection = H2Connection {
        proxy: proxy.clone(),
        info: Arc::new(conn.clone()),
        shared: Shared::new(&options.http2),
        pings: h2.ping_pong().map(Pings::new),
        options,
        frames,
        streams: JoinSet::new(),
        requests: 0,
        idle_since: Instant::now(),
        closing: None,
        is_final: false,
        timer: Timer::default(),
    };
    poll_fn(|cx| connection.poll(cx, &mut h2, draining.as_mut())).await;
    connection.shared.close();
    // What is left of the streams finds out that the connection is gone, and is logged.
    drop(h2);
    while connection.streams.join_next().await.is_some() {}
}

/// What a connection is beside its `h2`.
struct H2Connection<P: ProxyHttp> {
    proxy: Arc<HttpProxy<P>>,
    options: Arc<ProxyOptions>,
    info: Arc<ConnInfo>,
    shared: Arc<Shared>,
    frames: Arc<Mutex<Frames>>,
    pings: Option<Pings>,
    streams: JoinSet<()>,
    /// Requests accepted so far.
    requests: u32,
    idle_since: Instant,
    /// Set once no more requests are taken: when the connection is cut, if it is final.
    closing: Option<Instant>,
    /// The connection ends now, whatever is open.
    is_final: bool,
    timer: Timer,
}

type Server = Connection<Watched, Bytes>;

impl<P: ProxyHttp> H2Connection<P> {
    /// Ready when the connection has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        h2: &mut Server,
        draining: Pin<&mut Reached>,
    ) -> Poll<()> {
        self.frames.lock().in_this_poll = 0;
        if self.closing.is_none() && !self.is_final && draining.poll(cx).is_ready() {
            self.go_away(h2);
        }
        loop {
            while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
                if ended.is_err_and(|error| error.is_panic()) {
                    let ConnInfo { id, remote, .. } = &*self.info;
                    let line = format!("connection {id} from {remote}: a request panicked");
                    self.proxy.log.log(Level::Error, &line);
                }
                self.idle_since = Instant::now();
            }
            // A stream that the client has reset makes room at once for `h2`, but its task has yet
            // to end: without this there could be any number of them.
            let room =
                self.streams.len() < self.options.http2.max_concurrent_streams.max(1) as usize;
            let accepted = match room {
                true => h2.poll_accept(cx),
                false => match h2.poll_closed(cx) {
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                },
            };
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(h2, request, respond),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending if self.check(cx, h2) => {}
                Poll::Pending => {
                    let deadline = self.deadline(h2);
                    match self.timer.poll(cx, deadline) {
                        Poll::Ready(()) if !self.is_final => {}
                        ended => return ended,
                    }
                }
            }
        }
    }

    /// Looks at all that may end the connection; whether `h2` has something to do because of it.
    fn check(&mut self, cx: &mut Context<'_>, h2: &mut Server) -> bool {
        if self.is_final {
            return false;
        }
        let (is_broken, is_flooded, head_since, has_settings) = {
            let frames = self.frames.lock();
            (frames.is_broken, frames.is_flooded, frames.block_since, frames.has_settings)
        };
        let now = Instant::now();
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let header_timeout = self.options.request_header_timeout;
        if is_broken {
            return self.end(h2, Reason::PROTOCOL_ERROR);
        }
        if is_flooded || self.shared.is_abused(cx.waker()) {
            return self.end(h2, Reason::ENHANCE_YOUR_CALM);
        }
        if passed(head_since.and_then(|since| after(since, header_timeout))) {
            return self.end(h2, Reason::ENHANCE_YOUR_CALM);
        }
        if !has_settings && passed(after(self.info.accepted, header_timeout)) {
            return self.end(h2, Reason::SETTINGS_TIMEOUT);
        }
        let is_idle = self.is_idle(h2);
        let is_over = self.closing.is_some()
            || passed(after(self.idle_since, self.options.keep_alive_timeout));
        if is_idle && is_over {
            self.frames.lock().closes_at_once = true;
            return self.end(h2, Reason::NO_ERROR);
        }
        let last_read = self.frames.lock().last_read;
        match self.pings.as_mut().map(|pings| pings.poll(cx, &self.options, last_read, now)) {
            Some(Liveness::Sent) => true,
            Some(Liveness::Dead) => {
                self.frames.lock().closes_at_once = true;
                self.end(h2, Reason::NO_ERROR)
            }
            _ => false,
        }
    }

    fn is_idle(&self, h2: &Server) -> bool {
        self.streams.is_empty() && !h2.has_streams()
    }

    /// When to look again, if nothing happens.
    fn deadline(&self, h2: &Server) -> Option<Instant> {
        let options = &self.options;
        if self.is_final {
            return self.closing;
        }
        let (head_since, has_settings, last_read) = {
            let frames = self.frames.lock();
            (frames.block_since, frames.has_settings, frames.last_read)
        };
        let head = head_since.and_then(|since| after(since, options.request_header_timeout));
        let settings = (!has_settings)
            .then(|| after(self.info.accepted, options.request_header_timeout))
            .flatten();
        let idle =
            self.is_idle(h2).then(|| after(self.idle_since, options.keep_alive_timeout)).flatten();
        let ping = self.pings.as_ref().and_then(|pings| pings.deadline(options, last_read));
        [head, settings, idle, ping].into_iter().flatten().min()
    }

    /// Takes no more requests; those that are served go on.
    fn go_away(&mut self, h2: &mut Server) {
        self.shared.close();
        self.closing = after(Instant::now(), Some(CLOSE_TIME));
        if !self.is_idle(h2) {
            h2.graceful_shutdown();
        }
    }

    /// Ends the connection and all its streams.
    fn end(&mut self, h2: &mut Server, reason: Reason) -> bool {
        self.shared.close();
        self.is_final = true;
        self.closing = after(Instant::now(), Some(CLOSE_TIME));
        h2.abrupt_shutdown(reason);
        true
    }

    /// A request has come.
    fn begin(
        &mut self,
        h2: &mut Server,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let limit = self.options.max_requests_per_connection;
        if self.is_final || (limit > 0 && self.requests >= limit) {
            // Safe for the client to send elsewhere (RFC 9113 §8.7).
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.requests = self.requests.saturating_add(1);
        if self.requests == limit {
            self.go_away(h2);
        }
        let timings = Timings::start();
        let (parts, body) = request.into_parts();
        let (request, checked) = request_head(&parts, &self.options.limits, self.options.connect);
        let length = checked.and_then(|()| content_length(&request));
        let refused = match (&length, self.options.max_request_body) {
            (Ok(Some(length)), Some(limit)) if *length > limit => Some(crate::h1::too_large(limit)),
            _ => None,
        };
        let (length, refused) = match length {
            Ok(length) => (length, refused),
            Err(error) => (None, Some(error)),
        };
        let (options, shared) = (self.options.clone(), self.shared.clone());
        let mut stream = H2Stream::new(options, shared, &request, length, body, respond);
        let (proxy, conn, requests) = (self.proxy.clone(), self.info.clone(), self.requests);
        self.streams.spawn(async move {
            let arrival = Arrival { request, timings, conn, requests, refused };
            proxy.serve(&mut stream, arrival).await;
            stream.close().await;
        });
    }
}
