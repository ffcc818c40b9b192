//! An origin as a service of a server.

#![allow(dead_code)] // no test uses all of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use millrace_demo_origin::{DemoOrigin, OriginOptions};
use millrace_listeners::Endpoint;
pub(crate) use millrace_server::Ends;
use millrace_server::{ListeningService, RuntimeOptions, Server, ServerOptions};

pub(crate) struct Origin {
    pub(crate) server: Arc<Server>,
    address: SocketAddr,
}

pub(crate) fn start(options: OriginOptions) -> Origin {
    let endpoint = Endpoint::tcp("127.0.0.1:0".parse().unwrap());
    let app = Arc::new(DemoOrigin::new(options));
    let service = ListeningService::new("origin", app, vec![endpoint], RuntimeOptions::default());
    let server = Arc::new(Server::new(ServerOptions::default()));
    server.add_service(Box::new(service)).unwrap();
    let address = server.start().unwrap()[0][0].socket_addr().unwrap();
    Origin { server, address }
}

pub(crate) fn quick() -> OriginOptions {
    OriginOptions { pause: Duration::from_millis(5), ..OriginOptions::default() }
}

impl Origin {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// All that comes until the origin closes.
    pub(crate) fn ask(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        String::from_utf8(all).unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.close(Duration::ZERO);
    }
}

pub(crate) fn last(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}
