//! Rules in the place of phases: what they make of requests and responses, and what gets past them.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use millrace_message::Fields;
use millrace_proxy::{ForwardingOptions, Networks, Routing};
use millrace_routes::*;
use support::h2_client::{H2Client, request, soon};
use support::*;

fn at(path: &str) -> Route {
    let matcher = Matcher { paths: vec![PathPattern::new(path).unwrap()], ..Matcher::default() };
    Route { matcher, ..Route::default() }
}

fn respond(status: u16, body: &'static str) -> Action {
    let mut fields = Fields::new();
    fields.append("x-own", "1").unwrap();
    Action::Respond(Respond { status, fields, body: Bytes::from_static(body.as_bytes()) })
}

fn redirect(path: &str, to: &str) -> Route {
    let mut route = at(path);
    route.action = Action::Redirect(Redirect::new(308, to, &route.matcher.paths).unwrap());
    route
}

fn set(name: &str, value: &str) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    changes.set(name, &[value.as_bytes()]).unwrap();
    changes
}

/// A proxy with these rules to an origin that echoes; how many phases have been asked for a peer.
fn proxy(routes: Vec<Route>, fallback: Route) -> (Proxy, Arc<AtomicUsize>) {
    with(routes, fallback, ProxyOptions::default())
}

fn with(routes: Vec<Route>, fallback: Route, options: ProxyOptions) -> (Proxy, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let mut phases = TestPhases::to(Origin::echoes().address);
    phases.upstream_peer = Some(Box::new(move |_, peers| {
        count.fetch_add(1, SeqCst);
        Ok(peers[0].clone())
    }));
    let routing = Routing { rules: Routes::new(routes, fallback, false), peers: Vec::new() };
    let options = ProxyOptions { routing: Some(Arc::new(routing)), ..options };
    (Proxy::new(phases, options), asked)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example:81\r\n\r\n")
}

#[test]
fn what_needs_nobody_is_answered_without_anybody() {
    let mut teapot = at("/tea");
    teapot.action = respond(418, "short and stout");
    let (proxy, asked) =
        proxy(vec![teapot, redirect("/old/*", "https://{host}/{*}")], Route::default());
    let mut client = proxy.client();
    let response = client.ask(get("/tea"));
    assert_eq!(
        (response.status, response.text(), response.field("x-own")),
        (418, "short and stout", Some("1"))
    );
    let response = client.ask(get("/old/x%20y?q=1"));
    let location = response.field("location");
    assert_eq!((response.status, location), (308, Some("https://a.example/x%20y?q=1")));
    assert_eq!(response.text(), "");
    // Every other request goes on, on the same connection.
    assert_eq!(client.ask(get("/else")).status, 200);
    assert_eq!(asked.load(SeqCst), 1);
    client.send("HEAD /tea HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let head = client.head().to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 418") && head.contains("\r\ncontent-length: 15\r\n"),
        "{head}"
    );
    assert_eq!([0; 4].map(|_| proxy.logged().status.unwrap()), [418, 308, 200, 418]);
}

#[test]
fn a_body_that_an_answer_does_not_read_does_not_become_the_next_request() {
    let mut route = at("/tea");
    route.action = respond(418, "no");
    let (proxy, _) = proxy(vec![route], Route::default());
    let mut client = proxy.client();
    let body = get("/smuggled");
    client.send(format!(
        "POST /tea HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}{}",
        body.len(),
        get("/next")
    ));
    assert_eq!(client.response().status, 418);
    assert!(client.response().text().starts_with("GET /next "));
}

#[test]
fn a_request_goes_on_with_another_path_and_other_fields_which_phases_see() {
    let mut route = at("/api/*");
    route.action = Action::Rewrite(Rewrite::to("/v1/{*}", &route.matcher.paths).unwrap());
    route.request_headers = set("x-route", "api");
    route.request_headers.remove("x-gone").unwrap();
    route.request_headers.append("x-more", b"2").unwrap();
    let fallback = Route { request_headers: set("x-route", "any"), ..Route::default() };
    let (proxy, _) = proxy(vec![route], fallback);
    let fields = "Host: a\r\nX-Gone: 1\r\nX-More: 1\r\nX-Route: spoofed\r\n\r\n";
    let seen = proxy.client().ask(format!("GET /api/a?b HTTP/1.1\r\n{fields}"));
    let seen = seen.text();
    assert!(seen.starts_with("GET /v1/a?b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-route: api\r\n") && !seen.contains("spoofed"), "{seen}");
    assert!(seen.contains("\r\nX-More: 1\r\n") && seen.contains("\r\nx-more: 2\r\n"), "{seen}");
    assert!(!seen.contains("X-Gone"), "{seen}");
    let seen = proxy.client().ask(format!("GET /else?b HTTP/1.1\r\n{fields}"));
    assert!(seen.text().starts_with("GET /else?b HTTP/1.1\r\n"));
    assert!(
        seen.text().contains("\r\nx-route: any\r\n") && seen.text().contains("\r\nX-Gone: 1\r\n")
    );
    // What the log is told of is what the client has asked for.
    assert_eq!(proxy.logged().target, "/api/a?b");
}

#[test]
fn every_response_gets_its_fields_and_what_an_answer_says_itself_stands() {
    let mut own = at("/own");
    own.action = respond(200, "");
    own.response_headers = set("x-own", "2");
    let mut refused = at("/dead");
    refused.response_headers = set("x-level", "route");
    let mut fallback = Route { response_headers: set("x-level", "proxy"), ..Route::default() };
    fallback.response_headers.remove("content-type").unwrap();
    let mut phases = TestPhases::to(
        Origin::says(
            "HTTP/1.1 200 OK\r\nX-Level: origin\r\nContent-Type: x/y\r\nContent-Length: 0\r\n\r\n",
        )
        .address,
    );
    phases.response_filter = Some(Box::new(|head| {
        assert_eq!(head.fields.get("x-level"), Some(&b"proxy"[..]));
        head.fields.append("x-phase", "last").unwrap();
        Box::pin(async { Ok(None) })
    }));
    let dead = peer("127.0.0.1:1".parse().unwrap(), PeerOptions::default());
    let rules = Routes::new(vec![own, refused], fallback, false);
    let routing = Some(Arc::new(Routing { rules, peers: vec![None, Some(dead)] }));
    let proxy = Proxy::new(phases, ProxyOptions { routing, ..ProxyOptions::default() });
    let mut client = proxy.client();
    let fields = |response: &Response| {
        ["x-level", "x-own", "x-phase", "content-type"]
            .map(|name| response.field(name).map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(fields(&client.ask(get("/"))), [some("proxy"), None, some("last"), None]);
    assert_eq!(fields(&client.ask(get("/own"))), [some("proxy"), some("1"), None, None]);
    // Error pages too, and what the route says counts for more.
    let error = client.ask(get("/dead"));
    assert_eq!(error.status, 502);
    assert_eq!(fields(&error), [some("route"), None, None, some("text/plain; charset=utf-8")]);
}

#[test]
fn a_route_leads_to_its_own_peer_and_no_phase_is_asked() {
    let other = Origin::says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let mut phases = TestPhases::to(Origin::echoes().address);
    phases.upstream_peer = Some(Box::new(move |_, peers| {
        count.fetch_add(1, SeqCst);
        Ok(peers[0].clone())
    }));
    let rules = Routes::new(vec![at("/x"), at("/other/*")], Route::default(), false);
    let peers = vec![None, Some(peer(other.address, PeerOptions::default()))];
    let routing = Some(Arc::new(Routing { rules, peers }));
    let proxy = Proxy::new(phases, ProxyOptions { routing, ..ProxyOptions::default() });
    let mut client = proxy.client();
    assert_eq!(client.ask(get("/other/a")).text(), "other");
    assert_eq!(asked.load(SeqCst), 0);
    assert!(client.ask(get("/x")).text().starts_with("GET /x "));
    assert!(client.ask(get("/y")).text().starts_with("GET /y "));
    assert_eq!(asked.load(SeqCst), 2);
}

#[test]
fn no_way_of_writing_a_path_gets_around_a_rule() {
    let mut admin = at("/admin/*");
    admin.action = respond(403, "");
    let (proxy, _) = proxy(vec![admin, at("/api/*")], Route::default());
    for target in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/%61dmin",
        "/%61%64%6d%69%6e/x",
        "//admin",
        "///admin//x",
        "/./admin",
        "/x/../admin",
        "/api/../admin/x",
        "/api/%2e%2e/admin",
        "/api/%2E./admin",
        "/api/x/..//../admin",
        "http://h/api/../admin",
        "/api//..//admin/",
        "/../admin?x",
    ] {
        let status = proxy.client().ask(get(target)).status;
        assert_eq!(status, 403, "{target}");
    }
    for target in [
        "/api%2f..%2fadmin",
        "/api/..%2fadmin",
        "/admin%2fx",
        "/api/..;/admin",
        "/api\\..\\admin",
        "/%zz",
        "/api/..%5cadmin",
        "/api/%00",
        "/admin%",
    ] {
        let status = proxy.client().ask(get(target)).status;
        assert_eq!(status, 400, "{target}");
    }
    // What was compared is what the origin gets.
    for (target, seen) in [
        ("/api/../x", "/x"),
        ("/api//x/%2e/y?a=/../b", "/api/x/y?a=/../b"),
        ("//evil.example/admin", "/evil.example/admin"),
        ("/%7Ex/%c3%A9", "/%7Ex/%c3%A9"),
        ("/api/%252e%252e/admin", "/api/%252e%252e/admin"),
        ("/ADMIN", "/ADMIN"),
        ("/x?/../admin", "/x?/../admin"),
    ] {
        let response = proxy.client().ask(get(target));
        let expected = format!("GET {seen} HTTP/1.1\r\n");
        assert!(response.text().starts_with(&expected), "{target}: {}", response.text());
    }
}

#[test]
fn what_is_refused_reaches_the_log_and_ends_nothing_else() {
    let (proxy, asked) = proxy(vec![at("/a")], Route::default());
    let mut client = proxy.client();
    assert_eq!(client.ask(get("/a%2fb")).status, 400);
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.source), (Some(Code::BadRequest), Some(Source::Downstream)));
    assert_eq!(logged.target, "/a%2fb");
    assert_eq!(asked.load(SeqCst), 0);
}

#[test]
fn the_scheme_is_the_clients_also_behind_a_trusted_proxy() {
    let secure = || {
        let mut route = at("/*");
        route.matcher.scheme = Some(Scheme::Http);
        route.action = Action::Redirect(Redirect::new(301, "https://{host}{path}", &[]).unwrap());
        route
    };
    let (direct, _) = proxy(vec![secure()], Route::default());
    let spoofed = "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n";
    let response = direct.client().ask(spoofed);
    assert_eq!(response.field("location"), Some("https://a/x"));
    let mut trusted = Networks::default();
    trusted.add("loopback").unwrap();
    let forwarding = ForwardingOptions { trusted, ..ForwardingOptions::default() };
    let options = ProxyOptions { forwarding, ..ProxyOptions::default() };
    let (behind, _) = with(vec![secure()], Route::default(), options);
    assert_eq!(behind.client().ask(spoofed).status, 200);
    assert_eq!(behind.client().ask(get("/x")).status, 301);
}

#[test]
fn requests_over_http2_are_on_the_same_routes() {
    let mut api = at("/api/*");
    api.matcher.hosts = vec![HostPattern::new("a").unwrap()];
    api.action = Action::Rewrite(Rewrite::prefix("/api", "/v2").unwrap());
    let (proxy, _) = proxy(vec![api, redirect("/old", "/new")], Route::default());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut client = H2Client::connect(proxy.address).await;
        let reply = soon(client.ask(request("GET", "/x/../api/y?q", &[]), b"")).await;
        assert!(reply.body.starts_with(b"GET /v2/y?q HTTP/1.1\r\n"));
        let reply = soon(client.ask(request("GET", "/old?q", &[]), b"")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.fields["location"].as_bytes()),
            (308, &b"/new?q"[..])
        );
        let reply = soon(client.ask(request("GET", "/old%2f", &[]), b"")).await;
        assert_eq!(reply.status, 400);
    });
}
