use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use millrace_connectors::Peer;
use millrace_error::{Code, Error, Result, Source};
use millrace_proxy::{Answer, Exchange, RequestBody};

use super::phase::{self, bit};
use super::{JsCtx, JsPhases, State, edits};
use crate::crossing::{Client, Crossing, Flight, Full, Item, Kind, Outcome, Reply, Section};

/// The outcome of the phases before the upstream.
pub(crate) enum Group {
    /// All have run; the peer, if `upstream_peer` was among them.
    Done(Option<u32>),
    /// One has answered.
    Answered(u32, Option<Answer>),
    /// One has failed.
    Failed(u32, Option<Error>),
}

/// Beside the status of an error: the client may read its message. `ts/` knows it too.
const SHOWN: i32 = 1 << 16;

/// Beside the status of an answer: its body is made piece by piece. `ts/` knows it too.
const STREAMED: i32 = 1 << 16;

const GROUP: u32 = bit(phase::EARLY_REQUEST_FILTER)
    | bit(phase::REQUEST_FILTER)
    | bit(phase::PROXY_UPSTREAM_FILTER)
    | bit(phase::UPSTREAM_PEER);

impl JsPhases {
    /// What the group says of this phase. The first one that is implemented runs it.
    pub(super) async fn group(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        phase: u32,
    ) -> Result<Option<Answer>> {
        if !ctx.has(phase) {
            return Ok(None);
        }
        if ctx.state.lock().group.is_none() {
            self.run_group(ex, ctx).await?;
        }
        let mut state = ctx.state.lock();
        match &mut state.group {
            Some(Group::Answered(at, answer)) if *at == phase => Ok(answer.take()),
            Some(Group::Failed(at, error)) if *at == phase => match error.take() {
                Some(error) => Err(error),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    async fn run_group(&self, ex: &Exchange, ctx: &JsCtx) -> Result<()> {
        let mask = ctx.mask & GROUP;
        let reply = self.cross(ex, ctx, mask, |_, _| {})?.await?;
        let group = match reply.outcome {
            Outcome::Done => {
                Group::Done((mask & bit(phase::UPSTREAM_PEER) != 0).then_some(reply.value as u32))
            }
            Outcome::Answered => {
                let phase = reply.phase;
                Group::Answered(phase, Some(self.answered(ex, ctx, reply)?))
            }
            _ => {
                // These have no step of their own: their failure is that of the first phase.
                let is_before_all = matches!(reply.phase, phase::NEW_CTX | phase::SCOPE);
                let phase = if is_before_all { mask.trailing_zeros() } else { reply.phase };
                Group::Failed(phase, Some(self.failed(ctx, reply)))
            }
        };
        ctx.state.lock().group = Some(group);
        Ok(())
    }

    /// The answer of an app.
    pub(super) async fn handle(&self, ex: &Exchange, ctx: &JsCtx) -> Result<Answer> {
        let mask = bit(phase::HANDLER);
        let reply = self.cross(ex, ctx, mask, |item, _| item.app(ex))?.await?;
        match reply.outcome {
            Outcome::Answered => self.answered(ex, ctx, reply),
            _ => Err(self.failed(ctx, reply)),
        }
    }

    /// The peer of this try.
    pub(super) async fn choose_peer(&self, ex: &Exchange, ctx: &JsCtx) -> Result<Arc<Peer>> {
        self.group(ex, ctx, phase::UPSTREAM_PEER).await?;
        let chosen = match &mut ctx.state.lock().group {
            Some(Group::Done(peer)) => peer.take(),
            _ => None,
        };
        let id = match chosen {
            Some(id) => id,
            None => {
                let reply = self.cross(ex, ctx, bit(phase::UPSTREAM_PEER), |_, _| {})?.await?;
                match reply.outcome {
                    Outcome::Done => reply.value as u32,
                    _ => return Err(self.failed(ctx, reply)),
                }
            }
        };
        crate::peers::peer(id).ok_or_else(|| {
            Error::new(Code::PhaseReturn, "the peer is not known").in_phase("upstreamPeer")
        })
    }

    /// The answer of a phase, whose body may be made piece by piece.
    pub(super) fn answered(&self, ex: &Exchange, ctx: &JsCtx, reply: Reply) -> Result<Answer> {
        let mut answer = edits::answer(reply.value & !STREAMED, &reply.first, reply.second)?;
        if reply.value & STREAMED != 0 {
            answer.stream = Some(self.source(ex, ctx));
        }
        Ok(answer)
    }

    /// One crossing: `sections` adds to the item what the phases of `mask` need. What is returned
    /// waits for the reply.
    pub(super) fn cross<'a>(
        &'a self,
        ex: &'a Exchange,
        ctx: &'a JsCtx,
        mask: u32,
        sections: impl FnOnce(&mut Item, &mut u32),
    ) -> Result<Crossed<'a>> {
        let (lease, item) = {
            let mut state = ctx.state.lock();
            let mut item = self.item(ex, ctx, &mut state, Kind::Run, mask)?;
            sections(&mut item, &mut state.upstream_of);
            // Taken for the time of the crossing; a request crosses once at a time.
            (state.lease.take(), item)
        };
        let Some(lease) = lease else {
            return Err(Error::new(Code::Internal, "a crossing without a slot"));
        };
        let flight = lease.cross(self.crossing(ctx), item, self.limits.phase);
        Ok(Crossed { ctx, mask, flight, body: &ex.body, reading: None })
    }

    /// An item for this request; the first one brings the request along.
    pub(super) fn item(
        &self,
        ex: &Exchange,
        ctx: &JsCtx,
        state: &mut State,
        kind: Kind,
        mask: u32,
    ) -> Result<Item> {
        let fresh = state.lease.is_none();
        if fresh {
            let router = self.dispatcher(ctx.at).router(ex.connection.runtime);
            // The end of a request is not refused: its log line would be lost.
            let bound = if kind == Kind::End { usize::MAX } else { self.limits.queued };
            let client = Client {
                tls: ex.connection.tls.clone(),
                interims: Some(ex.interims.clone()),
                connection: Some(ex.connection.clone()),
                ends: ex.ends,
                pieces: (mask & bit(phase::HANDLER) != 0).then(|| ex.body.pieces()),
            };
            let lease = self.crossing(ctx).lease(router, bound, client);
            state.lease = Some(lease.map_err(|Full| overloaded())?);
        }
        let Some(lease) = &mut state.lease else {
            return Err(Error::new(Code::Internal, "a crossing without a slot"));
        };
        let seq = lease.next_seq(ex.try_ends);
        let mut item = Item::new(lease.slot(), ctx.proxy, kind, seq, mask);
        if fresh {
            item.request(ex);
        }
        item.numbers(ex);
        Ok(item)
    }

    /// The error of a phase that threw. What it answers, if it says so, is kept aside.
    pub(super) fn failed(&self, ctx: &JsCtx, reply: Reply) -> Error {
        let (error, answer) = thrown(reply, self.crossing(ctx));
        ctx.state.lock().thrown = answer;
        error
    }
}

/// An error if the phase took too long, or could not begin.
pub(super) fn in_time(outcome: Outcome, phase: &'static str) -> Result<()> {
    let error = match outcome {
        Outcome::TooSlow => Error::new(Code::PhaseTimeout, format!("{phase} took too long")),
        Outcome::NeverBegun => {
            Error::new(Code::Overloaded, format!("{phase} could not start in time"))
        }
        _ => return Ok(()),
    };
    Err(error.in_phase(phase))
}

/// What a request is refused with that there is no room for.
pub(super) fn overloaded() -> Error {
    Error::new(Code::Overloaded, "too much waits for the phases")
}

/// The error of a phase that failed, and the answer that it has for it.
pub(super) fn thrown(reply: Reply, crossing: &Crossing) -> (Error, Option<Answer>) {
    if reply.outcome == Outcome::Closed {
        let code = if crossing.may_end { Code::PhasesLost } else { Code::ServerClosed };
        return (Error::new(code, "the thread of the phases has ended"), None);
    }
    let words = String::from_utf8_lossy(&reply.second);
    let (code, message) = words.split_once('\n').unwrap_or(("", &words));
    // An app says of what it cannot even be asked that it is the client's.
    let (code, is_clients) = match code.strip_suffix(" downstream") {
        Some(code) => (code, reply.phase == phase::HANDLER),
        None => (code, false),
    };
    let code = Code::from_name(code).unwrap_or(Code::PhaseFailed);
    let error = Error::new(code, message.to_owned()).in_phase(phase::name(reply.phase));
    // Else, whatever the code, it was a phase that failed.
    let source = if is_clients { Source::Downstream } else { Source::Internal };
    let error = error.from_source(source);
    let shown = reply.value & SHOWN != 0;
    let Some(status) = u16::try_from(reply.value & !SHOWN).ok().filter(|s| (400..=599).contains(s))
    else {
        return (error, None);
    };
    let fields = edits::answer(i32::from(status), &reply.first, Bytes::new());
    let mut answer = None;
    if let Ok(own) = fields
        && (shown || !reply.first.is_empty())
    {
        // The plain page, with the fields and the words that the error brought along.
        let mut page = Answer::plain(status);
        let named = own.head.fields;
        page.head
            .fields
            .retain(|name, _| std::str::from_utf8(name).is_ok_and(|name| !named.contains(name)));
        for (name, value) in named.iter() {
            page.head.fields.push_unchecked(name, value);
        }
        if shown {
            page.body = format!("{message}\n").into();
        }
        answer = Some(page);
    }
    (error.with_status(status), answer)
}

/// The phases of `mask` are with JavaScript.
pub(super) struct Crossed<'a> {
    ctx: &'a JsCtx,
    mask: u32,
    flight: Flight<&'a Arc<Crossing>>,
    body: &'a RequestBody,
    /// A phase waits for the body of its request.
    reading: Option<Pin<Box<dyn Future<Output = Result<Bytes>> + Send + 'a>>>,
}

impl Future for Crossed<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let reply = loop {
            if let Poll::Ready(reply) = Pin::new(&mut this.flight).poll(cx) {
                break reply;
            }
            let body = this.body;
            if let Some(most) = this.flight.take_wanted() {
                this.reading = Some(Box::pin(body.read(most)));
            }
            let Some(reading) = &mut this.reading else { return Poll::Pending };
            let read = ready!(reading.as_mut().poll(cx));
            this.reading = None;
            this.flight.give_body(read);
        };
        let first = phase::name(self.mask.trailing_zeros());
        Poll::Ready(in_time(reply.outcome, first).map(|()| reply))
    }
}

/// Puts the lease back, whatever becomes of the crossing.
impl Drop for Crossed<'_> {
    fn drop(&mut self) {
        self.ctx.state.lock().lease = self.flight.end();
    }
}
