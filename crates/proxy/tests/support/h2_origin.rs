//! Origins that speak HTTP/2, made with h2's server.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::support::{Peer, PeerOptions, Proxy, ProxyOptions, TestPhases, peer};

pub use millrace_connectors::Protocol;

/// A proxy whose origin is spoken to in HTTP/2, by prior knowledge.
pub fn proxy_to(origin: SocketAddr) -> Proxy {
    Proxy::new(phases_to(origin), ProxyOptions::default())
}

pub fn phases_to(origin: SocketAddr) -> TestPhases {
    TestPhases::with(vec![h2_peer(origin, PeerOptions::default())])
}

pub fn h2_peer(origin: SocketAddr, options: PeerOptions) -> Arc<Peer> {
    peer(origin, PeerOptions { protocol: Protocol::H2, ..options })
}

/// One request at an origin.
pub struct Call {
    /// The number of its connection, the first being 0.
    pub connection: usize,
    /// Its own number at this origin.
    pub number: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    pub link: Link,
}

/// The connection beneath a call.
#[derive(Clone)]
pub struct Link {
    pub socket: Arc<std::net::TcpStream>,
    end: Arc<Notify>,
    ended: Arc<Notify>,
}

impl Link {
    pub fn new(socket: std::net::TcpStream) -> Link {
        Link { socket: Arc::new(socket), end: Arc::default(), ended: Arc::default() }
    }

    /// Drops the connection, with all that is on it.
    pub async fn end(&self) {
        self.end.notify_one();
        self.ended.notified().await;
    }

    async fn until_end(&self, serving: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.end.notified() => {}
            () = serving => {}
        }
        self.ended.notify_one();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    builder: Builder,
    begin: impl Fn(Request<RecvStream>, SendResponse<Bytes>),
) {
    let Ok(mut server) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = server.accept().await {
        begin(request, respond);
    }
}

/// An origin on a thread of its own, for as long as it is not dropped.
pub struct H2Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl H2Origin {
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::with(Builder::new(), handler)
    }

    pub fn with<F: Future<Output = ()> + Send + 'static>(
        builder: Builder,
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::secure(builder, None, handler)
    }

    /// Over TLS, if it is told how.
    pub fn secure<F: Future<Output = ()> + Send + 'static>(
        builder: Builder,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> H2Origin {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (_stop, stopped) = tokio::sync::oneshot::channel();
        let (count, calls) = (connections.clone(), requests.clone());
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let connection = count.fetch_add(1, Ordering::SeqCst);
                        let (tls, builder) = (tls.clone(), builder.clone());
                        let (handler, calls) = (handler.clone(), calls.clone());
                        tokio::spawn(async move {
                            stream.set_nodelay(true).unwrap();
                            let stream = stream.into_std().unwrap();
                            let link = Link::new(stream.try_clone().unwrap());
                            let stream = TcpStream::from_std(stream).unwrap();
                            let begin = |request, respond| {
                                let number = calls.fetch_add(1, Ordering::SeqCst);
                                let link = link.clone();
                                let call = Call { connection, number, request, respond, link };
                                tokio::spawn(handler(call));
                            };
                            let Some(config) = tls else {
                                return link.until_end(serve(stream, builder, begin)).await;
                            };
                            let shake = TlsAcceptor::from(config).accept(stream);
                            let Ok(stream) = shake.await else { return };
                            link.until_end(serve(stream, builder, begin)).await;
                        });
                    }
                });
                let _ = stopped.await;
            });
        });
        H2Origin { address, connections, requests, _stop }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Call {
    /// The request's body and its trailers.
    pub async fn body(&mut self) -> (Vec<u8>, HeaderMap) {
        let body = self.request.body_mut();
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let Ok(data) = data else { break };
            let _ = body.flow_control().release_capacity(data.len());
            all.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
        (all, trailers)
    }

    /// Answers with a whole body.
    pub async fn answer(&mut self, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        let response = Response::builder().status(status);
        let response = response.header("content-length", body.len()).body(()).unwrap();
        if let Ok(mut stream) = self.respond.send_response(response, body.is_empty()) {
            send_all(&mut stream, body, true).await;
        }
    }
}

/// Sends as the other side makes room; stops where the stream ends.
pub async fn send_all(stream: &mut SendStream<Bytes>, mut body: Bytes, end: bool) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, end && body.is_empty()).is_err() {
            return;
        }
    }
}

/// Answers with what it got, as text: pseudo-fields, fields, body, trailers.
pub fn echoes() -> H2Origin {
    H2Origin::new(|mut call| async move {
        let (body, trailers) = call.body().await;
        let request = &call.request;
        let mut text = format!(
            "{} {} {} {}\n",
            request.method(),
            request.uri().scheme_str().unwrap(),
            request.uri().authority().unwrap(),
            request.uri().path_and_query().unwrap(),
        );
        for (name, value) in request.headers().iter().chain(&trailers) {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        text.push('\n');
        text.push_str(std::str::from_utf8(&body).unwrap());
        call.answer(200, text).await;
    })
}
