use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use millrace_tls::ServerTls;
use millrace_transport::{Address, Keepalive, Stream};
use socket2::{SockAddr, SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Admission;
use crate::backoff::Backoff;

#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// A connection as it comes from a stack.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, before any handshake.
    pub stream: Stream,
    /// How the handshake is to be done, if there is to be one. Not done here: one client could
    /// hold up all others.
    pub tls: Option<ServerTls>,
    /// Whose connections are taken. Not asked here, for the same reason; none: everybody's.
    pub admission: Option<Arc<Admission>>,
    /// The address the client asked for.
    pub local: Address,
    /// The client's address.
    pub remote: Address,
}

type OnFailure = Box<dyn Fn(&io::Error) + Send + Sync>;

/// Accepts the connections of one endpoint on one runtime.
pub struct TransportStack {
    listener: Listener,
    address: Address,
    keepalive: Option<Keepalive>,
    tls: Option<ServerTls>,
    admission: Option<Arc<Admission>>,
    backoff: Backoff,
    on_failure: Option<OnFailure>,
    is_shared: Arc<AtomicBool>,
    hold: Option<watch::Receiver<bool>>,
}

impl TransportStack {
    pub(crate) fn new(listener: Listener, address: Address, keepalive: Option<Keepalive>) -> Self {
        let backoff = Backoff::default();
        let (tls, admission, on_failure) = (None, None, None);
        let is_shared = Arc::default();
        TransportStack {
            listener,
            address,
            keepalive,
            tls,
            admission,
            backoff,
            on_failure,
            is_shared,
            hold: None,
        }
    }

    pub(crate) fn shared(
        self,
        is_shared: Arc<AtomicBool>,
        hold: Option<watch::Receiver<bool>>,
    ) -> Self {
        TransportStack { is_shared, hold, ..self }
    }

    pub(crate) fn with(self, tls: Option<ServerTls>, admission: Option<Arc<Admission>>) -> Self {
        TransportStack { tls, admission, ..self }
    }

    /// The address it listens on.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Has `report` called with each failure that makes accepting wait, a shortage of
    /// descriptors for one. At most some hundred a second, a few once it lasts.
    #[must_use]
    pub fn on_failure(mut self, report: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(report));
        self
    }

    /// The next connection; on a socket that another process hands over, when it has. Failures are
    /// waited out in here and never end it. Dropping the future loses no connection.
    pub async fn accept(&mut self) -> Accepted {
        if let Some(hold) = &mut self.hold {
            // Nobody is left to say so: nobody else is there to accept.
            let _ = hold.wait_for(|may| *may).await;
            self.hold = None;
        }
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => {
                    self.backoff.succeeded();
                    return accepted;
                }
                Err(error) => {
                    let Some(wait) = self.backoff.failed(&error) else { continue };
                    if let Some(report) = &self.on_failure {
                        report(&error);
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// A connection that the system already holds, without waiting for one. Asks the system
    /// itself: the runtime may not have heard of it yet. None of a socket that another process
    /// accepts on.
    pub fn try_accept(&self) -> Option<Accepted> {
        if self.is_shared.load(Ordering::SeqCst) {
            return None;
        }
        match &self.listener {
            Listener::Tcp(listener) => {
                let (socket, remote) = accept_now(SockRef::from(listener))?;
                let stream = TcpStream::from_std(socket.into()).ok()?;
                Some(self.accepted_tcp(stream, remote.as_socket()?))
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (socket, remote) = accept_now(SockRef::from(listener))?;
                let stream = tokio::net::UnixStream::from_std(socket.into()).ok()?;
                Some(self.accepted_unix(stream, remote.as_pathname()))
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(Ok(match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, remote) = ready!(listener.poll_accept(cx))?;
                self.accepted_tcp(stream, remote)
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (stream, remote) = ready!(listener.poll_accept(cx))?;
                self.accepted_unix(stream, remote.as_pathname())
            }
        }))
    }

    fn accepted_tcp(&self, stream: TcpStream, remote: SocketAddr) -> Accepted {
        let stream = Stream::Tcp(stream);
        self.apply_options(&stream);
        let local = self.local_of(&stream);
        self.accepted(stream, local, Address::canonical(remote))
    }

    #[cfg(unix)]
    fn accepted_unix(
        &self,
        stream: tokio::net::UnixStream,
        remote: Option<&std::path::Path>,
    ) -> Accepted {
        let remote = Address::Unix(remote.map(Into::into).unwrap_or_default());
        self.accepted(Stream::Unix(stream), self.address.clone(), remote)
    }

    fn accepted(&self, stream: Stream, local: Address, remote: Address) -> Accepted {
        let (tls, admission) = (self.tls.clone(), self.admission.clone());
        Accepted { stream, tls, admission, local, remote }
    }

    /// Linux has handed on the options of the listening socket. A failure means that the client
    /// has already left, which the first read tells.
    fn apply_options(&self, stream: &Stream) {
        if cfg!(target_os = "linux") {
            return;
        }
        let _ = stream.set_nodelay(true);
        if let Some(keepalive) = &self.keepalive {
            let _ = stream.set_keepalive(keepalive);
        }
    }

    /// Only a wildcard has to ask which address the client chose.
    fn local_of(&self, stream: &Stream) -> Address {
        let asked = |address: SocketAddr| !address.ip().is_unspecified();
        match self.address.socket_addr() {
            Some(address) if asked(address) => Address::canonical(address),
            _ => stream.local_address().unwrap_or_else(|_| self.address.clone()),
        }
    }
}

/// A connection that the system already holds, and who it is from.
fn accept_now(listener: SockRef<'_>) -> Option<(Socket, SockAddr)> {
    let (socket, remote) = listener.accept().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, remote))
}

impl fmt::Debug for TransportStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportStack").field("address", &self.address).finish_non_exhaustive()
    }
}
