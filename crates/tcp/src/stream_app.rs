use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millrace_error::{Code, Level, Log};
use millrace_server::{ConnInfo, OnceASecond, Reached, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::handle::{Closing, Over};
use crate::idle::Idle;
use crate::{StreamHandle, TcpOptions, Traffic};

/// What is read at once: little at first, and more where that is filled.
const FIRST_PIECE: usize = 4 * 1024;
const MOST_PIECE: usize = 64 * 1024;

/// How long a client may take nothing of what is left for it once its connection is closed.
const LINGER: Duration = Duration::from_secs(30);

/// How long a closed connection of which all has been written is still read, at most and without a byte:
/// closing with bytes unread makes the system send a reset, which can destroy what is on its way.
const LINGER_QUIET: Duration = Duration::from_secs(2);
/// The same while the server drains.
const LAST_LINGER: Duration = Duration::from_millis(250);

const DESTROYED: &str = "the connection was destroyed";

/// A program that is given connections.
pub trait StreamApp: Send + Sync + 'static {
    /// A connection is there. The handle goes wherever the program likes; false refuses it, which
    /// resets it, is counted as a refusal and is a line in the log, one each second at most. Must not block.
    fn accept(&self, conn: &ConnInfo, handle: StreamHandle) -> bool;

    /// Called on each runtime before it accepts.
    fn on_runtime_start(&self, runtime: usize) {
        let _ = runtime;
    }
}

/// Runs a [`StreamApp`] as a service.
pub struct StreamServer<A> {
    app: A,
    options: TcpOptions,
    traffic: Traffic,
    log: Arc<dyn Log>,
    refusals: OnceASecond,
}

impl<A: StreamApp> StreamServer<A> {
    /// One for this app.
    pub fn new(app: A, options: TcpOptions, log: Arc<dyn Log>) -> Self {
        StreamServer {
            app,
            options,
            traffic: Traffic::default(),
            log,
            refusals: OnceASecond::default(),
        }
    }

    /// The app.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// What went through so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Logs a warning, at most one each second, as other limits do.
    fn tell_refusal(&self, conn: &ConnInfo) {
        if !self.refusals.is_due() {
            return;
        }
        let (id, client) = (conn.id.to_string(), conn.remote.to_string());
        let line = format!("{client} was refused: too many connections wait for the app");
        let fields = [("connection", id.as_str().into()), ("client", client.as_str().into())];
        self.log.log_with(Level::Warn, &line, &fields);
    }
}

impl<A: StreamApp> ServerApp for StreamServer<A> {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let _ = stream.set_nodelay(true);
        let handle = StreamHandle::default();
        if !self.app.accept(conn, handle.clone()) {
            let _ = stream.reset_on_drop();
            conn.counters.count_refusal();
            self.tell_refusal(conn);
            return None;
        }
        let mut draining = pin!(shutdown.draining());
        let mut connection = Driven {
            stream,
            handle,
            writing: Bytes::new(),
            input: BytesMut::new(),
            size: FIRST_PIECE,
            read_ended: false,
            shut: false,
            is_closing: false,
            idle: Idle::new(self.options.idle_timeout),
            traffic: &self.traffic,
            is_over: false,
        };
        let end = poll_fn(|cx| connection.poll(cx, draining.as_mut())).await;
        let lingers = matches!(end, End::Closed) && !connection.read_ended;
        connection.finish(end);
        if lingers {
            let patience = async {
                shutdown.draining().await;
                sleep(LAST_LINGER).await;
            };
            tokio::select! {
                () = connection.linger() => {}
                () = sleep(LINGER) => {}
                () = patience => {}
            }
        }
        None
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        self.app.on_runtime_start(runtime);
    }
}

/// How a connection ended.
enum End {
    /// Both sides have ended theirs.
    Whole,
    Closed,
    Aborted,
    Failed(Over),
}

/// A connection with what its program wants of it.
struct Driven<'a> {
    stream: Stream,
    handle: StreamHandle,
    /// What is on its way.
    writing: Bytes,
    input: BytesMut,
    size: usize,
    read_ended: bool,
    shut: bool,
    /// Only what was written is still to go out.
    is_closing: bool,
    idle: Idle,
    traffic: &'a Traffic,
    is_over: bool,
}

impl Driven<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, draining: Pin<&mut Reached>) -> Poll<End> {
        {
            let mut asked = self.handle.0.lock();
            match asked.closing {
                Some(Closing::Reset) => return Poll::Ready(End::Aborted),
                Some(Closing::Plain) if !self.is_closing => {
                    self.is_closing = true;
                    self.idle.shorten(LINGER);
                }
                _ => {}
            }
            // With the lock held: who asks from now on finds it.
            match &mut asked.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => asked.waker = Some(cx.waker().clone()),
            }
        }
        if draining.poll(cx).is_ready() {
            let then = self.handle.0.lock().draining.take();
            if let Some(then) = then {
                then(true);
            }
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(failed(&error));
        }
        if self.is_closing && self.shut {
            return Poll::Ready(End::Closed);
        }
        let read = if self.is_closing { self.poll_discard(cx) } else { self.poll_read(cx) };
        if let Poll::Ready(Err(error)) = read {
            return Poll::Ready(failed(&error));
        }
        if self.read_ended && self.shut {
            return Poll::Ready(End::Whole);
        }
        self.idle.poll(cx).map(|()| {
            let message = "nothing came through the connection for too long".to_owned();
            End::Failed(Over { code: Code::ReadTimeout, message })
        })
    }

    /// Writes what is to be written, and then the end. Ready where that has failed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // For who asks for room that is there.
        self.gone_out(0);
        loop {
            if self.writing.is_empty() {
                self.writing = self.handle.0.lock().output.split().freeze();
            }
            if self.writing.is_empty() {
                break;
            }
            while !self.writing.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.writing))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                let _ = self.writing.split_to(written);
                self.traffic.add_sent(written);
                self.idle.touch();
                self.gone_out(written);
            }
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        }
        let ends = self.is_closing || self.handle.0.lock().end.is_some();
        if !self.shut && ends {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        if self.shut {
            let then = self.handle.0.lock().end.take();
            if let Some(then) = then {
                then(Ok(()));
            }
        }
        Poll::Pending
    }

    /// That many bytes are no longer held; who waits for room may go on.
    fn gone_out(&self, length: usize) {
        let then = {
            let mut asked = self.handle.0.lock();
            asked.held -= length;
            if asked.has_room() { asked.room.take() } else { None }
        };
        if let Some(then) = then {
            then(Ok(()));
        }
    }

    /// Reads as long as that is asked for. Ready where it has failed.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.handle.0.lock().read.is_none() {
                return Poll::Pending;
            }
            let piece = match self.read_ended {
                true => None,
                false => ready!(self.poll_piece(cx))?,
            };
            match &piece {
                Some(piece) => {
                    self.traffic.add_received(piece.len());
                    self.idle.touch();
                }
                None => self.read_ended = true,
            }
            let then = self.handle.0.lock().read.take();
            if let Some(then) = then {
                then(Ok(piece));
            }
        }
    }

    /// Reads what nobody wants any more, so that the client gets to reading. Ready at its end, or where that
    /// has failed.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.read_ended {
            match ready!(self.poll_piece(cx))? {
                Some(piece) => self.traffic.add_received(piece.len()),
                None => self.read_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on until the client has ended its side, or rests.
    async fn linger(&mut self) {
        loop {
            let next = poll_fn(|cx| self.poll_piece(cx));
            if !matches!(timeout(LINGER_QUIET, next).await, Ok(Ok(Some(_)))) {
                return;
            }
        }
    }

    /// The next bytes; none at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.input.resize(self.size, 0);
        let mut buffer = ReadBuf::new(&mut self.input);
        let filled = match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => buffer.filled().len(),
            other => {
                // A connection that rests holds nothing.
                self.input = BytesMut::new();
                return other.map_ok(|()| None);
            }
        };
        if filled == self.size {
            self.size = (self.size * 2).min(MOST_PIECE);
        }
        let piece = self.input.split_to(filled).freeze();
        Poll::Ready(Ok((filled > 0).then_some(piece)))
    }

    fn finish(&mut self, end: End) {
        self.is_over = true;
        let over = match end {
            End::Whole => return self.tell(Over::as_wanted("the connection has ended")),
            End::Closed => return self.tell(Over::as_wanted(DESTROYED)),
            End::Aborted => Over::as_wanted(DESTROYED),
            End::Failed(over) => over,
        };
        let _ = self.stream.reset_on_drop();
        self.tell(over);
    }

    fn tell(&mut self, over: Over) {
        self.handle.close(over);
    }
}

/// A server that stops leaves nobody waiting, and no stream that seems whole.
impl Drop for Driven<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.stream.reset_on_drop();
            let message = "the server stopped".to_owned();
            self.tell(Over { code: Code::ServerClosed, message });
        }
    }
}

fn failed(error: &io::Error) -> End {
    End::Failed(Over { code: Code::ClientAborted, message: format!("the client left: {error}") })
}
