//! A client, the proxy and an origin in every pair of versions, in the clear and over TLS.

#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod client;
mod h1;
mod h2;
mod message;
mod origin;
mod side;
mod ticks;

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;

pub use client::Client;
pub use message::{Head, Length, Piece, Reply};
pub use origin::{PairOrigin, Served};
pub use side::{Leave, Side};
pub use ticks::Ticks;

use millrace_listeners::Endpoint;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

use crate::h2_origin::Protocol;
use crate::support::{
    Certs, PeerOptions, Proxy, ProxyOptions, TestPhases, TlsClient, Wire, peer, untold,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    H1,
    H2,
}

/// Who speaks what: a row of the table that every test goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub down: Http,
    pub up: Http,
    pub tls: bool,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {:?}{}", self.down, self.up, if self.tls { " over TLS" } else { "" })
    }
}

/// Says which row a test has failed in.
struct Named(Row);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the row {}", self.0);
        }
    }
}

/// Runs a test in every row.
pub fn each_row(test: impl Fn(Row)) {
    for tls in [false, true] {
        for down in [Http::H1, Http::H2] {
            for up in [Http::H1, Http::H2] {
                let row = Row { down, up, tls };
                let _named = Named(row);
                test(row);
            }
        }
    }
}

/// What a test may change of a pair.
pub struct Setup {
    pub options: ProxyOptions,
    pub peer: PeerOptions,
    pub phases: TestPhases,
    pub client: ::h2::client::Builder,
    pub origin: ::h2::server::Builder,
    pub endpoint: Endpoint,
}

/// The proxy with what is on both sides of it.
pub struct Pair {
    pub row: Row,
    pub proxy: Proxy,
    pub origin: PairOrigin,
    tls: Option<TlsClient>,
    client: ::h2::client::Builder,
}

impl Pair {
    pub fn new(row: Row, script: impl Fn(&mut Served) + Send + Sync + 'static) -> Pair {
        Pair::with(row, |_| {}, script)
    }

    pub fn with(
        row: Row,
        change: impl FnOnce(&mut Setup),
        script: impl Fn(&mut Served) + Send + Sync + 'static,
    ) -> Pair {
        Pair::at(row, change, |config, builder| match row.up {
            Http::H1 => PairOrigin::h1(config, script),
            Http::H2 => PairOrigin::h2(config, builder, script),
        })
    }

    /// With an origin of another kind.
    pub fn at(
        row: Row,
        change: impl FnOnce(&mut Setup),
        origin: impl FnOnce(Option<Arc<ServerConfig>>, ::h2::server::Builder) -> PairOrigin,
    ) -> Pair {
        let certs = row.tls.then(Certs::new);
        let mut setup = Setup {
            options: untold(ProxyOptions::default()),
            peer: certs.as_ref().map_or_else(PeerOptions::default, |certs| certs.peer(|_| {})),
            phases: TestPhases::with(Vec::new()),
            client: ::h2::client::Builder::new(),
            origin: ::h2::server::Builder::new(),
            endpoint: Proxy::endpoint(),
        };
        setup.endpoint.tls = certs.as_ref().map(|certs| certs.server(|_| {}));
        change(&mut setup);
        let Setup { options, peer: peer_options, mut phases, client, origin: builder, endpoint } =
            setup;
        let (alpn, protocol) = match row.up {
            Http::H1 => ("http/1.1", Protocol::H1),
            Http::H2 => ("h2", Protocol::H2),
        };
        let config = certs.as_ref().map(|certs| certs.good_config(&[alpn]));
        let origin = origin(config, builder);
        phases.peers.push(peer(origin.address(), PeerOptions { protocol, ..peer_options }));
        let proxy = Proxy::start(phases, options, 1, endpoint);
        let alpn = if row.down == Http::H1 { "http/1.1" } else { "h2" };
        let tls = certs.map(|certs| certs.client("a.test", None, &[alpn]));
        Pair { row, proxy, origin, tls, client }
    }

    /// A client's end of a connection, on which nothing was said yet but TLS.
    pub fn wire(&self) -> Wire {
        let wire = self.proxy.client();
        match &self.tls {
            Some(tls) => tls.over(wire),
            None => wire,
        }
    }

    /// A client on a connection of its own.
    pub fn client(&self) -> Client {
        self.client_on(TcpStream::connect(self.proxy.address).unwrap())
    }

    /// The same with windows of its own.
    pub fn client_with(&self, builder: &::h2::client::Builder) -> Client {
        let socket = TcpStream::connect(self.proxy.address).unwrap();
        Client::h2(socket, self.tls.as_ref(), builder)
    }

    /// The same for whom the system holds next to nothing.
    pub fn slow_client(&self) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.connect(&self.proxy.address.into()).unwrap();
        self.client_on(socket.into())
    }

    fn client_on(&self, socket: TcpStream) -> Client {
        match self.row.down {
            Http::H1 => Client::h1(socket, self.tls.as_ref()),
            Http::H2 => Client::h2(socket, self.tls.as_ref(), &self.client),
        }
    }
}
