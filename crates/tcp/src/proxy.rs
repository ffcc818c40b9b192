use std::sync::Arc;

use millrace_connectors::{Connector, ConnectorOptions, Peer};
use millrace_error::{Level, Log};
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::time::Instant;

use crate::relay::{Broken, Moved, relay};
use crate::{TcpOptions, Traffic};

/// Passes the bytes of each connection on to a peer, on a connection of its own, until both sides
/// have ended theirs. Of the peer's options those of connecting, the PROXY protocol, TLS and its own
/// keep-alive hold; what is said of HTTP does not come into it. Where there is no connection to the peer, or one of the
/// two fails, the other is reset.
pub struct TcpProxy {
    peer: Arc<Peer>,
    options: TcpOptions,
    connector: Connector,
    traffic: Traffic,
    log: Arc<dyn Log>,
}

impl TcpProxy {
    /// A proxy to this peer, for a service of `runtimes` runtimes.
    pub fn new(peer: Arc<Peer>, options: TcpOptions, runtimes: usize, log: Arc<dyn Log>) -> Self {
        let connector = ConnectorOptions { pool_size: 0, shards: runtimes, ..Default::default() };
        let connector = Connector::new(connector);
        TcpProxy { peer, options, connector, traffic: Traffic::default(), log }
    }

    /// The connections to the peer: their numbers can be read here.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// What went through so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl ServerApp for TcpProxy {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        conn: &ConnInfo,
        _shutdown: &Shutdown,
    ) -> Option<Stream> {
        let start = Instant::now();
        let _ = stream.set_nodelay(true);
        let told = self.peer.for_client(conn.id, &conn.remote, &conn.local);
        let peer = told.as_ref().unwrap_or(&self.peer);
        // Boxed: a connection that is relayed does not carry what it took to make it.
        let connection = match Box::pin(self.connector.open(conn.runtime, peer)).await {
            Ok(connection) => connection,
            Err(error) => {
                let _ = stream.reset_on_drop();
                let (id, client) = (conn.id.to_string(), conn.remote.to_string());
                let fields = [
                    ("connection", id.as_str().into()),
                    ("client", client.as_str().into()),
                    ("code", error.code().as_str().into()),
                    ("source", error.source().as_str().into()),
                ];
                self.log.log_with(Level::Warn, &format!("{client}: {error}"), &fields);
                return None;
            }
        };
        let to = connection.remote.to_string();
        let (peer, _open) = connection.into_parts();
        let mut line =
            Line { log: &*self.log, conn, start, to, moved: Moved::default(), end: None };
        let idle = self.options.idle_timeout;
        let end = relay(stream, peer, idle, &self.traffic, &mut line.moved).await;
        line.end = Some(end);
        None
    }
}

/// What the log says of a connection when it is over, in whatever way.
struct Line<'a> {
    log: &'a dyn Log,
    conn: &'a ConnInfo,
    start: Instant,
    to: String,
    moved: Moved,
    /// None: the server has cut it off.
    end: Option<Result<(), Broken>>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let (level, end) = match &self.end {
            Some(Ok(())) => (Level::Info, String::new()),
            Some(Err(Broken::Client(error))) => {
                (Level::Info, format!(": the client failed: {error}"))
            }
            Some(Err(Broken::Peer(error))) => (Level::Warn, format!(": the peer failed: {error}")),
            Some(Err(Broken::Idle)) => (Level::Info, ": idle for too long".to_owned()),
            None => (Level::Info, ": cut off, as the server closed".to_owned()),
        };
        if self.log.enabled(level) {
            let (ms, remote) = (self.start.elapsed().as_millis(), &self.conn.remote);
            let (Moved { received, sent }, to) = (&self.moved, &self.to);
            let line =
                format!("{remote} to {to}: {received} B received, {sent} B sent, {ms} ms{end}");
            let (id, client) = (self.conn.id.to_string(), remote.to_string());
            let fields = [("connection", id.as_str().into()), ("client", client.as_str().into())];
            self.log.log_with(level, &line, &fields);
        }
    }
}
