//! Origins that speak HTTP/2: one made with h2's server, and one played frame by frame.

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
use tokio::net::TcpListener;

use crate::support::{Peer, PeerOptions, Proxy, ProxyOptions, TestPhases, Wire, peer};

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
                        let (builder, handler) = (builder.clone(), handler.clone());
                        let calls = calls.clone();
                        tokio::spawn(async move {
                            let Ok(mut server) = builder.handshake(stream).await else { return };
                            while let Some(Ok((request, respond))) = server.accept().await {
                                let number = calls.fetch_add(1, Ordering::SeqCst);
                                let call = Call { connection, number, request, respond };
                                tokio::spawn(handler(call));
                            }
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

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The origin's end of a connection, frame by frame.
pub struct Frames {
    pub wire: Wire,
}

impl Frames {
    /// Reads the client's preface, and sends settings.
    pub fn accept(wire: Wire) -> Frames {
        let mut frames = Frames { wire };
        let preface = frames.wire.bytes(24);
        assert_eq!(preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, []);
        frames
    }

    /// The next frame; none at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.wire.try_bytes(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.try_bytes(length)?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind, whatever comes before it; none at the end of the connection.
    pub fn find(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind && !(kind == SETTINGS && frame.flags & ACK != 0) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection: one that is closed unread is reset, and what was sent
    /// on it may be lost.
    pub fn drain(&mut self) {
        while self.next().is_some() {}
    }

    /// The stream of the next request.
    #[track_caller]
    pub fn request(&mut self) -> u32 {
        self.find(HEADERS).expect("a request").stream
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> bool {
        let payload = payload.as_ref();
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.wire.try_send(frame)
    }

    pub fn answer(&mut self, stream: u32, flags: u8, status: u16, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, block(status, fields));
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| literal(&mut block, name, value));
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, block);
    }

    pub fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RESET, 0, stream, reason.to_be_bytes());
    }

    pub fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, payload);
    }
}

fn block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, ":status", &status.to_string());
    fields.iter().for_each(|(name, value)| literal(&mut block, name, value));
    block
}

/// A field as a literal without indexing, neither part compressed.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127);
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}
