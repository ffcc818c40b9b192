//! The reference: what hyper's two connections, a pool and rustls cost, and nothing else. It removes
//! and checks nothing, so it is a floor to compare with and no proxy to use.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc};

use http::{HeaderValue, Uri, Version, header::HOST};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1 as client,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::wire::Io;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Pool = Rc<RefCell<Vec<client::SendRequest<Incoming>>>>;

pub async fn serve(
    listener: TcpListener,
    origin: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let pool = Pool::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (pool, tls) = (pool.clone(), tls.clone());
        tokio::task::spawn_local(async move {
            let Some(tls) = tls else { return connection(stream, false, pool, origin).await };
            let Ok(stream) = tls.accept(stream).await else { return };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            connection(stream, h2, pool, origin).await;
        });
    }
}

async fn connection(stream: impl Io + 'static, h2: bool, pool: Pool, origin: SocketAddr) {
    let service = service_fn(move |request| relay(pool.clone(), origin, request));
    // The client closed, or was cut off: neither is of interest here.
    if h2 {
        let mut builder = http2::Builder::new(Local);
        builder.timer(TokioTimer::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn relay(
    pool: Pool,
    origin: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Error> {
    if request.version() == Version::HTTP_2 {
        to_http1(&mut request)?;
    }
    let mut upstream = loop {
        let idle = pool.borrow_mut().pop();
        let Some(mut idle) = idle else { break connect(origin).await? };
        if idle.ready().await.is_ok() {
            break idle;
        }
    };
    let response = upstream.send_request(request).await?;
    pool.borrow_mut().push(upstream);
    Ok(response)
}

/// The same request in the form of HTTP/1.1: its authority in a field.
fn to_http1(request: &mut Request<Incoming>) -> Result<(), Error> {
    *request.version_mut() = Version::HTTP_11;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = parts.authority.take() {
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    parts.scheme = None;
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(())
}

async fn connect(origin: SocketAddr) -> Result<client::SendRequest<Incoming>, Error> {
    let stream = TcpStream::connect(origin).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Runs the tasks of hyper's connections on this thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
