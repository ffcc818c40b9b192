use std::future::poll_fn;
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, SendResponse};
use rustls::ServerConfig;

use super::h1::{H1Side, Reads};
use super::h2::{H2Side, header_map, wait};
use super::message::{Head, Length, listed};
use super::side::{Leave, Side};
use crate::h2_origin::{Call, H2Origin, Link};
use crate::support::{Origin, Wire, secured};

/// An origin of either version, whose every request is played by a script on a thread.
pub enum PairOrigin {
    H1 { origin: Origin, requests: Arc<AtomicUsize> },
    H2(H2Origin),
}

/// One request at an origin.
pub struct Served {
    pub head: Head,
    /// The number of its connection, the first being 0.
    pub connection: usize,
    /// Its own number at this origin.
    pub number: usize,
    side: Side,
    socket: TcpStream,
    respond: Option<SendResponse<Bytes>>,
    link: Option<Link>,
    has_ended: bool,
}

impl Deref for Served {
    type Target = Side;

    fn deref(&self) -> &Side {
        &self.side
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Side {
        &mut self.side
    }
}

impl PairOrigin {
    pub fn h1(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Served) + Send + Sync + 'static,
    ) -> PairOrigin {
        let requests = Arc::<AtomicUsize>::default();
        let count = requests.clone();
        PairOrigin::raw(tls, requests, move |connection, wire| {
            h1_connection(connection, wire, &count, &script);
        })
    }

    /// One whose every connection is played by a script, whatever it speaks.
    pub fn raw(
        tls: Option<Arc<ServerConfig>>,
        requests: Arc<AtomicUsize>,
        script: impl Fn(usize, Wire) + Send + Sync + 'static,
    ) -> PairOrigin {
        let origin = Origin::new(move |connection, wire| match &tls {
            Some(config) => {
                let mut wire = wire.over(|stream| secured(config, stream));
                wire.secure().handshake();
                script(connection, wire);
            }
            None => script(connection, wire),
        });
        PairOrigin::H1 { origin, requests }
    }

    pub fn h2(
        tls: Option<Arc<ServerConfig>>,
        builder: Builder,
        script: impl Fn(&mut Served) + Send + Sync + 'static,
    ) -> PairOrigin {
        let script = Arc::new(script);
        PairOrigin::H2(H2Origin::secure(builder, tls, move |call| {
            let script = script.clone();
            async move {
                // A thread may wait where a task may not.
                let playing = tokio::task::spawn_blocking(move || script(&mut Served::of(call)));
                let _ = playing.await;
            }
        }))
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            PairOrigin::H1 { origin, .. } => origin.address,
            PairOrigin::H2(origin) => origin.address,
        }
    }

    pub fn connections(&self) -> usize {
        match self {
            PairOrigin::H1 { origin, .. } => origin.connections(),
            PairOrigin::H2(origin) => origin.connections(),
        }
    }

    pub fn requests(&self) -> usize {
        match self {
            PairOrigin::H1 { requests, .. } => requests.load(Ordering::SeqCst),
            PairOrigin::H2(origin) => origin.requests(),
        }
    }
}

/// Plays the requests of a connection one after the other, for as long as each is read and
/// answered to its end.
fn h1_connection(
    connection: usize,
    wire: Wire,
    requests: &AtomicUsize,
    script: impl Fn(&mut Served),
) {
    let socket = wire.stream.try_clone().unwrap();
    let mut side = H1Side::new(wire);
    while let Some(head) = side.head(false) {
        let number = requests.fetch_add(1, Ordering::SeqCst);
        let socket = socket.try_clone().unwrap();
        let mut served = Served {
            head,
            connection,
            number,
            side: Side::H1(side),
            socket,
            respond: None,
            link: None,
            has_ended: false,
        };
        script(&mut served);
        let has_ended = served.has_ended;
        match served.side {
            Side::H1(left) if has_ended && left.is_read() => side = left,
            _ => return,
        }
    }
}

impl Served {
    fn of(call: Call) -> Served {
        let Call { connection, number, request, respond, link } = call;
        let (parts, body) = request.into_parts();
        let head = Head {
            method: parts.method.to_string(),
            target: parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
            authority: parts.uri.authority().map(ToString::to_string),
            status: 0,
            fields: listed(&parts.headers),
        };
        Served {
            head,
            connection,
            number,
            side: Side::H2(H2Side { recv: Some(body), ..H2Side::default() }),
            socket: link.socket.try_clone().unwrap(),
            respond: Some(respond),
            link: Some(link),
            has_ended: false,
        }
    }

    pub fn path(&self) -> &str {
        &self.head.target
    }

    /// Sends an interim answer.
    pub fn interim(&mut self, status: u16, fields: &[(&str, &str)]) {
        match (&mut self.side, &mut self.respond) {
            (Side::H2(_), Some(respond)) => {
                let mut head = http::Response::new(());
                *head.status_mut() = status.try_into().unwrap();
                *head.headers_mut() = header_map(fields);
                let _ = respond.send_informational(head);
            }
            (Side::H1(side), _) => {
                side.send_head(&format!("HTTP/1.1 {status} Interim"), fields, Length::Nothing);
            }
            _ => {}
        }
    }

    /// Sends the head of the answer. One that has no body ends with it.
    pub fn answer(&mut self, status: u16, fields: &[(&str, &str)], length: Length) {
        let ends = length == Length::Nothing;
        self.has_ended |= ends;
        let side = match &mut self.side {
            Side::H1(side) => {
                side.send_head(&format!("HTTP/1.1 {status} Answer"), fields, length);
                return;
            }
            Side::H2(side) => side,
        };
        let mut head = http::Response::new(());
        *head.status_mut() = status.try_into().unwrap();
        *head.headers_mut() = header_map(fields);
        if let Length::Known(length) = length {
            head.headers_mut().insert("content-length", length.into());
        }
        side.has_ended = ends;
        side.send = self.respond.as_mut().unwrap().send_response(head, ends).ok();
    }

    /// Ends the answer's body.
    pub fn finish(&mut self, trailers: &[(&str, &str)]) -> bool {
        self.has_ended = true;
        self.side.end(trailers)
    }

    /// Answers with a body of known length.
    pub fn reply(&mut self, status: u16, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.answer(status, &[], Length::Known(body.len()));
        self.send(body);
        self.finish(&[]);
    }

    /// Waits until the proxy has given the exchange up.
    pub fn is_left(&mut self) -> bool {
        match (&mut self.side, &mut self.respond) {
            (Side::H1(side), _) => {
                side.wire.rest();
                true
            }
            (Side::H2(H2Side { send: Some(send), .. }), _) => {
                wait(poll_fn(|cx| send.poll_reset(cx))).is_ok()
            }
            (_, Some(respond)) => wait(poll_fn(|cx| respond.poll_reset(cx))).is_ok(),
            _ => false,
        }
    }

    /// Says over TLS that nothing more will come.
    pub fn goodbye(&mut self) {
        if let Side::H1(side) = &mut self.side {
            side.wire.secure().goodbye();
        }
    }

    /// Goes away in the middle of it all.
    pub fn leave(&mut self, how: Leave) {
        self.has_ended = false;
        if let (Some(respond), Leave::Stream) = (&mut self.respond, how) {
            return respond.send_reset(Reason::CANCEL);
        }
        self.side.leave(how, &self.socket);
        if let Some(link) = &self.link {
            wait(link.end());
        }
    }
}

impl H1Side {
    fn is_read(&self) -> bool {
        matches!(self.reads, Reads::Nothing | Reads::Length(0))
    }
}
