use std::sync::Arc;

use bytes::Bytes;
use millrace_message::{Fields, RequestHead};

use crate::headers::HeaderChanges;
use crate::matcher::{Asked, Matcher, Scheme};
use crate::path::{Path, RefusedPath};
use crate::pattern::{InvalidPattern, PathPattern, invalid};
use crate::rewrite::Rewrite;
use crate::template::Template;

/// One rule: which requests it is for, and what becomes of them.
#[derive(Debug, Default)]
pub struct Route {
    /// Which requests it is for.
    pub matcher: Matcher,
    /// What is done to requests on their way upstream.
    pub request_headers: HeaderChanges,
    /// What is done to responses.
    pub response_headers: HeaderChanges,
    /// What becomes of the request.
    pub action: Action,
    /// Further conditions, each of which somebody wants to know of: see [`Found::filters`]. None = those
    /// of the fallback.
    pub filters: Option<Arc<[Matcher]>>,
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub enum Action {
    /// It goes on as it is.
    #[default]
    Pass,
    /// It goes on with another path.
    Rewrite(Rewrite),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered.
    Respond(Respond),
}

/// A redirection.
#[derive(Debug)]
pub struct Redirect {
    /// The status.
    pub status: u16,
    to: Template,
}

/// An answer that is always the same.
#[derive(Clone, Debug)]
pub struct Respond {
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
    /// The body.
    pub body: Bytes,
}

impl Redirect {
    /// With a status of 301, 302, 303, 307 or 308, to a path or to an absolute URL.
    pub fn new(status: u16, to: &str, patterns: &[PathPattern]) -> Result<Self, InvalidPattern> {
        let to = Template::new(to, patterns)?;
        if !to.is_path() && !to.is_absolute() {
            return invalid(
                "a path that begins with one /, or a URL that begins with http:// or https://",
            );
        }
        match status {
            301 | 302 | 303 | 307 | 308 => Ok(Redirect { status, to }),
            _ => invalid("301, 302, 303, 307 or 308"),
        }
    }
}

/// Rules in their order, and what holds where none is for a request.
#[derive(Debug, Default)]
pub struct Routes {
    /// The first that is for a request holds.
    pub routes: Vec<Route>,
    /// Holds for what no route is for; what it does to headers, for every request. Its matcher is not
    /// looked at.
    pub fallback: Route,
    /// Whether a slash may be percent-encoded in a path; it is a part of its segment then.
    pub keeps_slashes: bool,
    looks_at_paths: bool,
}

/// What the rules say of a request.
#[derive(Debug)]
pub struct Found {
    /// The number of the route; none = the fallback.
    pub route: Option<usize>,
    /// The target that goes upstream, where it is not the client's.
    pub target: Option<Vec<u8>>,
    /// Where the client is redirected to.
    pub location: Option<Vec<u8>>,
    /// Which of the route's filters are for it, in their order.
    pub filters: Vec<bool>,
}

impl Routes {
    /// Rules in their order.
    pub fn new(routes: Vec<Route>, fallback: Route, keeps_slashes: bool) -> Self {
        let looks_at_paths = routes.iter().chain([&fallback]).any(|route| {
            let filters = route.filters.iter().flat_map(|filters| filters.iter());
            filters.chain([&route.matcher]).any(|matcher| !matcher.paths.is_empty())
                || matches!(route.action, Action::Rewrite(_) | Action::Redirect(_))
        });
        Routes { routes, fallback, keeps_slashes, looks_at_paths }
    }

    /// The first route that no request can reach, and the earlier one that takes all of them.
    pub fn unreachable(&self) -> Option<(usize, usize)> {
        self.routes.iter().enumerate().find_map(|(at, route)| {
            let earlier = &self.routes[..at];
            let by = earlier.iter().position(|earlier| earlier.matcher.covers(&route.matcher));
            by.map(|by| (at, by))
        })
    }

    /// The rule for a request.
    pub fn find(&self, head: &RequestHead, scheme: Scheme) -> Result<Found, RefusedPath> {
        let path = match self.looks_at_paths {
            true => Some(Path::new(head.path(), self.keeps_slashes)?),
            false => None,
        };
        let asked = Asked::new(head, path, scheme);
        let at = self.routes.iter().position(|route| route.matcher.matches(&asked));
        let route = self.route(at);
        // Which of its patterns the path is of.
        let matched = asked
            .path
            .as_ref()
            .and_then(|path| route.matcher.paths.iter().find(|pattern| pattern.matches(path)));
        let filters = route.filters.as_ref().or(self.fallback.filters.as_ref());
        let filters = filters.map(|all| all.iter().map(|one| one.matches(&asked)).collect());
        let filters = filters.unwrap_or_default();
        let mut found = Found { route: at, target: None, location: None, filters };
        match &route.action {
            Action::Rewrite(rewrite) => found.target = rewrite.apply(&asked, matched),
            Action::Redirect(redirect) => found.location = Some(redirect.to.write(&asked, matched)),
            Action::Pass | Action::Respond(_) => {
                let path = asked.path.as_ref().filter(|path| path.is_changed());
                // What was compared is what the origin gets.
                found.target = path.map(|path| {
                    let mut target = path.written().to_vec();
                    crate::template::with_query(&mut target, head.query());
                    target
                });
            }
        }
        Ok(found)
    }

    /// The route with this number, or the fallback.
    pub fn route(&self, at: Option<usize>) -> &Route {
        at.and_then(|at| self.routes.get(at)).unwrap_or(&self.fallback)
    }
}
