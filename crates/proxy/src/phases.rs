use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millrace_connectors::Peer;
use millrace_error::{Error, Result};
use millrace_message::{Fields, RequestHead, ResponseHead};

use crate::{Answer, BodyFilter, Exchange};

/// What a phase says of a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Leave it to the proxy, which gives up.
    Undecided,
    /// Try again, from `upstream_peer` on. Refused with `RETRY_UNSAFE` where it is not safe.
    Retry,
    /// Give up.
    Fail,
}

/// The phases of a request, in the order they are called. Only `upstream_peer` is required; each
/// other one does nothing unless it is implemented.
///
/// An error from a phase ends the request: `fail_to_proxy` may answer it, `logging` sees it.
pub trait ProxyHttp: Send + Sync + 'static {
    /// What belongs to one request, made before its first phase.
    type Ctx: Send + Sync;

    /// Whether there are no phases any more, and others are to take their place: how long a request
    /// that begins may wait for them. Asked for each; must be quick. Default: they are there.
    fn are_lost(&self) -> Option<Duration> {
        None
    }

    /// Makes the context of a request.
    fn new_ctx(&self, ex: &Exchange) -> Self::Ctx;

    /// First of all, before any module. Default: goes on.
    fn early_request_filter(
        &self,
        _ex: &Exchange,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// The place to check, limit and answer. Default: goes on.
    fn request_filter(
        &self,
        _ex: &Exchange,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Option<Answer>>> + Send {
        async { Ok(None) }
    }

    /// The last chance to answer before an upstream is chosen; not reached on a cache hit.
    /// Default: goes on.
    fn proxy_upstream_filter(
        &self,
        _ex: &Exchange,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Option<Answer>>> + Send {
        async { Ok(None) }
    }

    /// Chooses where the request goes; asked again for each try.
    fn upstream_peer(
        &self,
        ex: &Exchange,
        ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Arc<Peer>>> + Send;

    /// No connection could be made. Nothing was sent, so a retry is safe. Default: gives up.
    fn fail_to_connect(
        &self,
        _ex: &Exchange,
        _peer: &Arc<Peer>,
        _error: &Error,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Decision>> + Send {
        async { Ok(Decision::Undecided) }
    }

    /// A connection, new or reused, is there; for CONNECT always a new one. Default: goes on.
    fn connected_to_upstream(
        &self,
        _ex: &Exchange,
        _peer: &Arc<Peer>,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// May change the request that is sent upstream; runs for each try. Not for CONNECT, of which
    /// nothing is sent upstream. Default: as it is.
    fn upstream_request_filter(
        &self,
        _ex: &Exchange,
        _request: &mut RequestHead,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// What the request's body passes on its way upstream: once, however often it is sent. Asked
    /// before the first try, of requests with a body. Default: nothing, and then nothing is paid.
    fn request_body_filter(&self, _ex: &Exchange, _ctx: &Self::Ctx) -> Option<Box<dyn BodyFilter>> {
        None
    }

    /// An interim response has come from the origin, such as 103 Early Hints; not 100, which is
    /// between the two ends of a connection. May change its fields; false drops it. Default: it goes
    /// on as it is.
    fn interim_response_filter(
        &self,
        _ex: &Exchange,
        _response: &mut ResponseHead,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(true) }
    }

    /// May change the response before a cache would see it. Not for CONNECT, to which no upstream
    /// responds. Default: as it is.
    fn upstream_response_filter(
        &self,
        _ex: &Exchange,
        _response: &mut ResponseHead,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// May change the response, or answer in its place. The head that opens a tunnel, a 101 or the
    /// 200 to a CONNECT, keeps its status. Default: as it is.
    fn response_filter(
        &self,
        _ex: &Exchange,
        _response: &mut ResponseHead,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Option<Answer>>> + Send {
        async { Ok(None) }
    }

    /// What the response's body passes before a cache would see it. Asked after the filters of the
    /// head. Default: nothing.
    fn upstream_response_body_filter(
        &self,
        _ex: &Exchange,
        _response: &ResponseHead,
        _ctx: &Self::Ctx,
    ) -> Option<Box<dyn BodyFilter>> {
        None
    }

    /// What the response's body passes on its way to the client, after that. Default: nothing.
    fn response_body_filter(
        &self,
        _ex: &Exchange,
        _response: &ResponseHead,
        _ctx: &Self::Ctx,
    ) -> Option<Box<dyn BodyFilter>> {
        None
    }

    /// May change the trailers that the origin sent, before a cache would see them. Not called where
    /// there are none. Default: as they are.
    fn upstream_response_trailer_filter(
        &self,
        _ex: &Exchange,
        _trailers: &mut Fields,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// May change the trailers that go to the client, if it takes any. Default: as they are.
    fn response_trailer_filter(
        &self,
        _ex: &Exchange,
        _trailers: &mut Fields,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// A try failed after its connection was there. Where the response has begun, nothing can be
    /// decided any more, and what is returned does not count. Default: gives up, but that one reused
    /// connection that died before any answer has been replaced already where that is safe.
    fn error_while_proxy(
        &self,
        _ex: &Exchange,
        _peer: &Arc<Peer>,
        _error: &Error,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Decision>> + Send {
        async { Ok(Decision::Undecided) }
    }

    /// The request failed and nothing has been sent: what to answer. Default: a short plain page.
    fn fail_to_proxy(
        &self,
        _ex: &Exchange,
        _error: &Error,
        _ctx: &Self::Ctx,
    ) -> impl Future<Output = Result<Option<Answer>>> + Send {
        async { Ok(None) }
    }

    /// Whether no line tells of the failed request in the log. Asked only where there would be one.
    /// Default: false.
    fn suppress_error_log(&self, _ex: &Exchange, _error: &Error, _ctx: &Self::Ctx) -> bool {
        false
    }

    /// The request in a few words, for the line in the log that tells of its failure. Asked only for
    /// that. Default: method, target and host.
    fn request_summary(&self, ex: &Exchange, _ctx: &Self::Ctx) -> String {
        ex.summary()
    }

    /// Exactly once for each request, after its last byte. Default: nothing.
    fn logging(&self, _ex: &Exchange, _error: Option<&Error>, _ctx: &Self::Ctx) {}
}
