//! Pingora as its documentation has it, on one thread.
//!
//! ```text
//! millrace-pingora PORT ORIGIN_ADDRESS peer|four [CERT_FILE KEY_FILE]
//! ```
//!
//! `peer` implements `upstream_peer` alone; `four` is what millrace's subject `four` does, in Rust. It ends
//! with its standard input.

use std::io;

use async_trait::async_trait;
use pingora::{
    http::{RequestHeader, ResponseHeader},
    listeners::tls::TlsSettings,
    prelude::{HttpPeer, ProxyHttp, Result, Session},
    proxy::http_proxy_service,
    server::{Server, configuration::ServerConf},
};

struct Proxy {
    origin: String,
    four: bool,
}

impl Proxy {
    fn peer(&self) -> Box<HttpPeer> {
        Box::new(HttpPeer::new(self.origin.as_str(), false, String::new()))
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(self.peer())
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if self.four && session.req_header().uri.path().starts_with("/internal") {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        if self.four { request.insert_header("x-via", "millrace") } else { Ok(()) }
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        if self.four { response.insert_header("x-served-by", "millrace") } else { Ok(()) }
    }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ([port, origin, variant] | [port, origin, variant, _, _]) = args[..] else {
        return Err(io::Error::other("give PORT ORIGIN peer|four [CERT KEY]"));
    };
    let conf = ServerConf {
        threads: 1,
        // As millrace is measured, whose one thread has nobody to steal from either.
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Proxy { origin: origin.to_owned(), four: variant == "four" };
    let mut service = http_proxy_service(&server.configuration, proxy);
    let address = format!("127.0.0.1:{port}");
    match args[3..] {
        [cert, key] => {
            let mut tls = TlsSettings::intermediate(cert, key).map_err(io::Error::other)?;
            tls.enable_h2();
            service.add_tls_with_settings(&address, None, tls);
        }
        _ => service.add_tcp(&address),
    }
    server.add_service(service);
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    server.run_forever()
}
