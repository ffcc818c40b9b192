//! An echo over WebSocket (RFC 6455): it greets, and sends each message back. Without extensions
//! and subprotocols.

mod frame;
mod message;

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_http1::write_response_head;
use millrace_message::{Method, RequestHead, ResponseHead, requested_upgrade};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use self::frame::{Fault, Opcode, write_frame};
use self::message::{Heard, Incoming};
use crate::connection::Connection;
use crate::exchange::After;

/// What a client is told first, so that one that cannot speak shows something too. As long as it is,
/// the byte that says so looks like a space where frames are shown as they come.
const GREETING: &[u8; 32] = b"Hello. What you send comes back\n";

/// The server goes away (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;

/// What ends a socket.
enum End {
    /// It is closed with this code.
    Code(u16),
    /// The client has ended its side.
    Left,
    /// Nothing more can be said.
    Failed(io::Error),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Code(fault as u16)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Failed(error)
    }
}

/// What `Sec-WebSocket-Accept` says to a request that asks for a WebSocket in the right way (RFC
/// 6455 §4.2); none to any other.
pub(crate) fn accept(request: &RequestHead) -> Option<String> {
    let key = single(request, "sec-websocket-key")?;
    let is_right = request.method == Method::GET
        && requested_upgrade(request, &["websocket".to_owned()]).is_some()
        && single(request, "sec-websocket-version")? == b"13"
        && STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    is_right.then(|| accept_of(key))
}

/// The value of a field that is there once.
fn single<'a>(request: &'a RequestHead, name: &'static str) -> Option<&'a [u8]> {
    let mut values = request.fields.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn accept_of(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Changes to WebSocket, and talks until one side has had enough.
pub(crate) async fn talk(with: &mut Connection<'_>, accept: &str) -> io::Result<After> {
    let mut head = ResponseHead::new(101);
    head.fields.push_unchecked(b"connection", b"Upgrade");
    head.fields.push_unchecked(b"upgrade", b"websocket");
    head.fields.push_unchecked(b"sec-websocket-accept", accept.as_bytes());
    let mut out = Vec::new();
    write_response_head(&head, &mut out);
    write_frame(Opcode::Text, GREETING, &mut out);
    with.write(&out).await?;
    match echo(with).await {
        End::Failed(error) => return Err(error),
        End::Left => {}
        End::Code(code) => say(with, Opcode::Close, &code.to_be_bytes()).await?,
    }
    Ok(After::Close)
}

async fn echo(with: &mut Connection<'_>) -> End {
    let mut incoming = Incoming::default();
    loop {
        let (opcode, payload) = match next(with, &mut incoming).await {
            Ok(Heard::Message(opcode, payload)) => (opcode, payload),
            Ok(Heard::Ping(payload)) => (Opcode::Pong, payload),
            Ok(Heard::Pong) => continue,
            Ok(Heard::Close(payload)) => (Opcode::Close, payload),
            Err(end) => return end,
        };
        match say(with, opcode, &payload).await {
            Ok(()) if opcode == Opcode::Close => return End::Left,
            Ok(()) => {}
            Err(error) => return End::Failed(error),
        }
    }
}

/// What the client says next. One that is silent is asked for a sign of life.
async fn next(with: &mut Connection<'_>, incoming: &mut Incoming) -> Result<Heard, End> {
    let mut is_pinged = false;
    loop {
        if let Some(heard) = incoming.next(&mut with.input)? {
            return Ok(heard);
        }
        let is_silent = with.input.is_empty() && !incoming.is_open();
        let may_ping = is_silent && !is_pinged;
        let limit = if may_ping { with.options.idle } else { with.options.patience };
        let Connection { stream, input, shutdown, .. } = with;
        let read = tokio::select! {
            read = timeout(limit, stream.read_buf(input)) => read,
            () = shutdown.draining() => return Err(End::Code(GOING_AWAY)),
        };
        match read {
            Ok(Ok(0)) => return Err(End::Left),
            Ok(Ok(_)) => is_pinged = false,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if may_ping => {
                is_pinged = true;
                say(with, Opcode::Ping, b"").await?;
            }
            Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}

async fn say(with: &mut Connection<'_>, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    write_frame(opcode, payload, &mut out);
    with.write(&out).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl Fn(&mut RequestHead)) -> RequestHead {
        let mut head = RequestHead::new(Method::GET, "/ws");
        for (name, value) in [
            ("Host", "a"),
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            head.fields.append(name, value).unwrap();
        }
        change(&mut head);
        head
    }

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_it_says() {
        let accepted = accept(&request(|_| {}));
        assert_eq!(accepted.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn what_does_not_ask_in_the_right_way_is_not_accepted() {
        let set = |name: &'static str, value: &'static str| {
            accept(&request(|head| head.fields.set(name, value).unwrap()))
        };
        assert_eq!(set("Connection", "keep-alive"), None);
        assert_eq!(set("Upgrade", "h2c"), None);
        assert_eq!(set("Sec-WebSocket-Version", "8"), None);
        for key in
            ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "!!!!IHNhbXBsZSBub25jZQ=="]
        {
            assert_eq!(set("Sec-WebSocket-Key", key), None, "{key}");
        }
        let twice = |head: &mut RequestHead| {
            head.fields.append("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        };
        assert_eq!(accept(&request(twice)), None);
        assert_eq!(accept(&request(|head| head.method = Method::HEAD)), None);
    }
}
