//! Requests without a client's connection, straight to peers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use millrace_connectors::{Connector, Peer};
use millrace_error::{Code, Error, NoLog, Result};
use millrace_message::RequestHead;
use millrace_server::{ConnInfo, ServerApp};
use millrace_transport::Address;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::phases::ProxyHttp;
use crate::{
    ClientConnection, Exchange, FeedBody, ForwardingOptions, HttpProxy, ProxyOptions, Subrequest,
    Subresponse,
};

/// Sends requests to peers: through the same pipeline as a proxy's, with the same pool, HTTP/2 and TLS,
/// but without a server.
pub struct HttpClient {
    proxy: Arc<HttpProxy<Nowhere>>,
    connection: Arc<ClientConnection>,
    runtime: Handle,
}

/// A request that has no peer goes nowhere.
struct Nowhere;

impl ProxyHttp for Nowhere {
    type Ctx = ();

    fn new_ctx(&self, _ex: &Exchange) {}

    async fn upstream_peer(&self, _ex: &Exchange, _ctx: &()) -> Result<Arc<Peer>> {
        Err(Error::new(Code::Internal, "a request without a peer"))
    }
}

impl HttpClient {
    /// One whose connections live on this runtime. Of the options those that concern upstreams hold.
    pub fn new(options: ProxyOptions, runtime: Handle) -> Self {
        let forwarding = ForwardingOptions { x_forwarded: false, ..ForwardingOptions::default() };
        let options = ProxyOptions { forwarding, routing: None, ..options };
        let here = Address::Ip(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
        let info = ConnInfo {
            id: ConnInfo::next_id(),
            local: here.clone(),
            remote: here,
            runtime: 0,
            accepted: Instant::now(),
            tls: None,
            counters: Arc::default(),
        };
        let connection = Arc::new(ClientConnection::own(&info));
        let proxy = Arc::new(HttpProxy::new(Nowhere, options, 1, Arc::new(NoLog)));
        {
            let _on = runtime.enter();
            ServerApp::on_runtime_start(&proxy, 0);
        }
        HttpClient { proxy, connection, runtime }
    }

    /// Sends a request: what will come of it. Dropped, or cancelled, it ends the request.
    pub fn request(&self, peer: Arc<Peer>, head: RequestHead, body: FeedBody) -> Subresponse {
        let connection = self.connection.clone();
        let sub = Subrequest { head, body, connection, peer: Some(peer), discard: false };
        self.proxy.subrequest(sub, &self.runtime).1
    }

    /// A request of which all is there.
    pub fn whole(&self, peer: Arc<Peer>, head: RequestHead, body: Bytes) -> Subresponse {
        self.request(peer, head, body.into())
    }

    /// The connections to peers: their numbers can be read here.
    pub fn connector(&self) -> &Arc<Connector> {
        self.proxy.connector()
    }
}
