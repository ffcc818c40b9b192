//! Bodies as JavaScript filters them. Each has a slot of its own in the crossing, as both directions
//! of a request may be with JavaScript at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use millrace_error::Result;
use millrace_message::{Fields, ResponseHead};
use millrace_proxy::{Answer, BodyFilter, Exchange, Filtered, Filtering};
use parking_lot::Mutex;

use super::phase::{self, bit};
use super::request::{in_time, overloaded, thrown};
use super::upstream::upstream;
use super::{JsCtx, JsPhases, edits};
use crate::crossing::{Client, Crossing, Flight, Full, Item, Kind, Lease, Outcome, Reply, Section};

/// What a filter of a body threw, if it is to be answered with.
pub(super) type Thrown = Arc<Mutex<Option<Answer>>>;

/// What `responseFilter` wants of the body, in the bits of its value; `ts/crossing` knows them too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted(pub(super) i32);

impl Wanted {
    /// The body phases are not to run.
    fn skips_phases(self) -> bool {
        self.0 & 1 != 0
    }

    /// The body is to be changed by what `responseFilter` gave.
    fn changes(self) -> bool {
        self.0 & 2 != 0
    }

    /// As a whole, so that the head waits.
    fn is_whole(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Flags of an item of a body; `ts/crossing` has the same list.
mod flag {
    pub(super) const END: i32 = 1;
    pub(super) const MORE: i32 = 2;
    /// What `responseFilter` gave to change the body with is to run.
    pub(super) const CHANGE: i32 = 4;
    /// The body is that of an answer, which JavaScript makes.
    pub(super) const SOURCE: i32 = 8;
}

/// Bits of the value of a reply; `ts/crossing` has the same list.
mod reply {
    pub(super) const END: i32 = 1;
    pub(super) const MORE: i32 = 2;
    pub(super) const UNCHANGED: i32 = 4;
}

impl JsPhases {
    pub(super) fn filter_request_body(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
    ) -> Option<Box<dyn BodyFilter>> {
        let mask = ctx.mask & bit(phase::REQUEST_BODY_FILTER);
        (mask != 0).then(|| self.body(ex, ctx, mask, 0, false))
    }

    pub(super) fn filter_response_body(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        response: &ResponseHead,
    ) -> Option<Box<dyn BodyFilter>> {
        let wanted = ctx.state.lock().body;
        let phases = bit(phase::UPSTREAM_RESPONSE_BODY_FILTER) | bit(phase::RESPONSE_BODY_FILTER);
        let mask = if wanted.skips_phases() { 0 } else { ctx.mask & phases };
        let flags = if wanted.changes() { flag::CHANGE } else { 0 };
        (mask != 0 || flags != 0).then(|| {
            self.tell_response(ex, ctx, response);
            self.body(ex, ctx, mask, flags, wanted.is_whole())
        })
    }

    /// Where no phase sees the head of the response, those that follow are told of it all the same.
    fn tell_response(&self, ex: &Exchange, ctx: &JsCtx, response: &ResponseHead) {
        if ctx.has(phase::UPSTREAM_RESPONSE_FILTER) || ctx.has(phase::RESPONSE_FILTER) {
            return;
        }
        let mut state = ctx.state.lock();
        if std::mem::replace(&mut state.response_told, true) {
            return;
        }
        // Nobody waits for what it says to that.
        if let Ok(mut item) = self.item(ex, ctx, &mut state, Kind::Run, 0) {
            upstream(&mut item, ex, &mut state.upstream_of);
            item.response(response.status, &response.fields);
            self.crossing(ctx).push(item);
        }
    }

    /// The body of an answer that JavaScript makes piece by piece.
    pub(super) fn source(&self, ex: &Exchange, ctx: &JsCtx) -> Box<dyn BodyFilter> {
        self.body(ex, ctx, 0, flag::SOURCE, false)
    }

    fn body(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        mask: u32,
        flags: i32,
        is_whole: bool,
    ) -> Box<dyn BodyFilter> {
        let mut state = ctx.state.lock();
        if state.lease.is_none() {
            // JavaScript does not know the request yet. Nobody waits for what it says to that.
            if let Ok(item) = self.item(ex, ctx, &mut state, Kind::Run, 0) {
                self.crossing(ctx).push(item);
            }
        }
        let parent = state.lease.as_ref().map(Lease::slot);
        let thrown = state.thrown_in_body.get_or_insert_default().clone();
        let router = self.dispatcher(ctx.at).router(ex.connection.runtime);
        Box::new(JsBody {
            shared: Arc::new(Shared {
                crossing: self.crossing(ctx).clone(),
                proxy: ctx.proxy,
                lease: Mutex::default(),
                thrown,
            }),
            parent,
            router,
            max_queued: self.limits.queued,
            limit: if flags & flag::SOURCE != 0 { self.limits.source } else { self.limits.phase },
            mask,
            flags,
            is_whole,
        })
    }

    /// The trailer phases, where the origin sent any.
    pub(super) async fn filter_trailers(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        trailers: &mut Fields,
    ) -> Result<()> {
        let phases =
            bit(phase::UPSTREAM_RESPONSE_TRAILER_FILTER) | bit(phase::RESPONSE_TRAILER_FILTER);
        let mask = ctx.mask & phases;
        if mask == 0 {
            return Ok(());
        }
        if let Some(response) = &ex.response {
            self.tell_response(ex, ctx, response);
        }
        let reply = self.cross(ex, ctx, mask, |item, _| item.trailers(trailers))?.await?;
        match reply.outcome {
            Outcome::Done => edits::edit_trailers(trailers, &reply.first),
            _ => Err(self.failed(ctx, reply)),
        }
    }
}

/// One body and its filters in JavaScript.
struct JsBody {
    shared: Arc<Shared>,
    /// The slot of its request; none if there was no room for it.
    parent: Option<u32>,
    router: usize,
    max_queued: usize,
    limit: Option<Duration>,
    mask: u32,
    flags: i32,
    is_whole: bool,
}

/// What a body and a piece under way have in common.
struct Shared {
    crossing: Arc<Crossing>,
    proxy: u32,
    /// None before the first piece, and while one is under way.
    lease: Mutex<Option<Lease>>,
    thrown: Thrown,
}

impl BodyFilter for JsBody {
    fn filter(&mut self, data: Bytes, end: bool) -> Filtering {
        let flags = if end { flag::END } else { 0 };
        self.cross(data, flags)
    }

    fn more(&mut self) -> Filtering {
        self.cross(Bytes::new(), flag::MORE)
    }

    fn holds_head(&self) -> bool {
        self.is_whole
    }
}

impl JsBody {
    fn cross(&mut self, data: Bytes, flags: i32) -> Filtering {
        match self.launch(&data, flags) {
            Ok(flight) => {
                let first = self.mask.trailing_zeros();
                let shared = self.shared.clone();
                let ended = flags & flag::END != 0;
                Filtering::Later(Box::pin(Under { flight, shared, data, ended, first }))
            }
            Err(error) => Filtering::Done(Err(error)),
        }
    }

    fn launch(&self, data: &[u8], flags: i32) -> Result<Flight<Arc<Crossing>>> {
        let Shared { crossing, proxy, lease, .. } = &*self.shared;
        let parent = self.parent.ok_or_else(overloaded)?;
        let lease = lease.lock().take();
        let mut lease = match lease {
            Some(lease) => lease,
            None => crossing
                .lease(self.router, self.max_queued, Client::default())
                .map_err(|Full| overloaded())?,
        };
        let seq = lease.next_seq(None);
        let mut item = Item::new(lease.slot(), *proxy, Kind::Body, seq, self.mask);
        item.body(parent, data, flags | self.flags);
        Ok(lease.cross(crossing.clone(), item, self.limit))
    }
}

/// Once the body and its last piece are gone, JavaScript forgets it.
impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(mut lease) = self.lease.get_mut().take() {
            let seq = lease.next_seq(None);
            self.crossing.push(Item::new(lease.slot(), self.proxy, Kind::End, seq, 0));
        }
    }
}

/// A piece that is with JavaScript.
struct Under {
    flight: Flight<Arc<Crossing>>,
    shared: Arc<Shared>,
    data: Bytes,
    ended: bool,
    /// The phase that runs first.
    first: u32,
}

impl Future for Under {
    type Output = Result<Filtered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.flight).poll(cx));
        *self.shared.lease.lock() = self.flight.end();
        Poll::Ready(self.outcome(reply))
    }
}

impl Under {
    fn outcome(&mut self, reply: Reply) -> Result<Filtered> {
        let name = if self.first < 32 { phase::name(self.first) } else { "the body" };
        in_time(reply.outcome, name)?;
        if reply.outcome != Outcome::Done {
            let (error, answer) = thrown(reply, &self.shared.crossing);
            *self.shared.thrown.lock() = answer;
            return Err(error);
        }
        let Reply { value, second, .. } = reply;
        let unchanged = value & reply::UNCHANGED != 0;
        let data = if unchanged { std::mem::take(&mut self.data) } else { second };
        let more = value & reply::MORE != 0;
        let end = value & reply::END != 0 || (self.ended && !more);
        Ok(Filtered { data, end, more })
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        if let Some(lease) = self.flight.end() {
            *self.shared.lease.lock() = Some(lease);
        }
    }
}
