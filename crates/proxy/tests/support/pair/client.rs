use std::future::poll_fn;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use tokio::task::AbortHandle;

use super::h1::H1Side;
use super::h2::{CLIENTS, H2Side, header_map, wait};
use super::message::{Head, Length, Reply, listed};
use super::side::{Leave, Side};
use crate::support::h2_client::H2Client;
use crate::support::{TlsClient, Wire};

/// A client with one request at a time, on a connection of its own.
pub struct Client {
    side: Side,
    socket: TcpStream,
    method: String,
    /// What its requests are for.
    pub authority: String,
    scheme: &'static str,
    h2: Option<Connection>,
    response: Option<ResponseFuture>,
}

/// A connection of HTTP/2, and its task.
#[derive(Clone)]
struct Connection {
    send: SendRequest<Bytes>,
    driver: AbortHandle,
}

impl Deref for Client {
    type Target = Side;

    fn deref(&self) -> &Side {
        &self.side
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Side {
        &mut self.side
    }
}

impl Client {
    pub fn h1(socket: TcpStream, tls: Option<&TlsClient>) -> Client {
        let wire = Wire::new(socket.try_clone().unwrap());
        let wire = match tls {
            Some(tls) => tls.over(wire),
            None => wire,
        };
        Client::new(Side::H1(H1Side::new(wire)), socket, tls.is_some(), None)
    }

    pub fn h2(socket: TcpStream, tls: Option<&TlsClient>, builder: &Builder) -> Client {
        let other = socket.try_clone().unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let connecting = async {
            let stream = tokio::net::TcpStream::from_std(other).unwrap();
            match tls {
                Some(tls) => H2Client::over(tls.over_tokio(stream).await, builder).await,
                None => H2Client::over(stream, builder).await,
            }
        };
        let H2Client { send, driver } = CLIENTS.block_on(connecting);
        let h2 = Connection { send, driver: driver.abort_handle() };
        Client::new(Side::H2(H2Side::default()), socket, tls.is_some(), Some(h2))
    }

    fn new(side: Side, socket: TcpStream, secure: bool, h2: Option<Connection>) -> Client {
        let scheme = if secure { "https" } else { "http" };
        let (method, authority) = ("GET".to_owned(), "a".to_owned());
        Client { side, socket, method, authority, scheme, h2, response: None }
    }

    /// Another request on the same connection at the same time, where its version has that.
    pub fn beside(&self) -> Option<Client> {
        let h2 = self.h2.clone()?;
        let socket = self.socket.try_clone().unwrap();
        let side = Side::H2(H2Side::default());
        Some(Client::new(side, socket, self.scheme == "https", Some(h2)))
    }

    /// Sends the head of a request; whether it was taken.
    pub fn begin(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        length: Length,
    ) -> bool {
        self.method = method.to_owned();
        let Some(h2) = &mut self.h2 else {
            let Side::H1(side) = &mut self.side else { unreachable!() };
            let host = [("host", self.authority.as_str())];
            let fields = [&host, fields].concat();
            return side.send_head(&format!("{method} {path} HTTP/1.1"), &fields, length);
        };
        let mut request = http::Request::new(());
        *request.method_mut() = method.parse().unwrap();
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.parse().unwrap());
        uri.authority = Some(self.authority.parse().unwrap());
        uri.path_and_query = Some(path.parse().unwrap());
        *request.uri_mut() = uri.try_into().unwrap();
        *request.headers_mut() = header_map(fields);
        if let Length::Known(length) = length {
            request.headers_mut().insert("content-length", length.into());
        }
        if wait(poll_fn(|cx| h2.send.poll_ready(cx))).is_err() {
            return false;
        }
        let Ok((response, send)) = h2.send.send_request(request, length == Length::Nothing) else {
            return false;
        };
        self.response = Some(response);
        let has_ended = length == Length::Nothing;
        self.side = Side::H2(H2Side { send: Some(send), has_ended, ..H2Side::default() });
        true
    }

    /// The next head of an answer; none if there is none.
    pub fn head(&mut self) -> Option<Head> {
        let bodiless = self.method == "HEAD";
        let side = match &mut self.side {
            Side::H1(side) => return side.head(bodiless),
            Side::H2(side) => side,
        };
        let response = self.response.as_mut()?;
        if let Some(interim) = wait(poll_fn(|cx| response.poll_informational(cx))) {
            let (parts, ()) = interim.ok()?.into_parts();
            return Some(head_of(&parts));
        }
        let (parts, body) = wait(self.response.take()?).ok()?.into_parts();
        side.recv = Some(body);
        Some(head_of(&parts))
    }

    /// A whole answer; none if it is cut short.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            if head.status < 200 {
                interim.push(head);
                continue;
            }
            let (body, trailers) = self.body()?;
            return Some(Reply { interim, head, body, trailers });
        }
    }

    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap()
    }

    /// A request without a body, and its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        assert!(self.begin(method, path, fields, Length::Nothing));
        self.reply()
    }

    /// A request with a body, and its answer.
    #[track_caller]
    pub fn put(&mut self, path: &str, body: &[u8], length: Length) -> Reply {
        assert!(self.begin("PUT", path, &[], length));
        assert!(self.send(body) && self.end(&[]));
        self.reply()
    }

    pub fn leave(mut self, how: Leave) {
        self.side.leave(how, &self.socket);
        if let (Some(h2), Leave::Connection) = (&self.h2, how) {
            h2.driver.abort();
        }
    }

    /// Whether the connection has ended, or the stream was reset, without another byte.
    pub fn has_ended(&mut self) -> bool {
        match &mut self.side {
            Side::H1(side) => side.wire.rest().is_empty(),
            Side::H2(side) => match &mut side.send {
                Some(send) => wait(poll_fn(|cx| send.poll_reset(cx))).is_ok(),
                None => false,
            },
        }
    }
}

fn head_of(parts: &http::response::Parts) -> Head {
    let (status, fields) = (parts.status.as_u16(), listed(&parts.headers));
    Head { status, fields, ..Head::default() }
}
