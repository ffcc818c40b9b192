use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::PATIENCE;

/// A client of HTTP/2 by prior knowledge.
pub struct H2Client {
    pub send: SendRequest<Bytes>,
    pub driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// Nothing here may take longer than this.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub fn get(path: &str) -> Request<()> {
    request("GET", path, &[])
}

pub fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!("http://a{path}"));
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

impl H2Client {
    pub async fn connect(address: SocketAddr) -> H2Client {
        H2Client::with(address, &Builder::new()).await
    }

    pub async fn with(address: SocketAddr, builder: &Builder) -> H2Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        H2Client::over(stream, builder).await
    }

    pub async fn over<S>(stream: S, builder: &Builder) -> H2Client
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = soon(builder.handshake(stream)).await.unwrap();
        H2Client { send, driver: tokio::spawn(connection) }
    }

    /// Begins a request; with a body that ends at once if `end`.
    pub async fn start(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        soon(poll_fn(|cx| self.send.poll_ready(cx))).await.unwrap();
        self.send.send_request(request, end).unwrap()
    }

    pub async fn try_ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Reply, h2::Error> {
        let (response, mut stream) = self.start(request, body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
        }
        Reply::read(response).await
    }

    pub async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Reply {
        self.try_ask(request, body).await.unwrap()
    }
}

impl Reply {
    pub async fn read(response: ResponseFuture) -> Result<Reply, h2::Error> {
        let (parts, mut body) = soon(response).await?.into_parts();
        let bytes = Reply::body(&mut body).await?;
        let trailers = soon(body.trailers()).await?;
        Ok(Reply { status: parts.status, fields: parts.headers, body: bytes, trailers })
    }

    pub async fn body(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
        let mut bytes = Vec::new();
        while let Some(data) = soon(body.data()).await {
            let data = data?;
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
