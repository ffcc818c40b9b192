//! Handshakes with clients: in the task of each connection, within their time, and told to nobody
//! but those who look for a fault.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use millrace_error::{Level, Log};
use millrace_listeners::{Admission, ConnectionFilter, Others, ProxyProtocol};
use millrace_server::*;
use millrace_test_certs::{Authority, Issued};
use millrace_tls::{CertificateOptions, ServerTls, ServerTlsOptions};
use millrace_transport::Networks;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Remembers lines with their levels.
#[derive(Default)]
struct Levels(Mutex<Vec<(Level, String)>>);

impl Log for Levels {
    fn log(&self, level: Level, line: &str) {
        self.0.lock().unwrap().push((level, line.to_owned()));
    }
}

struct Secure {
    server: Arc<Server>,
    address: SocketAddr,
    log: Arc<Levels>,
    client: Arc<ClientConfig>,
}

type Client = StreamOwned<ClientConnection, TcpStream>;

impl Secure {
    fn new(kind: RuntimeKind, handshake_timeout: Duration) -> Self {
        let ca = Authority::new("ca");
        let Issued { cert_pem, key_pem } = ca.issue(&["a.test"]);
        let tls = ServerTls::new(ServerTlsOptions {
            certificates: vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }],
            handshake_timeout,
            ..Default::default()
        });
        let log = Arc::new(Levels::default());
        let server = Server::new(ServerOptions { log: log.clone(), ..ServerOptions::default() });
        let endpoints = vec![tcp("127.0.0.1:0").tls(tls.unwrap())];
        server.add_service(service(&Arc::default(), kind, endpoints)).unwrap();
        let address = server.start().unwrap()[0][0].socket_addr().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca.ca_pem).unwrap()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Secure { server: Arc::new(server), address, log, client: Arc::new(client) }
    }

    fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    fn connect(&self) -> Client {
        let name = ServerName::try_from("a.test").unwrap();
        StreamOwned::new(ClientConnection::new(self.client.clone(), name).unwrap(), self.plain())
    }

    fn counters(&self) -> Arc<Counters> {
        self.server.counters().remove(0).1
    }
}

fn ask(client: &mut Client, text: &str) -> String {
    client.write_all(text.as_bytes()).unwrap();
    let mut buf = [0; 1024];
    let count = client.read(&mut buf).unwrap();
    String::from_utf8(buf[..count].into()).unwrap()
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_app_sees_what_the_handshake_came_to_on_every_runtime() {
    for kind in KINDS {
        let secure = Secure::new(kind, LONG);
        let mut clients: Vec<_> = (0..8).map(|_| secure.connect()).collect();
        for client in &mut clients {
            assert_eq!(ask(client, "sni"), "a.test");
            assert_eq!(ask(client, "again"), "again");
        }
        assert_eq!(secure.counters().open(), 8);
        drop(clients);
        eventually(|| secure.counters().open() == 0);
        assert!(secure.log.0.lock().unwrap().is_empty());
    }
}

#[test]
fn a_silent_client_holds_up_nobody_and_is_closed_in_time() {
    for kind in KINDS {
        let secure = Secure::new(kind, Duration::from_secs(2));
        let mut silent: Vec<_> = (0..8).map(|_| secure.plain()).collect();
        eventually(|| secure.counters().open() == 8);
        let mut other = secure.connect();
        assert_eq!(ask(&mut other, "x"), "x");
        assert_eq!(secure.counters().open(), 9, "while they are silent");
        drop(other);
        for client in &mut silent {
            assert_eq!(client.read(&mut [0; 64]).unwrap(), 0);
        }
        eventually(|| secure.counters().open() == 0);
        let lines = secure.log.0.lock().unwrap();
        assert_eq!(lines.len(), 8);
        for (level, line) in lines.iter() {
            assert_eq!(*level, Level::Debug);
            let expected = "TLS handshake with 127.0.0.1:";
            assert!(line.starts_with(expected) && line.ends_with("took too long"), "{line}");
        }
    }
}

#[test]
fn what_is_no_handshake_is_closed_and_logged_for_those_who_look() {
    let secure = Secure::new(RuntimeKind::Stealing, LONG);
    let garbage = [0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    let sent: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0xff; 300], &garbage, b""];
    for bytes in sent {
        let mut client = secure.plain();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        // An alert at most: seven bytes.
        assert!(answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    }
    eventually(|| secure.counters().open() == 0);
    let lines = secure.log.0.lock().unwrap();
    assert_eq!(lines.len(), sent.len());
    assert!(lines.iter().all(|(level, _)| *level == Level::Debug), "{lines:?}");
}

#[test]
fn a_handshake_that_has_not_ended_does_not_hold_up_the_end_of_the_server() {
    for kind in KINDS {
        let secure = Secure::new(kind, LONG);
        let _silent = secure.plain();
        eventually(|| secure.counters().open() == 1);
        let (report, took) = timed(|| secure.server.close(Duration::from_secs(30)));
        assert_eq!(report, connections(1, 0));
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
    let secure = Secure::new(RuntimeKind::Stealing, LONG);
    let _silent = secure.plain();
    eventually(|| secure.counters().open() == 1);
    let report = secure.server.close(Duration::from_millis(50));
    assert_eq!(report, connections(0, 1));
}

#[test]
fn what_a_proxy_says_comes_before_the_handshake_and_a_refusal_too() {
    let ca = Authority::new("ca");
    let Issued { cert_pem, key_pem } = ca.issue(&["a.test"]);
    let tls = ServerTls::new(ServerTlsOptions {
        certificates: vec![CertificateOptions { names: Vec::new(), cert_pem, key_pem }],
        ..Default::default()
    });
    let mut loopback = Networks::default();
    loopback.add("loopback").unwrap();
    let proxies = ProxyProtocol {
        from: loopback.clone(),
        others: Others::Refuse,
        timeout: Duration::from_secs(10),
    };
    let with = |proxy_protocol, deny| {
        let filter = ConnectionFilter { deny, ..ConnectionFilter::default() };
        let mut endpoint = tcp("127.0.0.1:0").tls(tls.as_ref().unwrap().clone());
        endpoint.admission = Some(Arc::new(Admission { proxy_protocol, filter }));
        endpoint
    };
    let endpoints = vec![with(Some(proxies), Networks::default()), with(None, loopback)];
    let server = Server::new(ServerOptions::default());
    server.add_service(service(&Arc::default(), RuntimeKind::Stealing, endpoints)).unwrap();
    let bound = server.start().unwrap().remove(0);

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca.ca_pem).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut plain = TcpStream::connect(bound[0].socket_addr().unwrap()).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    plain.write_all(b"PROXY TCP6 2001:db8::1 ::1 5 443\r\n").unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = StreamOwned::new(session, plain);
    assert_eq!(ask(&mut client, "remote"), "[2001:db8::1]:5");
    assert_eq!(ask(&mut client, "sni"), "a.test");

    // Refused without a handshake: not a byte comes back, not even of an alert.
    let mut refused = TcpStream::connect(bound[1].socket_addr().unwrap()).unwrap();
    refused.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(refused.read(&mut [0; 16]).unwrap(), 0);
}
