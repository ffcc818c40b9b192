use crate::matcher::tests::{head, matcher};
use crate::*;

fn route(text: &str, action: Action) -> Route {
    Route { matcher: matcher(text), action, ..Route::default() }
}

fn pattern(text: &str) -> PathPattern {
    PathPattern::new(text).unwrap()
}

/// The target that goes upstream, and the location, of a request.
fn ask(routes: Routes, text: &str) -> Result<String, RefusedPath> {
    let head = head(text);
    let found = routes.find(&head, Scheme::Https)?;
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
    Ok(text(found.target).or(text(found.location)).unwrap_or_default())
}

fn only(text: &str, action: Action) -> Routes {
    Routes::new(vec![route(text, action)], Route::default(), false)
}

fn rewritten(path: &str, rewrite: Rewrite, target: &str) -> String {
    ask(only(&format!("- - {path}"), Action::Rewrite(rewrite)), &format!("GET {target}")).unwrap()
}

#[test]
fn the_first_route_wins_and_one_that_is_never_reached_is_found() {
    let routes = |texts: &[&str]| {
        let routes = texts.iter().map(|text| route(text, Action::Pass)).collect();
        Routes::new(routes, Route::default(), false)
    };
    let three = routes(&["GET - /a/*", "- x.example", "- - /a/b"]);
    let at = |text| three.find(&head(text), Scheme::Http).unwrap().route;
    assert_eq!(at("GET /a/b|Host: x.example"), Some(0));
    assert_eq!(at("PUT /a/b|Host: x.example"), Some(1));
    assert_eq!(at("PUT /a/b"), Some(2));
    assert_eq!(at("GET /c"), None);
    assert_eq!(three.unreachable(), None);
    assert_eq!(routes(&["- - /b", "- - /a/*", "GET - /a/b"]).unreachable(), Some((2, 1)));
    assert_eq!(routes(&["-", "-"]).unreachable(), Some((1, 0)));
}

#[test]
fn filters_are_those_of_the_route_or_of_the_fallback() {
    let filters = |texts: &[&str]| Some(texts.iter().map(|text| matcher(text)).collect());
    let mut own = route("- - /own/*", Action::Pass);
    own.filters = filters(&["PUT", "- - /own/x"]);
    let none = Route { filters: filters(&[]), ..route("- - /none", Action::Pass) };
    let fallback = Route { filters: filters(&["- - /a/*"]), ..Route::default() };
    let routes = Routes::new(vec![own, none, route("GET", Action::Pass)], fallback, false);
    let found = |text| routes.find(&head(text), Scheme::Http).unwrap().filters;
    assert_eq!(found("GET /own/x"), [false, true]);
    assert_eq!(found("PUT /own/../own/y"), [true, false]);
    assert_eq!(found("GET /none"), [false; 0]);
    assert_eq!((found("GET /a/b"), found("PUT /b")), (vec![true], vec![false]));
    // They look at paths too, so that these are put in order.
    let fallback = Route { filters: filters(&["- - /a/*"]), ..Route::default() };
    assert_eq!(ask(Routes::new(Vec::new(), fallback, false), "GET /x/../a").unwrap(), "/a");
}

#[test]
fn what_was_compared_is_what_goes_upstream() {
    let routes = || only("- - /admin/*", Action::Pass);
    for (target, upstream) in [
        ("/api/../admin/x?q=/../", "/admin/x?q=/../"),
        ("//admin", "/admin"),
        ("/%61dmin/x", ""),
        ("/admin/x", ""),
        ("http://h/a/%2e%2e/admin?", "/admin?"),
    ] {
        assert_eq!(ask(routes(), &format!("GET {target}")).unwrap(), upstream, "{target}");
    }
    assert!(ask(routes(), "GET /admin%2fx").is_err());
    // Where nothing compares paths, they are no business of ours.
    assert_eq!(ask(only("- a", Action::Pass), "GET /x/..%2f//y").unwrap(), "");
}

#[test]
fn rewriting_gives_the_full_path_and_keeps_the_query() {
    let to = |text: &str, path: &str| Rewrite::to(text, &[pattern(path)]).unwrap();
    for (path, text, target, expected) in [
        ("/api/*", "/v1/{*}", "/api/a/b?q", "/v1/a/b?q"),
        ("/api/*", "/v1/{*}", "/api", "/v1/"),
        ("/api/*", "/{*}", "/api//evil.example", "/evil.example"),
        ("/api/*", "/{*}", "/api/x/../../api/%2e/y", "/y"),
        ("/u/:id", "/people/{id}/x", "/u/7%20?", "/people/7%20/x?"),
        ("/u/:id", "/people?id={id}", "/u/7?a=1", "/people?id=7"),
        ("/*", "{path}", "/a/../b?q", "/b?q"),
        ("/*", "/one{path}", "/a", "/one/a"),
        ("/*", "/fixed", "/a?b", "/fixed?b"),
    ] {
        assert_eq!(rewritten(path, to(text, path), target), expected, "{text} {target}");
    }
    for (from, text, target, expected) in [
        ("/api", "/v1", "/api/a?q", "/v1/a?q"),
        ("/api", "/v1", "/api", "/v1"),
        ("/api", "/v1", "/api/", "/v1/"),
        ("/api/", "/v1/", "/api/a", "/v1/a"),
        ("/api", "/v1", "/apix", "/apix"),
        ("/api", "/", "/api", "/"),
        ("/api", "", "/api/a/", "/a/"),
        ("/api", "/", "/%61pi//evil", "/evil"),
        ("/a/b", "/c", "/a/b/d", "/c/d"),
        ("/", "/base", "/x", "/base/x"),
        ("", "/base", "/", "/base/"),
    ] {
        let rewrite = Rewrite::prefix(from, text).unwrap();
        assert_eq!(rewritten("/*", rewrite, target), expected, "{from} {text} {target}");
    }
    for (source, text, target, expected) in [
        (r"^/u/(\d+)$", "/users/$1", "/u/7?q", "/users/7?q"),
        (r"^/u/(\d+)$", "/users/$1", "/u/x?q", "/u/x?q"),
        (r"^/(?<rest>.*)$", "$<rest>", "/a/b", "/a/b"),
        (r"^/x", "", "/x", "/"),
        (r"^/x(.*)", "/$1", "/x/y", "/y"),
        (r"^/find/(.+)", "/find?for=$1", "/find/a?b", "/find?for=a"),
    ] {
        let expression = Expression { source, ignores_case: false };
        let rewrite = Rewrite::pattern(&expression, text).unwrap();
        assert_eq!(rewritten("/*", rewrite, target), expected, "{source} {target}");
    }
    // There is no path to rewrite.
    let rewrite = || Action::Rewrite(to("/x", "/*"));
    assert_eq!(ask(only("-", rewrite()), "OPTIONS *").unwrap(), "");
    assert_eq!(ask(only("-", rewrite()), "CONNECT a:1").unwrap(), "");
}

#[test]
fn redirections_lead_where_they_are_told_to() {
    for (path, to, target, expected) in [
        ("/*", "https://{host}{path}", "/a/b?q", "https://a.example/a/b?q"),
        ("/*", "{scheme}://www.{host}{path}", "/", "https://www.a.example/"),
        ("/old/*", "/new/{*}", "/old/x?q", "/new/x?q"),
        ("/old/*", "/{*}", "/old//evil.example/x", "/evil.example/x"),
        ("/old/*", "/{*}/evil.example", "/old", "/evil.example"),
        ("/*", "{path}/", "//evil.example", "/evil.example/"),
        ("/:a", "https://x.example/?was={a}", "/b?q", "https://x.example/?was=b"),
        ("/*", "/x#part", "/a?q", "/x?q#part"),
    ] {
        let redirect = Redirect::new(308, to, &[pattern(path)]).unwrap();
        let routes = only(&format!("- - {path}"), Action::Redirect(redirect));
        let location = ask(routes, &format!("GET {target}|Host: a.example:80")).unwrap();
        assert_eq!(location, expected, "{to} {target}");
    }
    let v6 = Redirect::new(301, "https://{host}/", &[]).unwrap();
    assert_eq!(
        ask(only("-", Action::Redirect(v6)), "GET /|Host: [::1]:8").unwrap(),
        "https://[::1]/"
    );
}

#[test]
fn what_leads_nowhere_is_refused() {
    let path = [pattern("/a/:id")];
    for to in [
        "",
        "x",
        "//x",
        "{host}",
        "/{x}",
        "/{*}",
        "/{",
        "/}",
        "/a b",
        "/é",
        "ftp://a/",
        "http://",
        "https:///x",
        "https://{path}",
        "{id}",
        "/\r\n",
    ] {
        assert!(Redirect::new(302, to, &path).is_err(), "{to:?}");
    }
    for to in ["", "x", "//x", "http://a/", "{host}", "/x#y", "/{*}", "{id}"] {
        assert!(Rewrite::to(to, &path).is_err(), "{to:?}");
    }
    for status in [200, 300, 304, 305, 400] {
        assert!(Redirect::new(status, "/", &[]).is_err());
    }
    let two = [pattern("/a/:id"), pattern("/b/:id/*")];
    assert!(Rewrite::to("/{id}", &two).is_ok() && Rewrite::to("/{*}", &two).is_err());
    let expression = Expression { source: "^/a", ignores_case: true };
    for to in ["/a b", "/#", "/é", "$1"] {
        assert!(Rewrite::pattern(&expression, to).is_err(), "{to}");
    }
    assert!(Rewrite::prefix("/a", "b").is_err() && Rewrite::prefix("/a", "/b c").is_err());
    assert!(Rewrite::prefix("/a/:id", "/").is_err() && Rewrite::prefix("a", "/").is_err());
}
