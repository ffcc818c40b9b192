use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use millrace_error::{Code, Error};
use millrace_message::RequestHead;
use millrace_server::{ConnInfo, Reached, Shutdown};
use millrace_transport::Stream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frames::Frames;
use super::io::Watched;
use super::opened::Why;
use super::options::builder;
use super::pings::{Pings, after};
use super::refused;
use super::request::{content_length, head_size, request_head};
use super::shared::Shared;
use super::stream::H2Stream;
use crate::app::Arrival;
use crate::h1::LAST_CHANCE;
use crate::timer::{Timer, within};
use crate::{ClientConnection, HttpServerApp, HttpServing, ProxyOptions, Timings};

/// How long saying goodbye may take, once no stream is left.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// How long a client without a stream has for the answer to our goodbye, behind which no request of
/// its can be.
const IDLE_CLOSE_TIME: Duration = Duration::from_millis(500);

/// Serves a connection until it ends. All its streams end with it.
pub(crate) async fn serve_connection<A: HttpServerApp>(
    app: &Arc<A>,
    stream: Stream,
    input: BytesMut,
    conn: &ConnInfo,
    shutdown: &Shutdown,
) {
    let HttpServing { options, unread, .. } = app.serving().clone();
    let frames = Frames::new(options.http2.max_control_frames, unread);
    let shared = Shared::new(&options.http2, frames);
    let io = Watched::new(stream, input, shared.clone(), options.clone());
    let deadline = after(conn.accepted, options.request_header_timeout);
    let mut draining = pin!(shutdown.draining());
    let mut handshake = pin!(builder(&options).handshake::<_, Bytes>(io));
    let mut timer = Timer::default();
    let handshake = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(h2) => Poll::Ready(Some(h2)),
        Poll::Pending if draining.as_mut().poll(cx).is_ready() => {
            let last_chance = Some(conn.accepted + LAST_CHANCE);
            match shutdown.is_cut() || timer.poll(cx, last_chance).is_ready() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        }
        Poll::Pending => Poll::Pending,
    });
    let mut h2 = match within(deadline, handshake).await.flatten() {
        Some(Ok(h2)) => h2,
        Some(Err(error)) => {
            return log_fault(
                &**app,
                &Arc::new(ClientConnection::new(conn, &options.forwarding)),
                0,
                refused::fault(error),
            );
        }
        None => return,
    };
    let mut connection = H2Connection {
        app: app.clone(),
        info: Arc::new(ClientConnection::new(conn, &options.forwarding).until(shutdown)),
        shared,
        pings: h2.ping_pong().map(Pings::new),
        options,
        streams: JoinSet::new(),
        requests: 0,
        idle_since: Instant::now(),
        closing: None,
        shutdown: shutdown.clone(),
        is_final: false,
        fault: Fault::default(),
        timer: Timer::default(),
    };
    poll_fn(|cx| connection.poll(cx, &mut h2, draining.as_mut())).await;
    connection.shared.close();
    // What is left of the streams finds out that the connection is gone, and is logged.
    drop(h2);
    while connection.streams.join_next().await.is_some() {}
    let H2Connection { info, requests, fault, .. } = connection;
    log_fault(&**app, &info, requests, fault.error);
}

/// Logs that a connection has ended for a fault of its client's, as a request of which nothing is
/// known.
fn log_fault<A: HttpServerApp>(
    app: &A,
    conn: &Arc<ClientConnection>,
    requests: u32,
    fault: Option<Error>,
) {
    if let Some(error) = fault {
        app.process_refused(Arrival::refused(refused::unknown(), conn.clone(), requests, error), 0);
    }
}

/// What a connection is beside its `h2`.
pub(super) struct H2Connection<A: HttpServerApp> {
    app: Arc<A>,
    pub(super) options: Arc<ProxyOptions>,
    pub(super) info: Arc<ClientConnection>,
    pub(super) shared: Arc<Shared>,
    pub(super) pings: Option<Pings>,
    pub(super) streams: JoinSet<()>,
    /// Requests accepted so far.
    requests: u32,
    pub(super) idle_since: Instant,
    /// Set once no more requests are taken: when the connection is cut, if it is final or idle.
    pub(super) closing: Option<Instant>,
    pub(super) shutdown: Shutdown,
    /// The connection ends now, whatever is open.
    pub(super) is_final: bool,
    fault: Fault,
    timer: Timer,
}

/// A fault of the client's that has ended the connection.
#[derive(Default)]
struct Fault {
    is_logged: bool,
    /// It is to be logged at the end.
    error: Option<Error>,
}

pub(super) type Server = Connection<Watched, Bytes>;

impl<A: HttpServerApp> H2Connection<A> {
    /// Ready when the connection has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        h2: &mut Server,
        draining: Pin<&mut Reached>,
    ) -> Poll<()> {
        self.shared.frames.lock().in_this_poll = 0;
        if self.closing.is_none() && !self.is_final && draining.poll(cx).is_ready() {
            self.go_away(h2);
        }
        if self.shutdown.is_cut() && !self.is_final && !self.is_idle(h2) {
            // There is one poll left. Without a fault a client might take what it has for the whole.
            self.shared.cut();
            self.end(h2, Reason::INTERNAL_ERROR);
        }
        loop {
            while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
                if let Some(payload) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                    self.info.report_panic(payload, &*self.app.serving().log);
                }
                self.idle_since = Instant::now();
            }
            if self.shared.was_abused() {
                // Before it is given any more.
                self.check(cx, h2);
            }
            // A stream that the client has reset makes room at once for `h2`, but its task has yet
            // to end: without this there could be any number of them.
            let room =
                self.streams.len() < self.options.http2.max_concurrent_streams.max(1) as usize;
            let accepted = match room {
                true => h2.poll_accept(cx),
                false => h2.poll_closed(cx).map(|ended| ended.err().map(Err)),
            };
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(h2, request, respond),
                Poll::Ready(ended) => {
                    self.ended(ended.and_then(Result::err));
                    return Poll::Ready(());
                }
                Poll::Pending if self.log_seen(room) => {}
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

    /// The connection has ended.
    fn ended(&mut self, error: Option<h2::Error>) {
        let (in_block, endless) = {
            let mut frames = self.shared.frames.lock();
            (frames.block_since.is_some(), frames.endless_head(self.options.limits.max_bytes))
        };
        let left = || Error::new(Code::ClientAborted, "the client left in mid-head");
        let fault = error.and_then(refused::fault);
        let fault = fault.map(|fault| endless.map_or(fault, |_| refused::error(Why::TooLarge)));
        if !self.is_final && !self.fault.is_logged {
            self.fault.error = fault.or_else(|| in_block.then(left));
        }
    }

    /// Logs what `h2` was seen to do; whether there was anything. `room`: all requests that were to
    /// be handed out are, so that the others were refused.
    fn log_seen(&mut self, room: bool) -> bool {
        let (goaway, endless, refused) = {
            let mut frames = self.shared.frames.lock();
            let refused = if room { frames.take_refused() } else { Vec::new() };
            let goaway = frames.goaway.take();
            let endless = goaway.and_then(|_| frames.endless_head(self.options.limits.max_bytes));
            (goaway, endless, refused)
        };
        let mut any = !refused.is_empty();
        if let Some(code) = goaway.filter(|_| !self.is_final && !self.fault.is_logged) {
            any = true;
            match endless {
                None => self.log_fault(refused::broken(code)),
                Some(asked) => {
                    self.requests = self.requests.saturating_add(1);
                    self.fault.is_logged = true;
                    let error = refused::error(Why::TooLarge);
                    self.log(refused::head(&asked), asked.bytes, error);
                }
            }
        }
        for (asked, why) in refused {
            self.requests = self.requests.saturating_add(1);
            let error = refused::error(why);
            // A client may well open more streams than it knew that it may.
            if error.code() != Code::Overloaded {
                self.shared.count_reset();
            }
            self.log(refused::head(&asked), asked.bytes, error);
        }
        any
    }

    /// Takes no more requests but those that are on their way; those that are served go on.
    fn go_away(&mut self, h2: &mut Server) {
        self.shared.close();
        self.closing = after(Instant::now(), Some(IDLE_CLOSE_TIME));
        self.shared.frames.lock().closes_at_once = self.is_idle(h2);
        h2.graceful_shutdown();
    }

    /// Ends the connection and all its streams.
    pub(super) fn end(&mut self, h2: &mut Server, reason: Reason) -> bool {
        self.shared.close();
        self.is_final = true;
        self.closing = after(Instant::now(), Some(CLOSE_TIME));
        h2.abrupt_shutdown(reason);
        true
    }

    /// Resets a stream that is safe for the client to send elsewhere (RFC 9113 §8.7).
    fn refuse(&self, id: u32, mut respond: SendResponse<Bytes>) {
        respond.send_reset(Reason::REFUSED_STREAM);
        self.shared.frames.lock().dismiss(id);
    }

    /// Logs a request that is not served, of which so many bytes have come.
    fn log(&self, request: RequestHead, received: u64, error: Error) {
        let arrival = Arrival::refused(request, self.info.clone(), self.requests, error);
        let log = || self.app.process_refused(arrival, received);
        // The other streams have nothing to do with a phase that panics here.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(log)) {
            self.info.report_panic(payload, &*self.app.serving().log);
        }
    }

    /// Logs a fault that ends the connection.
    pub(super) fn log_fault(&mut self, error: Error) {
        self.fault.is_logged = true;
        self.log(refused::unknown(), 0, error);
    }

    /// A request has come.
    fn begin(
        &mut self,
        h2: &mut Server,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) {
        let id = respond.stream_id().as_u32();
        let limit = self.options.max_requests_per_connection;
        if self.is_final || (limit > 0 && self.requests >= limit) {
            return self.refuse(id, respond);
        }
        self.requests = self.requests.saturating_add(1);
        if self.closing.is_some() {
            self.shared.frames.lock().closes_at_once = false;
        }
        if self.requests == limit {
            self.go_away(h2);
        }
        let timings = Timings::start();
        let (parts, body) = request.into_parts();
        let (request, checked) = request_head(&parts, &self.options.limits, self.options.connect);
        let accepted = self.shared.frames.lock().accept(id, head_size(&request));
        if accepted.is_too_much {
            let error = Error::new(Code::Overloaded, "the client's connection holds too much");
            self.log(request, 0, error);
            return self.refuse(id, respond);
        }
        let checked = match accepted.wrong {
            Some(why) => checked.and(Err(Error::new(Code::BadRequest, why))),
            None => checked,
        };
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
        let (app, conn, requests) = (self.app.clone(), self.info.clone(), self.requests);
        // Boxed, as a task moves what it is given several times, up to and after its end.
        self.streams.spawn(Box::pin(async move {
            let arrival = Arrival { request, timings, conn, requests, refused };
            app.process_request(&mut stream, arrival).await;
            stream.close().await;
        }));
    }
}
