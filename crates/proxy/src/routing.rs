//! Rules in the place of phases: what is known of a request's way without asking anybody.

use std::sync::Arc;

use millrace_connectors::Peer;
use millrace_error::{Code, Error, Result};
use millrace_message::{Fields, RequestHead, ResponseHead};
use millrace_routes::{Action, Found, HeaderChanges, Route, Routes, Scheme};

use crate::forwarding::{Chain, ClientConnection};
use crate::{Answer, Exchange};

/// Rules, and the peers that they lead to.
#[derive(Debug, Default)]
pub struct Routing {
    /// Which requests they are for, and what becomes of them.
    pub rules: Routes,
    /// The peer of each route that has one, in their order; of the others, `upstream_peer` is asked.
    pub peers: Vec<Option<Arc<Peer>>>,
}

impl Routing {
    /// The rule for a request. Refuses one whose path could be taken for that of another rule.
    pub(crate) fn find(
        &self,
        request: &RequestHead,
        conn: &ClientConnection,
        chain: Option<&Chain>,
    ) -> Result<Found> {
        let is_secure = match chain.and_then(Chain::proto) {
            Some(proto) => matches!(proto, b"https" | b"wss"),
            None => conn.tls.is_some(),
        };
        let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
        self.rules.find(request, scheme).map_err(|refused| Error::new(Code::BadRequest, refused.0))
    }

    /// The peer of the request's route.
    pub(crate) fn peer(&self, ex: &Exchange) -> Option<Arc<Peer>> {
        self.peers.get(ex.route()?)?.clone()
    }

    /// The answer that needs nobody to give it.
    pub(crate) fn answer(&self, ex: &Exchange) -> Option<Answer> {
        match &self.route(ex)?.action {
            Action::Redirect(redirect) => {
                let mut answer = Answer::new(redirect.status);
                let location = ex.found.as_ref()?.location.as_deref()?;
                answer.head.fields.push_unchecked(b"location", location);
                Some(answer)
            }
            Action::Respond(respond) => {
                let mut head = ResponseHead::new(respond.status);
                head.fields = respond.fields.clone();
                Some(Answer { head, body: respond.body.clone(), stream: None })
            }
            Action::Pass | Action::Rewrite(_) => None,
        }
    }

    /// Changes the head that goes upstream.
    pub(crate) fn change_request(&self, ex: &Exchange, head: &mut RequestHead) {
        if let Some(target) = ex.found.as_ref().and_then(|found| found.target.as_ref()) {
            head.target.clone_from(target);
        }
        for changes in self.changes(ex, |route| &route.request_headers) {
            changes.apply(&mut head.fields);
        }
    }

    /// Changes the head that an origin has sent.
    pub(crate) fn change_response(&self, ex: &Exchange, fields: &mut Fields) {
        for changes in self.changes(ex, |route| &route.response_headers) {
            changes.apply(fields);
        }
    }

    /// Completes the head of an answer of our own. What the route says counts for more.
    pub(crate) fn complete(&self, ex: &Exchange, fields: &mut Fields) {
        let mut changes = self.changes(ex, |route| &route.response_headers);
        changes.reverse();
        for changes in changes {
            changes.complete(fields);
        }
    }

    fn route(&self, ex: &Exchange) -> Option<&Route> {
        ex.found.as_ref().map(|found| self.rules.route(found.route))
    }

    /// What is done to heads: of every request first, then of its route.
    fn changes(
        &self,
        ex: &Exchange,
        which: impl Fn(&Route) -> &HeaderChanges,
    ) -> [&HeaderChanges; 2] {
        static NONE: HeaderChanges = HeaderChanges::none();
        let own = ex.route().and_then(|route| self.rules.routes.get(route));
        [which(&self.rules.fallback), own.map_or(&NONE, which)]
    }
}
