//! The phases as JavaScript implements them. Those that follow each other with nothing between
//! them share one crossing: the first to be called runs the group, the others find its outcome.

mod body;
mod dispatcher;
mod edits;
mod request;
mod seats;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use millrace_connectors::Peer;
use millrace_error::{Code, Error, Result};
use millrace_message::{Fields, RequestHead, ResponseHead};
use millrace_proxy::{Answer, BodyFilter, Decision, Exchange, ProxyHttp};
use parking_lot::Mutex;

use crate::crossing::{Crossing, Lease};
use crate::threads::Wiring;
use body::Thrown;
pub(crate) use dispatcher::Dispatcher;
pub(crate) use request::Group;
pub(crate) use seats::Seats;

/// The numbers of the phases; `ts/phases.ts` has the same list.
pub(crate) mod phase {
    pub(crate) const NEW_CTX: u32 = 0;
    pub(crate) const EARLY_REQUEST_FILTER: u32 = 1;
    pub(crate) const REQUEST_FILTER: u32 = 2;
    pub(crate) const PROXY_UPSTREAM_FILTER: u32 = 3;
    pub(crate) const UPSTREAM_PEER: u32 = 4;
    pub(crate) const FAIL_TO_CONNECT: u32 = 5;
    pub(crate) const CONNECTED_TO_UPSTREAM: u32 = 6;
    pub(crate) const UPSTREAM_REQUEST_FILTER: u32 = 7;
    pub(crate) const REQUEST_BODY_FILTER: u32 = 8;
    pub(crate) const UPSTREAM_RESPONSE_FILTER: u32 = 9;
    pub(crate) const RESPONSE_FILTER: u32 = 10;
    pub(crate) const UPSTREAM_RESPONSE_BODY_FILTER: u32 = 11;
    pub(crate) const RESPONSE_BODY_FILTER: u32 = 12;
    pub(crate) const UPSTREAM_RESPONSE_TRAILER_FILTER: u32 = 13;
    pub(crate) const RESPONSE_TRAILER_FILTER: u32 = 14;
    pub(crate) const ERROR_WHILE_PROXY: u32 = 15;
    pub(crate) const FAIL_TO_PROXY: u32 = 16;
    pub(crate) const LOGGING: u32 = 17;
    pub(crate) const INTERIM_RESPONSE_FILTER: u32 = 18;
    /// No phases, but functions that are called before `logging` where a request failed.
    pub(crate) const SUPPRESS_ERROR_LOG: u32 = 19;
    pub(crate) const REQUEST_SUMMARY: u32 = 20;
    /// The one function of an app, in the place of all phases.
    pub(crate) const HANDLER: u32 = 21;
    /// What every phase runs in. It is called with the first of them.
    pub(crate) const SCOPE: u32 = 22;

    /// The name users know it by.
    pub(crate) fn name(number: u32) -> &'static str {
        const NAMES: [&str; 23] = [
            "newCtx",
            "earlyRequestFilter",
            "requestFilter",
            "proxyUpstreamFilter",
            "upstreamPeer",
            "failToConnect",
            "connectedToUpstream",
            "upstreamRequestFilter",
            "requestBodyFilter",
            "upstreamResponseFilter",
            "responseFilter",
            "upstreamResponseBodyFilter",
            "responseBodyFilter",
            "upstreamResponseTrailerFilter",
            "responseTrailerFilter",
            "errorWhileProxy",
            "failToProxy",
            "logging",
            "interimResponseFilter",
            "suppressErrorLog",
            "requestSummary",
            "handler",
            "scope",
        ];
        NAMES.get(number as usize).copied().unwrap_or("unknown")
    }

    pub(crate) const fn bit(number: u32) -> u32 {
        1 << number
    }
}
use phase::bit;

/// What has a say in the line that tells of a failed request.
const ERROR_LOG: u32 = bit(phase::SUPPRESS_ERROR_LOG) | bit(phase::REQUEST_SUMMARY);

/// The phases of one proxy, until others take their place: see [`millrace_proxy::HttpProxy::replace`].
pub(crate) struct JsPhases {
    first: Arc<Dispatcher>,
    others: Vec<Arc<Dispatcher>>,
    limits: Limits,
    seats: Arc<Seats>,
}

/// How long a request waits for a thread in the place of one that has ended, where phases may take for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long JavaScript may take, and how much may wait for it.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For each phase.
    pub(crate) phase: Option<Duration>,
    /// For each piece of an answer that is made piece by piece.
    pub(crate) source: Option<Duration>,
    /// Items in the queue, from which on requests are refused.
    pub(crate) queued: usize,
}

/// The phases that run for the requests of a route.
#[derive(Clone)]
pub(crate) struct PhaseSet {
    /// The number of the object that has them, in JavaScript.
    pub(crate) proxy: u32,
    /// Which are implemented, for all requests.
    pub(crate) mask: u32,
    /// Those that are implemented for some, in bits: by the route's filters, in their order.
    pub(crate) filtered: Vec<u32>,
    /// The answer of `upstream_peer` where it is a value.
    pub(crate) fixed_peer: Option<Arc<Peer>>,
}

impl PhaseSet {
    /// The phases for one request. Of one that was refused nobody knows what it is for.
    fn mask(&self, ex: &Exchange) -> u32 {
        let filters = ex.filters();
        let all = self.filtered.iter().enumerate();
        all.fold(self.mask, |mask, (at, phases)| {
            let is_for_it = filters.is_none_or(|filters| filters.get(at).copied().unwrap_or(true));
            if is_for_it { mask | phases } else { mask }
        })
    }
}

/// What belongs to one request. Its JavaScript context stays in JavaScript.
#[derive(Default)]
pub(crate) struct JsCtx {
    /// Which dispatcher has it.
    at: usize,
    /// The number of the object that has its phases, in JavaScript.
    proxy: u32,
    /// Which phases run for it.
    mask: u32,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    lease: Option<Lease>,
    /// The outcome of the phases before the upstream.
    group: Option<Group>,
    /// The try whose upstream JavaScript knows.
    upstream_of: u32,
    /// JavaScript knows the response, though no phase saw its head.
    response_told: bool,
    /// What a thrown `ProxyError` answers.
    thrown: Option<Answer>,
    /// The same, where a filter of a body threw it.
    thrown_in_body: Option<Thrown>,
    /// What `responseFilter` wants of the body: see [`body::Wanted`].
    body: body::Wanted,
}

impl JsPhases {
    /// The same phases in several threads.
    pub(crate) fn new(
        mut dispatchers: Vec<Arc<Dispatcher>>,
        limits: Limits,
        seats: Arc<Seats>,
    ) -> Self {
        let others = dispatchers.split_off(dispatchers.len().min(1));
        let none = || Dispatcher::new(Wiring::new(false), Vec::new(), 0);
        let first = dispatchers.pop().unwrap_or_else(none);
        JsPhases { first, others, limits, seats }
    }

    fn dispatcher(&self, at: usize) -> &Arc<Dispatcher> {
        at.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Dispatcher>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The way to the phases of a request.
    fn crossing(&self, ctx: &JsCtx) -> &Arc<Crossing> {
        &self.dispatcher(ctx.at).wiring.crossing
    }

    /// How often phases that take too long are looked for.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let bounds = (Duration::from_millis(5), Duration::from_millis(250));
        let limits = self.limits.phase.into_iter().chain(self.limits.source);
        limits.min().map(|limit| (limit / 20).clamp(bounds.0, bounds.1))
    }
}

impl Dispatcher {
    /// The phases of the request's route.
    fn set(&self, ex: &Exchange) -> Option<&PhaseSet> {
        let last = self.sets.len().checked_sub(1)?;
        self.sets.get(ex.route().unwrap_or(last))
    }
}

impl JsCtx {
    fn has(&self, phase: u32) -> bool {
        self.mask & bit(phase) != 0
    }
}

impl ProxyHttp for JsPhases {
    type Ctx = JsCtx;

    /// The threads that have them have ended, and nothing goes on without.
    fn are_lost(&self) -> Option<Duration> {
        let is_lost = |dispatcher: &Arc<Dispatcher>| {
            let crossing = &dispatcher.wiring.crossing;
            crossing.may_end && crossing.is_closed()
        };
        let needs = |set: &PhaseSet| set.mask != 0;
        let are_lost = self.all().all(is_lost) && self.first.sets.iter().all(needs);
        are_lost.then(|| self.limits.phase.unwrap_or(PATIENCE))
    }

    fn new_ctx(&self, ex: &Exchange) -> JsCtx {
        let Some(mask) = self.first.set(ex).map(|set| set.mask(ex)) else {
            return JsCtx::default();
        };
        let at = if mask == 0 { 0 } else { self.seat(ex) };
        let proxy = self.dispatcher(at).set(ex).map_or(0, |set| set.proxy);
        JsCtx { at, proxy, mask, state: Mutex::default() }
    }

    async fn early_request_filter(&self, ex: &Exchange, ctx: &JsCtx) -> Result<()> {
        self.group(ex, ctx, phase::EARLY_REQUEST_FILTER).await.map(drop)
    }

    async fn request_filter(&self, ex: &Exchange, ctx: &JsCtx) -> Result<Option<Answer>> {
        if ctx.has(phase::HANDLER) {
            return self.handle(ex, ctx).await.map(Some);
        }
        self.group(ex, ctx, phase::REQUEST_FILTER).await
    }

    async fn proxy_upstream_filter(&self, ex: &Exchange, ctx: &JsCtx) -> Result<Option<Answer>> {
        self.group(ex, ctx, phase::PROXY_UPSTREAM_FILTER).await
    }

    async fn upstream_peer(&self, ex: &Exchange, ctx: &JsCtx) -> Result<Arc<Peer>> {
        let set = self.dispatcher(ctx.at).set(ex);
        if let Some(peer) = set.and_then(|set| set.fixed_peer.as_ref()) {
            return Ok(peer.clone());
        }
        self.choose_peer(ex, ctx).await
    }

    async fn fail_to_connect(
        &self,
        ex: &Exchange,
        peer: &Arc<Peer>,
        error: &Error,
        ctx: &JsCtx,
    ) -> Result<Decision> {
        self.decide(ex, ctx, phase::FAIL_TO_CONNECT, peer, error).await
    }

    async fn connected_to_upstream(
        &self,
        ex: &Exchange,
        _peer: &Arc<Peer>,
        ctx: &JsCtx,
    ) -> Result<()> {
        // Runs in the crossing of the phase that follows, where that is implemented and will run.
        let follows = ctx.has(phase::UPSTREAM_REQUEST_FILTER) && !ex.is_connect();
        if !ctx.has(phase::CONNECTED_TO_UPSTREAM) || follows {
            return Ok(());
        }
        self.connected(ex, ctx).await
    }

    async fn upstream_request_filter(
        &self,
        ex: &Exchange,
        request: &mut RequestHead,
        ctx: &JsCtx,
    ) -> Result<()> {
        if !ctx.has(phase::UPSTREAM_REQUEST_FILTER) {
            return Ok(());
        }
        self.filter_request(ex, ctx, request).await
    }

    async fn interim_response_filter(
        &self,
        ex: &Exchange,
        response: &mut ResponseHead,
        ctx: &JsCtx,
    ) -> Result<bool> {
        if !ctx.has(phase::INTERIM_RESPONSE_FILTER) {
            return Ok(true);
        }
        self.filter_interim(ex, ctx, response).await
    }

    async fn upstream_response_filter(
        &self,
        ex: &Exchange,
        response: &mut ResponseHead,
        ctx: &JsCtx,
    ) -> Result<()> {
        // Runs in the crossing of the phase that follows, where that is implemented.
        if !ctx.has(phase::UPSTREAM_RESPONSE_FILTER) || ctx.has(phase::RESPONSE_FILTER) {
            return Ok(());
        }
        let mask = bit(phase::UPSTREAM_RESPONSE_FILTER);
        self.filter_response(ex, ctx, mask, response).await.map(drop)
    }

    async fn response_filter(
        &self,
        ex: &Exchange,
        response: &mut ResponseHead,
        ctx: &JsCtx,
    ) -> Result<Option<Answer>> {
        if !ctx.has(phase::RESPONSE_FILTER) {
            return Ok(None);
        }
        // An answer of our own has seen no upstream, and a CONNECT gets none from there.
        let upstream =
            ex.upstream.is_some() && !ex.is_connect() && ctx.has(phase::UPSTREAM_RESPONSE_FILTER);
        let before = if upstream { bit(phase::UPSTREAM_RESPONSE_FILTER) } else { 0 };
        let mask = before | bit(phase::RESPONSE_FILTER);
        self.filter_response(ex, ctx, mask, response).await
    }

    fn request_body_filter(&self, ex: &Exchange, ctx: &JsCtx) -> Option<Box<dyn BodyFilter>> {
        self.filter_request_body(ex, ctx)
    }

    // Both run in one crossing, as nothing is between them.
    fn response_body_filter(
        &self,
        ex: &Exchange,
        response: &ResponseHead,
        ctx: &JsCtx,
    ) -> Option<Box<dyn BodyFilter>> {
        self.filter_response_body(ex, ctx, response)
    }

    async fn response_trailer_filter(
        &self,
        ex: &Exchange,
        trailers: &mut Fields,
        ctx: &JsCtx,
    ) -> Result<()> {
        self.filter_trailers(ex, ctx, trailers).await
    }

    async fn error_while_proxy(
        &self,
        ex: &Exchange,
        peer: &Arc<Peer>,
        error: &Error,
        ctx: &JsCtx,
    ) -> Result<Decision> {
        self.decide(ex, ctx, phase::ERROR_WHILE_PROXY, peer, error).await
    }

    async fn fail_to_proxy(
        &self,
        ex: &Exchange,
        error: &Error,
        ctx: &JsCtx,
    ) -> Result<Option<Answer>> {
        let is_gone = matches!(error.code(), Code::ServerClosed | Code::PhasesLost);
        let own = if ctx.has(phase::FAIL_TO_PROXY) && !is_gone {
            self.answer_failure(ex, ctx, error).await?
        } else {
            None
        };
        let mut state = ctx.state.lock();
        let in_body = state.thrown_in_body.take();
        Ok(own.or_else(|| state.thrown.take()).or_else(|| in_body?.lock().take()))
    }

    /// Where JavaScript has a say in the line, it writes it itself: with `logging`, so that nothing
    /// waits for it.
    fn suppress_error_log(&self, _ex: &Exchange, _error: &Error, ctx: &JsCtx) -> bool {
        ctx.mask & ERROR_LOG != 0 && !self.crossing(ctx).is_closed()
    }

    fn logging(&self, ex: &Exchange, error: Option<&Error>, ctx: &JsCtx) {
        self.end(ex, error, ctx);
    }
}
