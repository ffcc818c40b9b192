//! What holds for every tunnel, be it an upgrade or a CONNECT, with TLS on either side or none.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use support::*;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";
const CONNECT: &str = "CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n\r\n";

/// One kind of tunnel.
#[derive(Clone, Copy, Debug)]
struct Kind {
    connect: bool,
    tls_client: bool,
    tls_origin: bool,
}

const KINDS: [Kind; 8] = {
    let mut kinds = [Kind { connect: false, tls_client: false, tls_origin: false }; 8];
    let mut at = 0;
    while at < 8 {
        kinds[at] = Kind { connect: at & 1 != 0, tls_client: at & 2 != 0, tls_origin: at & 4 != 0 };
        at += 1;
    }
    kinds
};

impl Kind {
    fn ask(self) -> &'static str {
        if self.connect { CONNECT } else { UPGRADE }
    }

    /// A proxy before an origin that plays `script` in each tunnel.
    fn open(
        self,
        options: ProxyOptions,
        peer_options: impl Fn(PeerOptions) -> PeerOptions,
        script: impl Fn(Wire) + Send + Sync + 'static,
    ) -> Open {
        let certs = Certs::new();
        let script = move |_, mut wire: Wire| {
            if !self.connect {
                let head = wire.head().to_ascii_lowercase();
                assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
                wire.send(YES);
            }
            script(wire);
        };
        let (origin, peer_base) = match self.tls_origin {
            true => (certs.good_origin(script), certs.peer(|_| {})),
            false => (Origin::new(script), PeerOptions::default()),
        };
        let phases = TestPhases::with(vec![peer(origin.address, peer_options(peer_base))]);
        let options = ProxyOptions { connect: true, ..options };
        let proxy = match self.tls_client {
            true => Proxy::secure(phases, options, &certs.server(|_| {})),
            false => Proxy::new(phases, options),
        };
        Open { kind: self, certs, proxy, _origin: origin }
    }

    fn plain(self, script: impl Fn(Wire) + Send + Sync + 'static) -> Open {
        self.open(ProxyOptions::default(), |options| options, script)
    }
}

struct Open {
    kind: Kind,
    certs: Certs,
    proxy: Proxy,
    _origin: Origin,
}

impl Open {
    /// A client in its tunnel.
    fn client(&self) -> Wire {
        let mut client = self.proxy.client();
        if self.kind.tls_client {
            client = self.certs.client("a.test", None, &["http/1.1"]).over(client);
        }
        client.send(self.kind.ask());
        let head = client.head().to_ascii_lowercase();
        let status = if self.kind.connect { "http/1.1 200 " } else { "http/1.1 101 " };
        assert!(head.starts_with(status), "{head}");
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(head.contains("\r\nconnection: upgrade\r\n"), !self.kind.connect, "{head}");
        client
    }

    fn all_is_closed(&self) {
        let proxy = &self.proxy;
        eventually("all is closed", || proxy.pool().open == 0 && proxy.counters().open() == 0);
        assert_eq!(proxy.pool().idle, 0);
    }
}

/// What a script tells its test.
fn told<T: Send + 'static>() -> (impl Fn(T) + Send + Sync, impl Fn() -> T) {
    let (tell, hear) = channel();
    let tell = Mutex::new(tell);
    let tell = move |what| tell.lock().unwrap().send(what).unwrap();
    (tell, move || hear.recv_timeout(PATIENCE).unwrap())
}

#[test]
fn bytes_go_both_ways_at_once_and_are_counted() {
    for kind in KINDS {
        let open = kind.plain(|mut wire| {
            wire.echo();
            wire.end();
        });
        let mut client = open.client();
        let mut total = 0;
        // Around the sizes of a record and of the buffers of TLS: the last bytes of each have to be
        // sent though nothing follows.
        for length in [1, 2, 16_384, 16_385, 65_536, 65_537, 300_000, 5] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 / 5) as u8).collect();
            client.send(&bytes);
            assert!(client.bytes(length) == bytes, "{kind:?} {length}");
            total += length as u64;
        }
        client.end();
        client.ended();
        let logged = open.proxy.logged();
        assert_eq!((logged.code, logged.last), (None, true), "{kind:?} {}", logged.message);
        assert_eq!(logged.status, Some(if kind.connect { 200 } else { 101 }));
        assert_eq!(logged.received, kind.ask().len() as u64 + total);
        assert!(logged.sent > total && logged.sent < total + 300, "{}", logged.sent);
        open.all_is_closed();
    }
}

#[test]
fn one_side_may_end_while_the_other_goes_on() {
    for kind in KINDS {
        let (tell, hear) = told();
        let open = kind.plain(move |mut wire| {
            wire.send("bye");
            wire.end();
            tell((wire.rest(), wire.truncated));
        });
        let mut client = open.client();
        assert_eq!(client.rest(), b"bye", "{kind:?}");
        assert!(!client.truncated);
        client.send("still here");
        client.end();
        assert_eq!(hear(), (b"still here".to_vec(), false), "{kind:?}");
        assert_eq!(open.proxy.logged().code, None);

        let open = kind.plain(|mut wire| {
            assert_eq!(wire.rest(), b"question");
            wire.send("answer");
            wire.end();
        });
        let mut client = open.client();
        client.send("question");
        client.end();
        assert_eq!(client.rest(), b"answer", "{kind:?}");
        assert!(!client.truncated);
        assert_eq!(open.proxy.logged().code, None);
        open.all_is_closed();
    }
}

#[test]
fn a_client_that_is_killed_resets_the_origin() {
    for kind in KINDS {
        let (tell, hear) = told();
        let open = kind.plain(move |mut wire| {
            wire.send("hello");
            tell(wire.is_reset());
        });
        let mut client = open.client();
        assert_eq!(client.bytes(5), b"hello");
        client.send("last words");
        client.kill();
        assert!(hear(), "{kind:?}");
        assert_eq!(open.proxy.logged().code, Some(Code::ClientAborted));
        open.all_is_closed();
    }
}

#[test]
fn an_origin_that_is_killed_resets_the_client() {
    for kind in KINDS {
        let open = kind.plain(|mut wire| {
            assert_eq!(wire.bytes(2), b"go");
            wire.kill();
        });
        let mut client = open.client();
        client.send("go");
        assert!(client.is_reset(), "{kind:?}");
        assert_eq!(open.proxy.logged().code, Some(Code::UpstreamClosed));
        open.all_is_closed();
    }
}

#[test]
fn an_end_that_tls_cannot_vouch_for_is_no_end() {
    for kind in KINDS.into_iter().filter(|kind| kind.tls_client) {
        let (tell, hear) = told();
        let open = kind.plain(move |mut wire| {
            assert_eq!(wire.bytes(4), b"half");
            wire.send("ok");
            tell(wire.is_reset());
        });
        let mut client = open.client();
        client.send("half");
        assert_eq!(client.bytes(2), b"ok");
        // No goodbye.
        drop(client);
        assert!(hear(), "{kind:?}");
        assert_eq!(open.proxy.logged().code, Some(Code::ClientAborted));
        open.all_is_closed();
    }
    for kind in KINDS.into_iter().filter(|kind| kind.tls_origin) {
        let open = kind.plain(|mut wire| wire.send("half"));
        let mut client = open.client();
        assert!(client.is_reset(), "{kind:?}");
        assert_eq!(open.proxy.logged().code, Some(Code::UpstreamClosed));
        open.all_is_closed();
    }
}

#[test]
fn a_client_that_leaves_after_the_origin_s_end_has_done_nothing_wrong() {
    for kind in KINDS {
        let open = kind.plain(|mut wire| {
            wire.send("bye");
            wire.end();
            wire.rest();
        });
        let mut client = open.client();
        assert_eq!(client.rest(), b"bye");
        // Over TLS many clients end without a goodbye.
        drop(client);
        let logged = open.proxy.logged();
        assert_eq!(logged.code, None, "{kind:?} {}", logged.message);
        open.all_is_closed();
    }
}

#[test]
fn a_silent_tunnel_outlives_other_time_outs_and_ends_with_its_own() {
    for kind in KINDS {
        let short = Some(millis(50));
        let options = ProxyOptions {
            body_read_timeout: short,
            keep_alive_timeout: short,
            tunnel_idle_timeout: Some(millis(300)),
            ..ProxyOptions::default()
        };
        let (tell, hear) = told();
        let impatient = |options| PeerOptions { read_timeout: short, ..options };
        let open = kind.open(options, impatient, move |mut wire| {
            let byte = wire.bytes(1);
            wire.send(byte);
            tell(wire.is_reset());
        });
        let mut client = open.client();
        let start = Instant::now();
        client.send("x");
        assert_eq!(client.bytes(1), b"x");
        assert!(client.is_reset() && hear(), "{kind:?}");
        assert!(start.elapsed() >= millis(300));
        let logged = open.proxy.logged();
        assert_eq!((logged.code, logged.source), (Some(Code::ReadTimeout), Some(Source::Internal)));
    }
}

#[test]
fn the_grace_of_the_server_is_the_tunnel_s_too() {
    for kind in KINDS {
        let (tell, hear) = told();
        let open = kind.plain(move |mut wire| {
            let byte = wire.bytes(1);
            wire.send(byte);
            tell(wire.is_reset());
        });
        let mut client = open.client();
        let server = open.proxy.server.clone();
        let closing = std::thread::spawn(move || server.close(millis(300)));
        client.send("x");
        assert_eq!(client.bytes(1), b"x");
        assert!(client.is_reset() && hear(), "{kind:?}");
        assert_eq!(closing.join().unwrap().requests.cut, 1);
        assert_eq!(open.proxy.logged().code, Some(Code::ServerClosed));
    }
}

#[test]
fn a_slow_reader_holds_the_sender_up() {
    const HELD: usize = 32 * 1024 * 1024;
    // Over TLS, what is written is not what arrives, but is held up in the same way.
    for kind in KINDS.into_iter().filter(|kind| !kind.tls_client && !kind.tls_origin) {
        let (tell, hear) = told();
        let open = kind.plain(move |mut wire| tell(wire.flood()));
        let mut client = open.client();
        let total = hear();
        assert!(total < HELD, "{kind:?}: {total} bytes are held somewhere");
        assert_eq!(client.rest().len(), total);

        let (tell, hear) = told();
        let (go, may_go) = channel::<()>();
        let may_go = Arc::new(Mutex::new(may_go));
        let open = kind.plain(move |mut wire| {
            may_go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            tell(wire.rest().len());
        });
        let mut client = open.client();
        let total = client.flood();
        assert!(total < HELD, "{kind:?}: {total} bytes are held somewhere");
        client.end();
        go.send(()).unwrap();
        assert_eq!(hear(), total);
    }
}

#[test]
fn the_last_bytes_leave_tls_though_nothing_follows_them() {
    // Over a Unix socket, which takes little: of one of these lengths the last bytes do not fit, and
    // are all that TLS holds back.
    const STEP: usize = 32 * 1024;
    let certs = Certs::new();
    let config = certs.accepting(&certs.ca.issue(&["localhost"]));
    let path = std::env::temp_dir().join(format!("millrace-{}-tunnel.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (sent, was_sent) = channel::<usize>();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            let mut first = [0];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            let length = was_sent.recv_timeout(PATIENCE).unwrap();
            let mut rest = vec![0; length - 1];
            std::io::Read::read_exact(&mut stream, &mut rest).unwrap();
            std::io::Write::write_all(&mut stream, b"ok").unwrap();
        }
    });
    let address = millrace_connectors::PeerAddress::Unix(path.clone());
    let peer = Arc::new(Peer::new(0, address, certs.peer(|_| {})));
    let options = ProxyOptions { connect: true, ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::with(vec![peer]), options);
    for length in (1..=32).map(|count| count * STEP) {
        let mut client = proxy.client();
        client.send(CONNECT);
        client.head();
        client.send(vec![b'x'; length]);
        // Time for the proxy to write what can be written.
        std::thread::sleep(millis(20));
        sent.send(length).unwrap();
        assert_eq!(client.bytes(2), b"ok", "{length}");
    }
    std::fs::remove_file(path).unwrap();
}
