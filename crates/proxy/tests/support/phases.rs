use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use millrace_connectors::{Peer, PeerOptions};
use millrace_error::{Code, Error, Result, Source};
use millrace_message::{RequestHead, ResponseHead};
use millrace_proxy::{Answer, BodyFilter, Decision, Exchange, Filtered, Filtering, ProxyHttp};

use bytes::Bytes;

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Hook<F> = Option<Box<F>>;

/// Phases that tests put together. `upstream_peer` is the first peer unless told otherwise.
pub struct TestPhases {
    pub peers: Vec<Arc<Peer>>,
    pub request_filter:
        Hook<dyn for<'a> Fn(&'a Exchange) -> Later<'a, Result<Option<Answer>>> + Send + Sync>,
    pub upstream_peer: Hook<dyn Fn(&Exchange, &[Arc<Peer>]) -> Result<Arc<Peer>> + Send + Sync>,
    pub fail_to_connect: Hook<dyn Fn(&Exchange, &Error) -> Decision + Send + Sync>,
    pub connected: Hook<dyn Fn(&Exchange) -> Later<'static, Result<()>> + Send + Sync>,
    pub error_while_proxy: Hook<dyn Fn(&Exchange, &Error) -> Decision + Send + Sync>,
    pub upstream_request: Hook<dyn Fn(&mut RequestHead) + Send + Sync>,
    pub response_filter: Hook<
        dyn for<'a> Fn(&'a mut ResponseHead) -> Later<'a, Result<Option<Answer>>> + Send + Sync,
    >,
    pub fail_to_proxy:
        Hook<dyn for<'a> Fn(&'a Error) -> Later<'a, Result<Option<Answer>>> + Send + Sync>,
    pub request_body: Hook<dyn Fn() -> Box<dyn BodyFilter> + Send + Sync>,
    pub response_body: Hook<dyn Fn(&Exchange) -> Option<Box<dyn BodyFilter>> + Send + Sync>,
    /// False drops the interim response.
    pub interim: Hook<dyn Fn(&mut ResponseHead) -> bool + Send + Sync>,
    pub suppress: Hook<dyn Fn(&Error) -> bool + Send + Sync>,
    pub summary: Option<String>,
    pub logging: Hook<dyn Fn(&Exchange) + Send + Sync>,
    pub log: Option<Sender<Logged>>,
}

/// What `logging` was told.
#[derive(Debug)]
pub struct Logged {
    pub method: String,
    pub target: String,
    pub status: Option<u16>,
    pub code: Option<Code>,
    pub source: Option<Source>,
    pub can_retry: bool,
    pub message: String,
    pub attempt: u32,
    pub reused: bool,
    pub received: u64,
    pub sent: u64,
    pub last: bool,
    pub requests: u32,
}

impl TestPhases {
    pub fn to(address: SocketAddr) -> TestPhases {
        TestPhases::with(vec![peer(address, PeerOptions::default())])
    }

    pub fn with(peers: Vec<Arc<Peer>>) -> TestPhases {
        TestPhases {
            peers,
            request_filter: None,
            upstream_peer: None,
            fail_to_connect: None,
            connected: None,
            error_while_proxy: None,
            upstream_request: None,
            response_filter: None,
            fail_to_proxy: None,
            request_body: None,
            response_body: None,
            interim: None,
            suppress: None,
            summary: None,
            logging: None,
            log: None,
        }
    }

    /// Answers everything with this.
    pub fn answering(answer: Answer) -> TestPhases {
        let mut phases = TestPhases::with(Vec::new());
        phases.request_filter = Some(Box::new(move |_| {
            let (head, body) = (answer.head.clone(), answer.body.clone());
            Box::pin(async { Ok(Some(Answer { head, body, stream: None })) })
        }));
        phases
    }

    /// Never comes to an end of `request_filter`.
    pub fn pending() -> TestPhases {
        let mut phases = TestPhases::with(Vec::new());
        phases.request_filter = Some(Box::new(|_| Box::pin(std::future::pending())));
        phases
    }
}

pub fn peer(address: SocketAddr, options: PeerOptions) -> Arc<Peer> {
    Arc::new(Peer::new(0, address.into(), options))
}

/// A filter of a body that is a function, run at once or, as most are, a little later.
pub struct Piecewise<F> {
    pub each: F,
    pub holds_head: bool,
}

impl<F: FnMut(Bytes, bool) -> Result<Filtered> + Send> BodyFilter for Piecewise<F> {
    fn filter(&mut self, data: Bytes, end: bool) -> Filtering {
        let filtered = (self.each)(data, end);
        Filtering::Later(Box::pin(async {
            tokio::task::yield_now().await;
            filtered
        }))
    }

    fn holds_head(&self) -> bool {
        self.holds_head
    }
}

impl ProxyHttp for TestPhases {
    type Ctx = ();

    fn new_ctx(&self, _ex: &Exchange) {}

    async fn request_filter(&self, ex: &Exchange, _ctx: &()) -> Result<Option<Answer>> {
        match &self.request_filter {
            Some(hook) => hook(ex).await,
            None => Ok(None),
        }
    }

    async fn upstream_peer(&self, ex: &Exchange, _ctx: &()) -> Result<Arc<Peer>> {
        match &self.upstream_peer {
            Some(hook) => hook(ex, &self.peers),
            None => Ok(self.peers[0].clone()),
        }
    }

    async fn fail_to_connect(
        &self,
        ex: &Exchange,
        _peer: &Arc<Peer>,
        error: &Error,
        _ctx: &(),
    ) -> Result<Decision> {
        Ok(self.fail_to_connect.as_ref().map_or(Decision::Undecided, |hook| hook(ex, error)))
    }

    async fn connected_to_upstream(
        &self,
        ex: &Exchange,
        _peer: &Arc<Peer>,
        _ctx: &(),
    ) -> Result<()> {
        match &self.connected {
            Some(hook) => hook(ex).await,
            None => Ok(()),
        }
    }

    async fn upstream_request_filter(
        &self,
        _ex: &Exchange,
        request: &mut RequestHead,
        _ctx: &(),
    ) -> Result<()> {
        if let Some(hook) = &self.upstream_request {
            hook(request);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _ex: &Exchange,
        response: &mut ResponseHead,
        _ctx: &(),
    ) -> Result<Option<Answer>> {
        match &self.response_filter {
            Some(hook) => hook(response).await,
            None => Ok(None),
        }
    }

    fn request_body_filter(&self, _ex: &Exchange, _ctx: &()) -> Option<Box<dyn BodyFilter>> {
        self.request_body.as_ref().map(|hook| hook())
    }

    fn response_body_filter(
        &self,
        ex: &Exchange,
        _response: &ResponseHead,
        _ctx: &(),
    ) -> Option<Box<dyn BodyFilter>> {
        self.response_body.as_ref().and_then(|hook| hook(ex))
    }

    async fn error_while_proxy(
        &self,
        ex: &Exchange,
        _peer: &Arc<Peer>,
        error: &Error,
        _ctx: &(),
    ) -> Result<Decision> {
        Ok(self.error_while_proxy.as_ref().map_or(Decision::Undecided, |hook| hook(ex, error)))
    }

    async fn fail_to_proxy(
        &self,
        _ex: &Exchange,
        error: &Error,
        _ctx: &(),
    ) -> Result<Option<Answer>> {
        match &self.fail_to_proxy {
            Some(hook) => hook(error).await,
            None => Ok(None),
        }
    }

    async fn interim_response_filter(
        &self,
        _ex: &Exchange,
        response: &mut ResponseHead,
        _ctx: &(),
    ) -> Result<bool> {
        Ok(self.interim.as_ref().is_none_or(|hook| hook(response)))
    }

    fn suppress_error_log(&self, _ex: &Exchange, error: &Error, _ctx: &()) -> bool {
        self.suppress.as_ref().is_some_and(|hook| hook(error))
    }

    fn request_summary(&self, ex: &Exchange, _ctx: &()) -> String {
        self.summary.clone().unwrap_or_else(|| ex.summary())
    }

    fn logging(&self, ex: &Exchange, error: Option<&Error>, _ctx: &()) {
        let logged = Logged {
            method: ex.request.method.to_string(),
            target: String::from_utf8_lossy(&ex.request.target).into_owned(),
            status: ex.response.as_ref().map(|response| response.status),
            code: error.map(Error::code),
            source: error.map(Error::source),
            can_retry: error.is_some_and(Error::can_retry),
            message: error.map(Error::to_string).unwrap_or_default(),
            attempt: ex.attempt,
            reused: ex.upstream.as_ref().is_some_and(|upstream| upstream.reused),
            received: ex.received,
            sent: ex.sent,
            last: ex.last_of_connection,
            requests: ex.connection_requests,
        };
        let _ = self.log.as_ref().unwrap().send(logged);
        if let Some(hook) = &self.logging {
            hook(ex);
        }
    }
}
