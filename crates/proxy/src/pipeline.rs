//! The way of a request, in phase order. `docs/phase-chart.md` draws it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use millrace_connectors::{Link, Peer, Protocol};
use millrace_error::{Code, Error, Result, Source};
use millrace_message::{ResponseHead, requested_upgrade, strip_hop_by_hop};
use tokio::time::Instant;

use crate::downstream::forbids_body;
use crate::exchange::UpstreamInfo;
use crate::filter::Filters;
use crate::forwarding::add_via;
use crate::max_forwards;
use crate::phases::{Decision, ProxyHttp};
use crate::relay::{Broken, Download, alive, flushed, next_head, reading, relay_body, uploading};
use crate::respond::check_status;
use crate::stats::Stage;
use crate::timer::within;
use crate::tries::{Failed, Outcome, Received, given_up, is_repeatable};
use crate::tunnel::tunnel;
use crate::upload::Upload;
use crate::upstream::{Head, Upstream};
use crate::upstream_head::{asks_for_trailers, upstream_head};
use crate::{BodyRest, BodySize, Downstream, Exchange, HttpProxy};

impl<P: ProxyHttp> HttpProxy<P> {
    /// One request, from its first phase to the last byte of its response.
    pub(crate) async fn request<D: Downstream>(
        &self,
        shard: usize,
        down: &mut D,
        ex: &mut Exchange,
        ctx: &P::Ctx,
    ) -> Result<()> {
        let phases = &self.phases;

        let routing = self.options.routing.as_ref();
        if let Some(answer) = routing.and_then(|routing| routing.answer(ex)) {
            return self.answer(down, ex, ctx, answer).await;
        }
        reading(down, &ex.body, phases.early_request_filter(ex, ctx)).await?;
        if let Some(answer) = reading(down, &ex.body, phases.request_filter(ex, ctx)).await? {
            return self.answer(down, ex, ctx, answer).await;
        }
        let filter = phases.proxy_upstream_filter(ex, ctx);
        if let Some(answer) = reading(down, &ex.body, filter).await? {
            return self.answer(down, ex, ctx, answer).await;
        }

        if let Some(answer) = max_forwards::last_hop(&ex.request) {
            return self.send(down, ex, answer).await;
        }
        let filter = phases.request_body_filter(ex, ctx).filter(|_| !ex.is_connect());
        let is_empty = !ex.body.exists() && down.body_done();
        let mut upload = Upload::new(is_empty, filter);
        let tries = self.try_upstreams(shard, down, ex, ctx, &mut upload);
        let (Received { peer, mut up, mut head, size }, mut download) = match tries.await? {
            Outcome::Received(received, download) => (received, download),
            Outcome::Answered(answer) => return self.send(down, ex, answer).await,
        };

        down.send_head(&mut head, size, BodyRest::Forwarded);
        ex.response = Some(head);
        ex.response_started = true;
        self.counting.advance(&mut ex.stage, Stage::Responding);
        let relayed = if up.is_tunnel() {
            tunnel(down, &mut up, &mut upload, self.options.tunnel_idle_timeout).await
        } else {
            self.relay(down, ex, ctx, &mut up, &mut upload, &mut download).await
        };
        match relayed {
            Ok(()) => {}
            Err(Broken::Downstream(error)) => return Err(error),
            Err(Broken::Upstream(error)) => {
                drop(up);
                // The client may as well see what there is; whether it takes it is not waited for.
                let _ = poll_fn(|cx| Poll::Ready(down.poll_flush(cx))).await;
                // Nothing can be decided any more, but it is told.
                let tell = phases.error_while_proxy(ex, &peer, &error, ctx);
                let _ = alive(down, tell).await;
                return Err(error);
            }
        }
        up.release(&self.connector, shard, &peer);
        flushed(down).await
    }

    /// Tries upstreams until one answers and its response has passed the filters, or the phases and
    /// the rules of retrying give up.
    async fn try_upstreams<D: Downstream>(
        &self,
        shard: usize,
        down: &mut D,
        ex: &mut Exchange,
        ctx: &P::Ctx,
        upload: &mut Upload,
    ) -> Result<Outcome> {
        let phases = &self.phases;
        self.counting.advance(&mut ex.stage, Stage::Proxying);
        let mut retries = 0;
        let mut replaced = false;
        loop {
            ex.attempt += 1;
            ex.upstream = None;
            let routing = self.options.routing.as_ref();
            let peer = match routing.and_then(|routing| routing.peer(ex)) {
                Some(peer) => peer,
                None => reading(down, &ex.body, phases.upstream_peer(ex, ctx)).await?,
            };
            if ex.attempt == 1 {
                upload.begin(ex.body.close());
            }
            let deadline =
                self.options.try_timeout.and_then(|limit| Instant::now().checked_add(limit));
            ex.try_ends = deadline;
            let attempt = self.attempt(shard, down, ex, ctx, &peer, upload, replaced);
            let attempt = within(deadline, attempt).await.unwrap_or_else(|| {
                let error = Error::new(Code::RequestExpired, "the try took too long");
                if ex.upstream.is_none() {
                    // Not even connected, so that nothing was sent.
                    return Err(Failed::Connect(error.retry(true)));
                }
                let error = error.retry(is_repeatable(ex, upload));
                Err(Failed::While { error, replace: false })
            });
            ex.try_ends = None;
            let filtered = match attempt {
                Ok(received) => self.filter_response(down, ex, ctx, upload, received).await,
                Err(failed) => Err(failed),
            };
            let (error, decision) = match filtered {
                Ok(outcome) => return Ok(outcome),
                Err(Failed::Fatal(error)) => return Err(error),
                Err(Failed::While { replace: true, .. }) if !replaced => {
                    replaced = true;
                    self.counting.retry(None);
                    upload.rewind();
                    continue;
                }
                Err(Failed::Connect(error)) => {
                    let decide = phases.fail_to_connect(ex, &peer, &error, ctx);
                    let decision = alive(down, decide).await?;
                    (error, decision)
                }
                Err(Failed::While { error, .. }) => {
                    let decide = phases.error_while_proxy(ex, &peer, &error, ctx);
                    let decision = alive(down, decide).await?;
                    (error, decision)
                }
            };
            if decision != Decision::Retry || retries >= self.options.max_retries {
                return Err(error);
            }
            if !error.can_retry() {
                return Err(Error::new(Code::RetryUnsafe, "the request may have been processed")
                    .because(error));
            }
            retries += 1;
            self.counting.retry(Some(&error));
            upload.rewind();
        }
    }

    /// One try: connect, send, and wait for the head of the response.
    #[allow(clippy::too_many_arguments)] // one call, and each of them is a thing of its own
    async fn attempt<D: Downstream>(
        &self,
        shard: usize,
        down: &mut D,
        ex: &mut Exchange,
        ctx: &P::Ctx,
        peer: &Arc<Peer>,
        upload: &mut Upload,
        fresh: bool,
    ) -> Result<Received, Failed> {
        let phases = &self.phases;
        let link = self.connect(shard, down, ex, peer, fresh).await?;
        ex.upstream = Some(UpstreamInfo {
            peer: peer.clone(),
            address: link.remote().clone(),
            reused: link.is_reused(),
        });

        // Nothing has been sent on it yet.
        let can_replay = upload.can_replay();
        let unsent = |error| Failed::phase(error, can_replay);
        alive(down, phases.connected_to_upstream(ex, peer, ctx)).await.map_err(unsent)?;
        if ex.is_connect() {
            // What goes upstream is the tunnel's, and the client's to say.
            let up = Upstream::tunnel(link, peer, self.options.limits);
            let (peer, head) = (peer.clone(), ResponseHead::new(200));
            return Ok(Received { peer, up, head, size: BodySize::Unknown });
        }
        let mut head = upstream_head(ex, peer, down.expects_continue(), &self.options);
        let upgrade = self.upgrade(ex);
        if let Some(protocol) = &upgrade {
            head.fields.push_unchecked(b"upgrade", protocol);
        }
        let filter = phases.upstream_request_filter(ex, &mut head, ctx);
        alive(down, filter).await.map_err(unsent)?;

        let mut up = Upstream::new(link, peer, self.options.limits);
        // A phase may have taken it out, but cannot ask for what the client did not.
        if let Some(protocol) = upgrade.filter(|_| head.fields.contains("upgrade")) {
            up.ask_upgrade(protocol);
        }
        let te = asks_for_trailers(ex);
        if let Err(error) = up.send_head(&mut head, upload.size(down.body_size()), te) {
            return Err(given_up(ex, &up, upload, error));
        }
        let (head, size) = loop {
            match next_head(down, &mut up, upload).await {
                Ok(Head::Final(head, size)) => break (head, size),
                Ok(Head::Interim(mut head)) => {
                    if self.wants_interim(down, ex, ctx, &mut up, upload, &mut head).await? {
                        down.send_interim(&head);
                    }
                }
                Err(Broken::Downstream(error)) => return Err(Failed::Fatal(error)),
                Err(Broken::Upstream(error)) => return Err(given_up(ex, &up, upload, error)),
            }
        };
        ex.timings.first_byte = Some(ex.timings.start.elapsed());
        Ok(Received { peer: peer.clone(), up, head, size })
    }

    /// Whether an interim response goes on to the client.
    async fn wants_interim<D: Downstream>(
        &self,
        down: &mut D,
        ex: &Exchange,
        ctx: &P::Ctx,
        up: &mut Upstream,
        upload: &mut Upload,
        head: &mut ResponseHead,
    ) -> Result<bool, Failed> {
        // What is said between the ends of a connection is nobody else's.
        if head.status == 100 {
            return Ok(true);
        }
        let filter = self.phases.interim_response_filter(ex, head, ctx);
        uploading(down, up, upload, filter)
            .await
            .map_err(|error| Failed::phase(error, is_repeatable(ex, upload)))
    }

    /// The protocol that the client may change its connection to, if it asks for one.
    fn upgrade(&self, ex: &Exchange) -> Option<Vec<u8>> {
        // Where there is a body, none is asked for: nobody knows what of it would be the tunnel's.
        requested_upgrade(&ex.request, &self.options.upgrades).filter(|_| !ex.body.exists())
    }

    /// The filters of the response, while the request's body goes on upstream.
    async fn filter_response<D: Downstream>(
        &self,
        down: &mut D,
        ex: &Exchange,
        ctx: &P::Ctx,
        upload: &mut Upload,
        received: Received,
    ) -> Result<Outcome, Failed> {
        let Received { peer, mut up, mut head, size } = received;
        let upgrade = head.fields.get("upgrade").filter(|_| up.is_tunnel()).map(<[u8]>::to_vec);
        strip_hop_by_hop(&mut head.fields);
        if !ex.is_connect() {
            add_via(&mut head.fields, head.version, &self.options.forwarding);
        }
        if let Some(routing) = &self.options.routing {
            routing.change_response(ex, &mut head.fields);
        }
        if let Some(protocol) = upgrade {
            head.fields.push_unchecked(b"upgrade", &protocol);
        }
        let opens = up.is_tunnel().then_some(head.status);
        let filters = async {
            if !ex.is_connect() {
                self.phases.upstream_response_filter(ex, &mut head, ctx).await?;
            }
            let answer = self.phases.response_filter(ex, &mut head, ctx).await?;
            match opens {
                None => check_status(head.status)?,
                Some(status) if status != head.status && answer.is_none() => {
                    let message = format!("a {status} cannot become another status");
                    return Err(Error::new(Code::PhaseReturn, message));
                }
                Some(_) => {}
            }
            Ok(answer)
        };
        let filtered = if opens.is_some() {
            // What the client sends is the tunnel's, which is not open yet.
            alive(down, filters).await
        } else {
            uploading(down, &mut up, upload, filters).await
        };
        match filtered {
            Ok(None) => {}
            // The origin's body is not wanted: its connection closes with it.
            Ok(Some(answer)) => return Ok(Outcome::Answered(answer)),
            Err(error) => return Err(Failed::phase(error, is_repeatable(ex, upload))),
        }
        let (mut download, mut size) = self.filters(ex, ctx, &up, &mut head, size);
        if download.holds_head() {
            // As long as the head waits, another try can be made.
            size = match download.begin(down, &mut up, upload).await {
                Ok(size) => size,
                Err(Broken::Downstream(error)) => return Err(Failed::Fatal(error)),
                Err(Broken::Upstream(error)) => {
                    let error = error.retry(is_repeatable(ex, upload));
                    return Err(Failed::While { error, replace: false });
                }
            };
        }
        Ok(Outcome::Received(Received { peer, up, head, size }, download))
    }

    /// What the body of the response passes, and how long that leaves it. Changes the length that a
    /// head without a body speaks of, too.
    fn filters(
        &self,
        ex: &Exchange,
        ctx: &P::Ctx,
        up: &Upstream,
        head: &mut ResponseHead,
        size: BodySize,
    ) -> (Download, BodySize) {
        if up.is_tunnel() {
            return (Download::default(), size);
        }
        let first = self.phases.upstream_response_body_filter(ex, head, ctx);
        let second = self.phases.response_body_filter(ex, head, ctx);
        let filters = Filters::new(first, second);
        if filters.is_empty() {
            return (Download::default(), size);
        }
        // A body that ended with its head is none to be seen piece by piece, and an empty one as a whole.
        let is_none = size == BodySize::None && !filters.hold_head();
        if is_none || forbids_body(&ex.request.method, head.status) {
            head.fields.remove("content-length");
            return (Download::default(), BodySize::None);
        }
        (Download::new(filters), BodySize::Unknown)
    }

    /// The body of the response and its trailers, through their filters.
    async fn relay<D: Downstream>(
        &self,
        down: &mut D,
        ex: &Exchange,
        ctx: &P::Ctx,
        up: &mut Upstream,
        upload: &mut Upload,
        download: &mut Download,
    ) -> Result<(), Broken> {
        let mut trailers = relay_body(down, up, upload, download).await?;
        if let Some(trailers) = &mut trailers {
            let filters = async {
                self.phases.upstream_response_trailer_filter(ex, trailers, ctx).await?;
                self.phases.response_trailer_filter(ex, trailers, ctx).await
            };
            uploading(down, up, upload, filters).await.map_err(|error| match error.source() {
                Source::Downstream => Broken::Downstream(error),
                _ => Broken::Upstream(error),
            })?;
        }
        let takes_trailers = down.takes_trailers(&ex.request);
        down.finish(trailers.filter(|_| takes_trailers).as_ref());
        Ok(())
    }

    /// What to send a request to `peer` on: what is there, or a new connection. For a tunnel always
    /// a new one.
    async fn connect<D: Downstream>(
        &self,
        shard: usize,
        down: &mut D,
        ex: &mut Exchange,
        peer: &Arc<Peer>,
        fresh: bool,
    ) -> Result<Link, Failed> {
        // What may not be sent twice is not sent on a connection that was not looked at.
        let careful = !ex.request.method.is_idempotent();
        let is_tunnel = ex.is_connect();
        let conn = &ex.connection;
        let of_client = conn.peer_told(peer, &ex.client, &self.connector);
        let peer: &Peer = of_client.as_ref().unwrap_or(peer);
        // An upgrade is a matter of HTTP/1.1, where the peer leaves the choice.
        let in_http_1 = (peer.options.protocol == Protocol::Auto && self.upgrade(ex).is_some())
            .then(|| peer.in_http_1());
        let peer = in_http_1.as_ref().unwrap_or(peer);
        if !fresh
            && !is_tunnel
            && let Some(link) = self.connector.take(shard, peer, careful)
        {
            return Ok(link);
        }
        let start = Instant::now();
        let connecting = async {
            Ok(match is_tunnel {
                true => self.connector.open(shard, peer).await.map(Link::H1),
                false => self.connector.reach(shard, peer).await,
            })
        };
        let link = alive(down, connecting).await.map_err(Failed::Fatal)?;
        ex.timings.connect = link.is_ok().then(|| start.elapsed());
        link.map_err(Failed::Connect)
    }
}
