use millrace_message::{Method, RequestHead, standard_reason};

use crate::websocket;

/// What answers a request.
#[derive(Debug)]
pub(crate) enum Page {
    /// A page that is there as a whole.
    Whole(Whole),
    /// The request's body.
    Echo,
    /// Lines with a pause between them.
    Lines,
    /// A WebSocket, with the value that accepts it.
    Socket(String),
}

/// A page that is there as a whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) text: String,
}

const HOME: &str = "<!doctype html>
<title>millrace demo</title>
<h1>It works</h1>
<p>This page comes from the demo's origin: an app in Rust, served by a second service of the same server.
";

/// What a client of `/ws` has to ask for (RFC 9110 §15.5.22, RFC 6455 §4.4).
const UPGRADE: &[(&str, &str)] =
    &[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")];

const TEXT: &str = "text/plain; charset=utf-8";

impl Whole {
    /// The page of a status alone.
    pub(crate) fn plain(status: u16) -> Whole {
        Whole::text(status, format!("{status} {}\n", standard_reason(status)))
    }

    fn text(status: u16, text: String) -> Whole {
        Whole { status, kind: TEXT, fields: &[], text }
    }

    fn with(status: u16, fields: &'static [(&'static str, &'static str)]) -> Whole {
        Whole { fields, ..Whole::plain(status) }
    }

    fn home() -> Whole {
        let kind = "text/html; charset=utf-8";
        Whole { status: 200, kind, fields: &[], text: HOME.to_owned() }
    }
}

impl Page {
    /// The page for a request whose target is in origin form.
    pub(crate) fn of(request: &RequestHead) -> Page {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        Page::Whole(match path {
            b"/echo" if request.method == Method::POST => return Page::Echo,
            b"/echo" => Whole::with(405, &[("allow", "POST")]),
            _ if !reads => Whole::with(405, &[("allow", "GET, HEAD")]),
            b"/stream" => return Page::Lines,
            b"/ws" => match websocket::accept(request) {
                Some(accept) => return Page::Socket(accept),
                None => Whole::with(426, UPGRADE),
            },
            b"/missing" | b"/favicon.ico" => Whole::plain(404),
            b"/" => Whole::home(),
            _ => Whole::text(200, seen(request)),
        })
    }
}

/// The request as it arrived, in lines.
fn seen(request: &RequestHead) -> String {
    let target = String::from_utf8_lossy(&request.target);
    let mut text = format!("{} {target}\n", request.method);
    for (name, value) in request.fields.iter() {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        text.push_str(&format!("{name}: {value}\n"));
    }
    text
}
