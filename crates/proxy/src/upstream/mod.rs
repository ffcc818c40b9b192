//! One exchange with an origin: a request out and its response back, whatever version it is in.

mod h1;
mod h2;

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use millrace_connectors::{Connector, Link, Peer};
use millrace_error::{Code, Error, Result};
use millrace_http1::HeadLimits;
use millrace_message::{Fields, RequestHead, ResponseHead};

use self::h1::H1Exchange;
use self::h2::H2Exchange;
use crate::{Body, BodySize};

/// One request and its response.
#[allow(clippy::large_enum_variant)] // one for each request, and the larger one is the common one
pub(crate) enum Upstream {
    H1(H1Exchange),
    H2(Box<H2Exchange>),
}

/// A head from upstream.
pub(crate) enum Head {
    /// A 1xx; others follow.
    Interim(ResponseHead),
    /// The response, and how long its body is.
    Final(ResponseHead, BodySize),
}

/// The same method of whichever exchange it is.
macro_rules! either {
    ($self:ident, $exchange:ident => $call:expr) => {
        match $self {
            Upstream::H1($exchange) => $call,
            Upstream::H2($exchange) => $call,
        }
    };
}

impl Upstream {
    pub(crate) fn new(link: Link, peer: &Peer, limits: HeadLimits) -> Self {
        match link {
            Link::H1(connection) => Upstream::H1(H1Exchange::new(connection, peer, limits)),
            Link::H2(slot) => Upstream::H2(Box::new(H2Exchange::new(slot, peer, limits))),
        }
    }

    /// A tunnel from its first byte, on a connection of its own.
    pub(crate) fn tunnel(link: Link, peer: &Peer, limits: HeadLimits) -> Self {
        let mut up = Upstream::new(link, peer, limits);
        if let Upstream::H1(exchange) = &mut up {
            exchange.become_tunnel();
        }
        up
    }

    /// Whether a byte of the request may have reached the origin.
    pub(crate) fn sent_any(&self) -> bool {
        either!(self, exchange => exchange.sent_any())
    }

    /// Whether `error` only says that the connection had died before this request.
    pub(crate) fn was_stale(&self, error: &Error) -> bool {
        either!(self, exchange => exchange.was_stale(error))
    }

    /// The head that follows asks to change to `protocol`; HTTP/2 cannot.
    pub(crate) fn ask_upgrade(&mut self, protocol: Vec<u8>) {
        if let Upstream::H1(exchange) = self {
            exchange.ask_upgrade(protocol);
        }
    }

    /// Whether bytes go through as they come: the origin has changed to the protocol that was asked
    /// for, or the client has asked for a tunnel.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self, Upstream::H1(exchange) if exchange.is_tunnel())
    }

    /// Sends the head; what frames the body is set here. `te_trailers` = the client takes trailers
    /// and said so.
    pub(crate) fn send_head(
        &mut self,
        head: &mut RequestHead,
        size: BodySize,
        te_trailers: bool,
    ) -> Result<()> {
        match self {
            Upstream::H1(exchange) => {
                exchange.send_head(head, size);
                Ok(())
            }
            Upstream::H2(exchange) => exchange.send_head(head, size, te_trailers),
        }
    }

    /// Takes a piece of the body.
    pub(crate) fn send_data(&mut self, data: Bytes) {
        either!(self, exchange => exchange.send_data(data));
    }

    /// Ends the request.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) {
        either!(self, exchange => exchange.finish(trailers));
    }

    /// Ready when there is room for another piece.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, exchange => exchange.poll_ready(cx))
    }

    /// Ready when all that was taken is on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, exchange => exchange.poll_flush(cx))
    }

    /// The next head of an answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head>> {
        either!(self, exchange => exchange.poll_head(cx))
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Body>> {
        either!(self, exchange => exchange.poll_body(cx))
    }

    /// There is no room for what comes of the body: keeps it so that it takes no more than it is.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        if let Upstream::H2(exchange) = self {
            exchange.read_ahead(cx);
        }
    }

    /// Other work goes on: the origin is not waited for.
    pub(crate) fn rest(&mut self) {
        either!(self, exchange => exchange.rest());
    }

    /// A tunnel has failed: makes sure that the origin can tell.
    pub(crate) fn abort(&mut self) {
        if let Upstream::H1(exchange) = self {
            exchange.abort();
        }
    }

    /// The response is complete: keeps the connection if both sides ended cleanly. A stream is
    /// ended with its exchange, whatever became of it, and its connection stays.
    pub(crate) fn release(self, connector: &Connector, shard: usize, peer: &Peer) {
        if let Upstream::H1(exchange) = self {
            exchange.release(connector, shard, peer);
        }
    }
}

fn closed(when: &'static str, error: io::Error) -> Error {
    Error::new(Code::UpstreamClosed, format!("the origin closed the connection {when}"))
        .because(error)
}
