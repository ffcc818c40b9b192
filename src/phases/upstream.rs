use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use millrace_connectors::Peer;
use millrace_error::{Error, Result};
use millrace_message::{RequestHead, ResponseHead};
use millrace_proxy::{Answer, Decision, Exchange, UpstreamInfo};
use millrace_transport::Address;

use super::body::Wanted;
use super::phase::{self, bit};
use super::{JsCtx, JsPhases, edits};
use crate::crossing::{Item, Kind, Outcome, Section};

/// Adds who the request is sent to, once for each try.
pub(super) fn upstream(item: &mut Item, ex: &Exchange, known: &mut u32) {
    if let Some(upstream) = &ex.upstream {
        item.reused(upstream.reused);
        if std::mem::replace(known, ex.attempt) != ex.attempt {
            item.upstream(upstream, true);
        }
    }
}

/// The value of a reply: the interim response does not go on. `ts/` knows it too.
const DROPPED: i32 = 2;

impl JsPhases {
    pub(super) async fn connected(&self, ex: &Exchange, ctx: &JsCtx) -> Result<()> {
        let mask = bit(phase::CONNECTED_TO_UPSTREAM);
        let reply = self.cross(ex, ctx, mask, |item, known| upstream(item, ex, known))?.await?;
        match reply.outcome {
            Outcome::Done => Ok(()),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    pub(super) async fn filter_request(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        request: &mut RequestHead,
    ) -> Result<()> {
        let mask =
            ctx.mask & (bit(phase::CONNECTED_TO_UPSTREAM) | bit(phase::UPSTREAM_REQUEST_FILTER));
        let sections = |item: &mut Item, known: &mut u32| {
            upstream(item, ex, known);
            item.upstream_request(request);
        };
        let reply = self.cross(ex, ctx, mask, sections)?.await?;
        match reply.outcome {
            Outcome::Done => edits::edit_request(request, &reply.first),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    pub(super) async fn filter_response(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        mask: u32,
        response: &mut ResponseHead,
    ) -> Result<Option<Answer>> {
        let sections = |item: &mut Item, known: &mut u32| {
            upstream(item, ex, known);
            item.response(response.status, &response.fields);
        };
        let reply = self.cross(ex, ctx, mask, sections)?.await?;
        match reply.outcome {
            Outcome::Done => {
                ctx.state.lock().body = Wanted(reply.value);
                edits::edit_response(response, &reply.first).map(|()| None)
            }
            Outcome::Answered => self.answered(ex, ctx, reply).map(Some),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    /// Whether an interim response goes on to the client.
    pub(super) async fn filter_interim(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        response: &mut ResponseHead,
    ) -> Result<bool> {
        let mask = bit(phase::INTERIM_RESPONSE_FILTER);
        let sections = |item: &mut Item, known: &mut u32| {
            upstream(item, ex, known);
            item.response(response.status, &response.fields);
        };
        let reply = self.cross(ex, ctx, mask, sections)?.await?;
        match (reply.outcome, reply.value) {
            (Outcome::Done, DROPPED) => Ok(false),
            (Outcome::Done, _) => edits::edit_response(response, &reply.first).map(|()| true),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    /// `fail_to_connect` and `error_while_proxy`.
    pub(super) async fn decide(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        phase: u32,
        peer: &Arc<Peer>,
        error: &Error,
    ) -> Result<Decision> {
        if !ctx.has(phase) {
            return Ok(Decision::Undecided);
        }
        let sections = |item: &mut Item, known: &mut u32| {
            match &ex.upstream {
                Some(_) => upstream(item, ex, known),
                None => {
                    let address = Address::Unix(Default::default());
                    let upstream = UpstreamInfo { peer: peer.clone(), address, reused: false };
                    item.upstream(&upstream, false);
                }
            }
            item.error(error);
        };
        let reply = self.cross(ex, ctx, bit(phase), sections)?.await?;
        match (reply.outcome, reply.value) {
            (Outcome::Done, 1) => {
                // What the phase of the failed try would have answered is of no more interest.
                let mut state = ctx.state.lock();
                state.thrown = None;
                if let Some(thrown) = &state.thrown_in_body {
                    *thrown.lock() = None;
                }
                Ok(Decision::Retry)
            }
            (Outcome::Done, 2) => Ok(Decision::Fail),
            (Outcome::Done, _) => Ok(Decision::Undecided),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    pub(super) async fn answer_failure(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        error: &Error,
    ) -> Result<Option<Answer>> {
        let mask = bit(phase::FAIL_TO_PROXY);
        let sections = |item: &mut Item, known: &mut u32| {
            upstream(item, ex, known);
            item.error(error);
        };
        let reply = self.cross(ex, ctx, mask, sections)?.await?;
        match reply.outcome {
            Outcome::Done => Ok(None),
            Outcome::Answered => self.answered(ex, ctx, reply).map(Some),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    /// The request is over: `logging`, and the end of what JavaScript holds of it.
    pub(super) fn end(&self, ex: &Exchange, error: Option<&Error>, ctx: &JsCtx) {
        let told = if error.is_some() { super::ERROR_LOG } else { 0 };
        let mask = ctx.mask & (bit(phase::LOGGING) | told);
        let mut state = ctx.state.lock();
        if mask == 0 && state.lease.is_none() {
            return;
        }
        // Its signal fires if it did not come to a good end.
        if mask == 0 && error.is_none() {
            if let Some(lease) = state.lease.take() {
                self.crossing(ctx).end(lease, ex.last_of_connection);
            }
            return;
        }
        let Ok(mut item) = self.item(ex, ctx, &mut state, Kind::End, mask) else {
            // It never crossed, and JavaScript has as many before it as it may know of.
            crate::crossing::UNLOGGED.fetch_add(1, Relaxed);
            return;
        };
        if mask == 0 {
            if let Some(error) = error {
                item.error(error);
            }
            self.crossing(ctx).push(item);
            state.lease = None;
            return;
        }
        let mut known = state.upstream_of;
        upstream(&mut item, ex, &mut known);
        if let Some(response) = &ex.response {
            item.response(response.status, &response.fields);
        }
        if let Some(error) = error {
            item.error(error);
        }
        self.crossing(ctx).push(item);
        state.lease = None;
    }
}
