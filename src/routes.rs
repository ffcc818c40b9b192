//! Routes as they come from JavaScript. What texts mean is decided in `crates/routes`; here each that
//! is wrong becomes a problem with its place.

use std::sync::Arc;

use millrace_message::{Fields, Method};
use millrace_proxy::{Answer, Routing};
use millrace_routes::{
    Action, Expression, HeaderChanges, HeaderCondition, HeaderValue, HostPattern, InvalidPattern,
    Matcher, PathPattern, Redirect, Respond, Rewrite, Route, Routes, Scheme,
};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::phases::{PhaseSet, phase};

/// A route, or what holds for requests that are on none.
#[napi(object, object_to_js = false)]
pub struct NativeRoute {
    pub matcher: NativeMatch,
    pub request_headers: Vec<NativeHeaderChange>,
    pub response_headers: Vec<NativeHeaderChange>,
    pub action: NativeAction,
    /// Its filters, if it has phases of its own.
    pub filters: Option<Vec<NativeFilter>>,
    /// The number of the object with its phases.
    pub proxy_id: u32,
    /// The phases that run for all of its requests, as a mask.
    pub phases: u32,
    /// The number of its peer; 0 = a phase is asked.
    pub peer: u32,
}

/// A phase that runs for some requests.
#[napi(object, object_to_js = false)]
pub struct NativeFilter {
    pub phase: u32,
    pub matcher: NativeMatch,
}

/// Which requests something is for. Empty lists ask for nothing.
#[napi(object, object_to_js = false)]
pub struct NativeMatch {
    pub hosts: Vec<String>,
    pub paths: Vec<NativePath>,
    pub methods: Vec<String>,
    pub headers: Vec<NativeHeaderCondition>,
    /// `http`, `https` or empty.
    pub scheme: String,
}

/// A pattern of segments, or an expression.
#[napi(object, object_to_js = false)]
pub struct NativePath {
    pub source: String,
    pub is_expression: bool,
    pub ignores_case: bool,
}

/// A condition on the fields with one name.
#[napi(object, object_to_js = false)]
pub struct NativeHeaderCondition {
    pub name: String,
    /// Whether there is to be one; absent: one of the values.
    pub present: Option<bool>,
    pub values: Vec<String>,
}

/// A change of fields, whose characters are bytes.
#[napi(object, object_to_js = false)]
pub struct NativeHeaderChange {
    /// `set`, `append` or `remove`.
    pub kind: String,
    pub name: String,
    pub values: Vec<String>,
}

/// What becomes of a request.
#[napi(object, object_to_js = false)]
pub struct NativeAction {
    /// `pass`, `none` (there is nowhere to go), `respond`, `redirect`, or `to`, `prefix` and `pattern` of
    /// a rewrite.
    pub kind: String,
    pub status: u32,
    pub from: Option<NativePath>,
    pub to: String,
    /// `name\0value\n` for each field of an answer.
    pub fields: String,
    pub body: Option<Uint8Array>,
}

/// What is wrong with a route.
#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct NativeProblem {
    /// The route's number; -1 = it is none of them.
    pub route: i32,
    /// The filter's number; -1 = it is in none of them.
    pub filter: i32,
    /// The option, such as `match.path`.
    pub path: String,
    /// Its place in a list; -1 = it is in none.
    pub index: i32,
    pub allowed: String,
    /// The option of the proxy beside which this is wrong; empty: it is by itself.
    pub other: String,
}

/// Looks for what is wrong with routes.
#[napi(catch_unwind)]
pub fn check_routes(
    routes: Vec<NativeRoute>,
    fallback: NativeRoute,
    keeps_slashes: bool,
) -> Vec<NativeProblem> {
    let mut problems = Problems::default();
    let rules = problems.rules(&routes, &fallback, keeps_slashes);
    if problems.found.is_empty()
        && let Some((at, by)) = rules.unreachable()
    {
        problems.route = at as i32;
        problems.add(
            "match",
            -1,
            format!("some request that routes[{by}] does not take before it"),
        );
    }
    problems.found
}

/// The routes of a proxy, or what is wrong with them.
pub(crate) fn routing(
    routes: &[NativeRoute],
    fallback: &NativeRoute,
    keeps_slashes: bool,
) -> Result<Routing, Vec<NativeProblem>> {
    let mut problems = Problems::default();
    let rules = problems.rules(routes, fallback, keeps_slashes);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    // Where a phase is a value it stands in for `upstream_peer`: see `set`.
    Ok(Routing { rules, peers: Vec::new() })
}

impl NativeRoute {
    /// Its phases.
    pub(crate) fn set(&self, fallback: &NativeRoute) -> PhaseSet {
        let filters = self.filters.as_ref().or(fallback.filters.as_ref());
        let filtered = filters.into_iter().flatten().map(|filter| phase::bit(filter.phase & 31));
        PhaseSet {
            proxy: self.proxy_id,
            mask: self.phases,
            filtered: filtered.collect(),
            fixed_peer: crate::peers::peer(self.peer),
        }
    }

    /// Whether it does something that has to be looked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.request_headers.is_empty()
            && self.response_headers.is_empty()
            && self.action.kind == "pass"
            && self.filters.as_ref().is_none_or(Vec::is_empty)
    }
}

/// Builds rules and collects what is wrong with them.
struct Problems {
    route: i32,
    filter: i32,
    /// Whether paths with encoded slashes are served at all.
    keeps_slashes: bool,
    found: Vec<NativeProblem>,
}

impl Default for Problems {
    fn default() -> Self {
        Problems { route: -1, filter: -1, keeps_slashes: false, found: Vec::new() }
    }
}

impl Problems {
    fn add(&mut self, path: &str, index: i32, allowed: String) {
        self.add_beside("", path, index, allowed);
    }

    fn add_beside(&mut self, other: &str, path: &str, index: i32, allowed: String) {
        let Problems { route, filter, .. } = *self;
        let (path, other) = (path.to_owned(), other.to_owned());
        self.found.push(NativeProblem { route, filter, path, index, allowed, other });
    }

    /// What a text was read as, if it was any.
    fn read<T>(&mut self, path: &str, index: i32, read: Result<T, InvalidPattern>) -> Option<T> {
        read.map_err(|invalid| self.add(path, index, invalid.0)).ok()
    }

    fn rules(&mut self, routes: &[NativeRoute], fallback: &NativeRoute, keeps: bool) -> Routes {
        self.keeps_slashes = keeps;
        let last = self.route(fallback);
        let mut all = Vec::with_capacity(routes.len());
        for (at, route) in routes.iter().enumerate() {
            self.route = at as i32;
            all.push(self.route(route));
        }
        Routes::new(all, last, keeps)
    }

    fn route(&mut self, route: &NativeRoute) -> Route {
        let matcher = self.matcher(&route.matcher);
        let action = self.action(&route.action, &matcher.paths).unwrap_or_default();
        let request_headers = self.changes("requestHeaders", &route.request_headers);
        let response_headers = self.changes("responseHeaders", &route.response_headers);
        let mut filters = Vec::new();
        for (at, filter) in route.filters.iter().flatten().enumerate() {
            self.filter = at as i32;
            filters.push(self.matcher(&filter.matcher));
        }
        self.filter = -1;
        let filters: Option<Arc<[Matcher]>> = route.filters.is_some().then(|| filters.into());
        Route { matcher, request_headers, response_headers, action, filters }
    }

    fn matcher(&mut self, given: &NativeMatch) -> Matcher {
        let mut matcher = Matcher {
            scheme: match given.scheme.as_str() {
                "http" => Some(Scheme::Http),
                "https" => Some(Scheme::Https),
                _ => None,
            },
            ..Matcher::default()
        };
        for (at, host) in (0..).zip(&given.hosts) {
            matcher.hosts.extend(self.read("match.host", at, HostPattern::new(host)));
        }
        for (at, path) in (0..).zip(&given.paths) {
            let pattern = match path.is_expression {
                true => PathPattern::expression(&path.expression()),
                false => PathPattern::new(&path.source),
            };
            let source = path.source.to_ascii_lowercase();
            if !path.is_expression
                && !self.keeps_slashes
                && (source.contains("%2f") || source.contains("%5c"))
            {
                let allowed = "a path without encoded slashes, unless encodedSlashes is 'keep'";
                self.add_beside("encodedSlashes", "match.path", at, allowed.to_owned());
                continue;
            }
            matcher.paths.extend(self.read("match.path", at, pattern));
        }
        for (at, method) in (0..).zip(&given.methods) {
            match Method::new(method.as_bytes()) {
                Some(method) => matcher.methods.push(method),
                None => self.add("match.method", at, "a method, such as 'GET'".to_owned()),
            }
        }
        for condition in &given.headers {
            let value = match condition.present {
                Some(true) => HeaderValue::Present,
                Some(false) => HeaderValue::Absent,
                None => HeaderValue::OneOf(
                    condition.values.iter().map(|value| bytes(value).into()).collect(),
                ),
            };
            matcher.headers.push(HeaderCondition { name: condition.name.as_str().into(), value });
        }
        matcher
    }

    fn action(&mut self, action: &NativeAction, paths: &[PathPattern]) -> Option<Action> {
        let from = action.from.as_ref();
        Some(match action.kind.as_str() {
            "none" => {
                let Answer { head, body, .. } = Answer::plain(404);
                Action::Respond(Respond { status: 404, fields: head.fields, body })
            }
            "respond" => {
                let body = action.body.as_ref().map(|body| body.to_vec()).unwrap_or_default();
                let fields = fields(&action.fields);
                let status = u16::try_from(action.status).ok()?;
                Action::Respond(Respond { status, fields, body: body.into() })
            }
            "redirect" => {
                let status = u16::try_from(action.status).ok()?;
                let redirect = Redirect::new(status, &action.to, paths);
                Action::Redirect(self.read("redirect.to", -1, redirect)?)
            }
            "to" => Action::Rewrite(self.read("rewrite", -1, Rewrite::to(&action.to, paths))?),
            "prefix" => {
                let rewrite = Rewrite::prefix(&from?.source, &action.to);
                Action::Rewrite(self.read("rewrite", -1, rewrite)?)
            }
            "pattern" => {
                let rewrite = Rewrite::pattern(&from?.expression(), &action.to);
                Action::Rewrite(self.read("rewrite", -1, rewrite)?)
            }
            _ => Action::Pass,
        })
    }

    fn changes(&mut self, path: &str, given: &[NativeHeaderChange]) -> HeaderChanges {
        let mut changes = HeaderChanges::default();
        for NativeHeaderChange { kind, name, values } in given {
            let values: Vec<Vec<u8>> = values.iter().map(|value| bytes(value)).collect();
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let added = match kind.as_str() {
                "set" => changes.set(name, &values),
                "append" => values.iter().try_for_each(|value| changes.append(name, value)),
                _ => changes.remove(name),
            };
            if let Err(invalid) = added {
                self.add(&format!("{path}.{kind}.{name}"), -1, invalid.to_string());
            }
        }
        changes
    }
}

impl NativePath {
    fn expression(&self) -> Expression<'_> {
        Expression { source: &self.source, ignores_case: self.ignores_case }
    }
}

/// The fields of an answer, which `ts/` has checked.
fn fields(text: &str) -> Fields {
    let mut fields = Fields::new();
    for line in text.split('\n') {
        if let Some((name, value)) = line.split_once('\0') {
            // One that is not valid after all is left out.
            let _ = fields.append(name, bytes(value));
        }
    }
    fields
}

/// Characters as bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect()
}
