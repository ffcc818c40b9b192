//! Each layer takes an app of somebody else's: a service, an app of connections, an app of HTTP
//! requests, and phases of a proxy.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_connectors::Peer;
use millrace_error::{NoLog, Result};
use millrace_listeners::{BindError, Endpoint};
use millrace_proxy::{
    Arrival, BodyRest, BodySize, Downstream, Exchange, HttpProxy, HttpServer, HttpServerApp,
    HttpServing, ProxyHttp, respond,
};
use millrace_server::{
    ConnInfo, Counters, ListeningService, RuntimeOptions, Server, ServerApp, ServerOptions,
    Service, ServiceContext, Shutdown,
};
use millrace_transport::{Address, Stream};
use support::h2_client::{H2Client, get, request};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs services together: where each is bound.
fn run(services: Vec<Box<dyn Service>>) -> (Server, Vec<SocketAddr>) {
    let server = Server::new(ServerOptions::default());
    for service in services {
        server.add_service(service).unwrap();
    }
    let bound = server.start().unwrap();
    let addresses = bound.iter().map(|of_one| of_one[0].socket_addr().unwrap());
    let addresses = addresses.collect();
    (server, addresses)
}

fn serving<A: ServerApp>(app: A) -> Box<dyn Service> {
    let endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap());
    let runtime = RuntimeOptions::default();
    Box::new(ListeningService::new("app", Arc::new(app), vec![endpoint], runtime))
}

/// A service of its own kind: no app, no runtime, one thread that says one thing.
struct Greeter {
    listener: Option<TcpListener>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Service for Greeter {
    fn name(&self) -> &str {
        "greeter"
    }

    fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    fn bind(&mut self) -> Result<Vec<Address>, BindError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.listener = Some(listener);
        Ok(vec![Address::Ip(address)])
    }

    fn launch(&mut self, _context: &ServiceContext) -> io::Result<()> {
        Ok(())
    }

    fn accept(&mut self) {
        let listener = self.listener.take().unwrap();
        self.thread = Some(std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            io::Write::write_all(&mut client, b"hello from a service").unwrap();
        }));
    }

    fn stop(&mut self, _limit: Duration) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// An app of connections: sends back what comes.
struct Echo;

impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _conn: &ConnInfo,
        _shutdown: &Shutdown,
    ) -> Option<Stream> {
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            stream.write_all(&piece[..count]).await.ok()?;
        }
        None
    }
}

/// An app of HTTP requests, in whatever version: says what it was asked, by itself or with `respond`.
struct Asked(HttpServing);

impl HttpServerApp for Asked {
    fn serving(&self) -> &HttpServing {
        &self.0
    }

    async fn process_request<D: Downstream>(&self, down: &mut D, arrival: Arrival) {
        let Arrival { request, refused, .. } = arrival;
        let mut answer = Answer::plain(refused.as_ref().map_or(200, Error::status));
        if request.path() == b"/by-hand" {
            answer.head.fields.set("x-hand", "own").unwrap();
            down.send_head(&mut answer.head, BodySize::Known(2), BodyRest::Unwanted);
            down.send_data("ok".into());
            down.finish(None);
            let _ = std::future::poll_fn(|cx| down.poll_flush(cx)).await;
            return;
        }
        answer.body = format!("{} {:?}", request.method.as_str(), down.body_size()).into();
        if respond(down, &request.method, answer).await.is_err() {
            down.abort();
        }
    }
}

/// Phases of a proxy that goes to one peer.
struct To(Arc<Peer>);

impl ProxyHttp for To {
    type Ctx = ();

    fn new_ctx(&self, _ex: &Exchange) {}

    async fn upstream_peer(&self, _ex: &Exchange, _ctx: &()) -> Result<Arc<Peer>> {
        Ok(self.0.clone())
    }
}

#[test]
fn an_app_at_each_layer_runs_in_one_server() {
    let asked = HttpServer::new(Asked(HttpServing::new(ProxyOptions::default(), Arc::new(NoLog))));
    let greeter = Greeter { listener: None, thread: None, counters: Arc::default() };
    let origin = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar");
    let phases = To(Arc::new(Peer::new(1, origin.address.into(), PeerOptions::default())));
    let proxy = HttpProxy::new(phases, ProxyOptions::default(), 1, Arc::new(NoLog));
    let (server, addresses) =
        run(vec![Box::new(greeter), serving(Echo), serving(asked), serving(proxy)]);

    let mut said = String::new();
    let mut client = std::net::TcpStream::connect(addresses[0]).unwrap();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello from a service");

    let mut client = Wire::connect(addresses[1]);
    client.send("there and back");
    assert_eq!(client.bytes(14), b"there and back");
    client.end_sending();
    client.ended();

    let mut client = Wire::connect(addresses[2]);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(client.ask(post).text(), "POST Known(4)");
    let by_hand = client.ask("GET /by-hand HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((by_hand.field("x-hand"), by_hand.text()), (Some("own"), "ok"));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);

    let mut client = Wire::connect(addresses[3]);
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "far");
    let report = server.close(PATIENCE);
    assert_eq!(report.connections.cut, 0);
}

#[tokio::test]
async fn an_app_of_requests_serves_http_2_as_well() {
    let app = Asked(HttpServing::new(ProxyOptions::default(), Arc::new(NoLog)));
    let (server, addresses) = run(vec![serving(HttpServer::new(app))]);
    let mut client = H2Client::connect(addresses[0]).await;
    let reply = client.ask(get("/x"), b"").await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"GET None"[..]));
    let reply = client.ask(request("GET", "/by-hand", &[]), b"").await;
    assert_eq!((&reply.fields["x-hand"], &*reply.body), (&"own".parse().unwrap(), &b"ok"[..]));
    drop(client);
    let closing = std::thread::spawn(move || server.close(PATIENCE));
    assert_eq!(closing.join().unwrap().connections.cut, 0);
}
