use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_connectors::{PeerOptions, PoolStats};
use millrace_error::{Level, Log};
use millrace_listeners::Endpoint;
use millrace_proxy::{HttpProxy, ProxyOptions};
use millrace_server::{
    Counters, ListeningService, RuntimeKind, RuntimeOptions, Server, ServerOptions,
};

use millrace_tls::ServerTls;

use super::phases::peer;
use super::{Logged, PATIENCE, TestPhases, Wire};

/// A log that remembers.
#[derive(Default)]
pub struct Lines(pub Mutex<Vec<String>>);

impl Log for Lines {
    fn log(&self, _level: Level, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// A proxy that runs as the service of a server, on a port of its own.
pub struct Proxy {
    pub server: Arc<Server>,
    pub address: SocketAddr,
    pub app: Arc<HttpProxy<TestPhases>>,
    pub lines: Arc<Lines>,
    pub logs: Receiver<Logged>,
}

impl Proxy {
    pub fn to(origin: SocketAddr) -> Proxy {
        Proxy::new(TestPhases::to(origin), ProxyOptions::default())
    }

    pub fn with_peer(origin: SocketAddr, options: PeerOptions) -> Proxy {
        Proxy::new(TestPhases::with(vec![peer(origin, options)]), ProxyOptions::default())
    }

    pub fn new(phases: TestPhases, options: ProxyOptions) -> Proxy {
        Proxy::threads(phases, options, 1)
    }

    /// With isolated runtimes, if there are several.
    pub fn threads(phases: TestPhases, options: ProxyOptions, threads: usize) -> Proxy {
        Proxy::start(phases, untold(options), threads, Proxy::endpoint())
    }

    /// With TLS towards its clients.
    pub fn secure(phases: TestPhases, options: ProxyOptions, tls: &ServerTls) -> Proxy {
        let endpoint = Endpoint { tls: Some(tls.clone()), ..Proxy::endpoint() };
        Proxy::start(phases, untold(options), 1, endpoint)
    }

    /// Where it listens unless told otherwise.
    pub fn endpoint() -> Endpoint {
        Endpoint::tcp("127.0.0.1:0".parse().unwrap())
    }

    /// With options as they are.
    pub fn start(
        mut phases: TestPhases,
        options: ProxyOptions,
        threads: usize,
        endpoint: Endpoint,
    ) -> Proxy {
        let (log, logs) = channel();
        phases.log = Some(log);
        let lines = Arc::new(Lines::default());
        let app = Arc::new(HttpProxy::new(phases, options, threads, lines.clone()));
        let kind = if threads > 1 { RuntimeKind::Isolated } else { RuntimeKind::Stealing };
        let runtime =
            RuntimeOptions { threads, kind, name: "proxy".into(), ..RuntimeOptions::default() };
        let service = ListeningService::new("proxy", app.clone(), vec![endpoint], runtime);
        let log = lines.clone();
        let server = Arc::new(Server::new(ServerOptions { log, ..ServerOptions::default() }));
        server.add_service(Box::new(service)).unwrap();
        let address = server.start().unwrap()[0][0].socket_addr().unwrap();
        Proxy { server, address, app, lines, logs }
    }

    pub fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// What `logging` is told next.
    #[track_caller]
    pub fn logged(&self) -> Logged {
        self.logs.recv_timeout(PATIENCE).unwrap()
    }

    /// Cuts everything off. What was logged and not looked at.
    pub fn close(self) -> Vec<Logged> {
        self.server.close(Duration::ZERO);
        self.logs.try_iter().collect()
    }

    pub fn pool(&self) -> PoolStats {
        self.app.connector().stats()
    }

    pub fn counters(&self) -> Arc<Counters> {
        self.server.counters().remove(0).1
    }
}

/// Without X-Forwarded-*: what is looked at is what the client sent, and that alone.
pub fn untold(mut options: ProxyOptions) -> ProxyOptions {
    options.forwarding.x_forwarded = false;
    options
}
