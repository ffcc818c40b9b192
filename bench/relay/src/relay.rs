//! The reference: what hyper's two connections and a pool cost, and nothing else. It removes and
//! checks nothing, so it is a floor to compare with and no proxy to use.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc};

use hyper::{
    Request, Response, body::Incoming, client::conn::http1 as client,
    server::conn::http1 as server, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Pool = Rc<RefCell<Vec<client::SendRequest<Incoming>>>>;

pub async fn serve(listener: TcpListener, origin: SocketAddr) -> io::Result<()> {
    let pool = Pool::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = pool.clone();
        let service = service_fn(move |request| relay(pool.clone(), origin, request));
        tokio::task::spawn_local(async move {
            // The client closed, or was cut off: neither is of interest here.
            let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn relay(
    pool: Pool,
    origin: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Error> {
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

async fn connect(origin: SocketAddr) -> Result<client::SendRequest<Incoming>, Error> {
    let stream = TcpStream::connect(origin).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
