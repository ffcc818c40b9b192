//! Requests of JavaScript's own, without a server.

use bytes::Bytes;
use millrace_http1::HeadLimits;
use millrace_proxy::{BodyFeed, FeedBody, HttpClient, ProxyOptions};
use napi::bindgen_prelude::{Buffer, Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use crate::options::limit;
use crate::server::NativePoolStats;
use crate::subrequests::{NativeSubrequest, head};

/// The options of a connector, checked and completed in ts/.
#[napi(object, object_to_js = false)]
pub struct NativeConnectorOptions {
    pub name: String,
    pub threads: u32,
    pub pool_size: u32,
    pub max_header_bytes: u32,
    pub max_headers: u32,
    /// 0 = off.
    pub request_timeout_ms: u32,
}

/// A request of a connector, checked in ts/.
#[napi(object, object_to_js = false)]
pub struct NativeConnectorRequest {
    pub peer: u32,
    pub method: String,
    pub target: String,
    /// Empty: the peer's own.
    pub host: String,
    /// Names and values in turn, in latin-1.
    pub fields: Vec<String>,
    /// The whole body.
    pub body: Option<Buffer>,
    /// How many bytes are fed, where that is known.
    pub length: Option<f64>,
}

/// The body of a request that comes piece by piece.
#[napi]
pub struct NativeFeed {
    feed: BodyFeed,
}

#[napi]
impl NativeFeed {
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default)] // called by JavaScript alone
    pub fn new() -> Self {
        NativeFeed { feed: BodyFeed::default() }
    }

    /// Gives a piece; settles with true when there is room for another, with false if nobody wants one.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn write<'env>(&self, env: &'env Env, data: Buffer) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        self.feed.write(Bytes::copy_from_slice(&data), move |goes_on| {
            deferred.resolve(move |_| Ok(goes_on));
        });
        Ok(promise)
    }

    /// All has been given.
    #[napi(catch_unwind)]
    pub fn finish(&self) {
        self.feed.finish();
    }

    /// The rest will not come.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        self.feed.abort();
    }
}

/// Sends requests on a runtime of its own.
#[napi]
pub struct NativeConnector {
    running: Mutex<Option<(HttpClient, Runtime)>>,
}

#[napi]
impl NativeConnector {
    #[napi(constructor, catch_unwind)]
    pub fn new(options: NativeConnectorOptions) -> Result<Self> {
        let hook = crate::scheduling::hook();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(options.threads as usize).enable_all();
        builder.thread_name(options.name).max_blocking_threads(64);
        let runtime = builder.on_thread_start(move || hook()).build();
        let runtime =
            runtime.map_err(|error| Error::from_reason(format!("no runtime: {error}")))?;
        let client = ProxyOptions {
            pool_size: options.pool_size as usize,
            request_timeout: limit(options.request_timeout_ms),
            limits: HeadLimits {
                max_bytes: options.max_header_bytes as usize,
                max_fields: options.max_headers as usize,
            },
            ..ProxyOptions::default()
        };
        let client = HttpClient::new(client, runtime.handle().clone());
        Ok(NativeConnector { running: Mutex::new(Some((client, runtime))) })
    }

    /// Sends a request, with a body that is whole, is fed, or is none. @throws when it is closed
    #[napi(catch_unwind)]
    pub fn request(
        &self,
        options: NativeConnectorRequest,
        feed: Option<&NativeFeed>,
    ) -> Result<NativeSubrequest> {
        let running = self.running.lock();
        let closed = || Error::new(Status::GenericFailure, "the connector is closed");
        let (client, runtime) = running.as_ref().ok_or_else(closed)?;
        let invalid = |what: &str| Error::new(Status::InvalidArg, what.to_owned());
        let peer =
            crate::peers::peer(options.peer).ok_or_else(|| invalid("the peer is not known"))?;
        let host = if options.host.is_empty() { peer.authority() } else { &options.host };
        let head = head(&options.method, &options.target, host, &options.fields)
            .ok_or_else(|| invalid("a request that is not valid"))?;
        let length = options.length.map(|length| length as u64);
        let body = match (feed, options.body) {
            (Some(feed), _) => FeedBody::fed(feed.feed.clone(), length),
            (None, Some(body)) => Bytes::copy_from_slice(&body).into(),
            (None, None) => Bytes::new().into(),
        };
        let response = client.request(peer, head, body);
        Ok(NativeSubrequest::alone(response, runtime.handle().clone()))
    }

    /// The connections to peers.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativePoolStats {
        let running = self.running.lock();
        running.as_ref().map(|(client, _)| client.connector().stats().into()).unwrap_or_default()
    }

    /// Ends all requests and connections.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        let running = self.running.lock().take();
        if let Some((client, runtime)) = running {
            client.connector().clear();
            runtime.shutdown_background();
        }
    }
}

/// A runtime must not wait for its threads on the JS thread.
impl Drop for NativeConnector {
    fn drop(&mut self) {
        if let Some((_, runtime)) = self.running.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}
