//! Subrequests of phases: what JavaScript asks for, and how it gets the response.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use millrace_message::{Method, RequestHead, validate_host, validate_target};
use millrace_proxy::{HttpProxy, Subrequest, Subresponse};
use napi::bindgen_prelude::{Buffer, Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::app::ProxyApp;
use crate::crossing::NativeCrossing;
use crate::phases::JsPhases;
use crate::pieces::{NativePiece, words};

/// What serves the requests of a proxy that have the same phases.
type Serving = HttpProxy<JsPhases>;

/// The proxies that there are, by the numbers of their phases.
#[derive(Clone, Default)]
pub(crate) struct Proxies(Arc<Mutex<Numbered>>);

type Numbered = HashMap<u32, (Weak<ProxyApp>, Weak<Serving>)>;

impl Proxies {
    pub(crate) fn insert(&self, id: u32, app: &Arc<ProxyApp>, serving: &Arc<Serving>) {
        let mut proxies = self.0.lock();
        proxies.retain(|_, (_, serving)| serving.strong_count() > 0);
        proxies.insert(id, (Arc::downgrade(app), Arc::downgrade(serving)));
    }

    fn get(&self, id: u32) -> Option<(Arc<ProxyApp>, Arc<Serving>)> {
        let proxies = self.0.lock();
        let (app, serving) = proxies.get(&id)?;
        Some((app.upgrade()?, serving.upgrade()?))
    }
}

/// A subrequest as JavaScript asks for it, checked there.
#[napi(object, object_to_js = false)]
pub struct NativeSubrequestOptions {
    pub proxy_id: u32,
    /// The slot of the request that it is made for.
    pub slot: u32,
    pub method: String,
    pub target: String,
    pub host: String,
    /// Names and values in turn, in latin-1.
    pub fields: Vec<String>,
    pub body: Option<Buffer>,
    /// The peer that it goes straight to; 0 = through the phases.
    pub peer: u32,
    pub discard: bool,
}

/// The head of a response, or why there is none.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativeSubhead {
    pub status: u32,
    /// Names and values in turn, in latin-1.
    pub fields: Vec<String>,
    /// Code, source, whether a retry is safe, status and message of an error, by lines.
    pub error: Option<String>,
}

/// A subrequest under way.
#[napi]
pub struct NativeSubrequest {
    id: u64,
    response: Arc<Subresponse>,
    runtime: Handle,
}

impl NativeSubrequest {
    /// One that belongs to no request.
    pub(crate) fn alone(response: Subresponse, runtime: Handle) -> Self {
        NativeSubrequest { id: 0, response: Arc::new(response), runtime }
    }
}

#[napi]
impl NativeSubrequest {
    /// Starts it. @throws where its request or its server is over
    #[napi(constructor, catch_unwind)]
    pub fn new(crossing: &NativeCrossing, options: NativeSubrequestOptions) -> Result<Self> {
        let over = || Error::new(Status::GenericFailure, "the request or its server is over");
        let (app, serving) = crossing.proxies.get(options.proxy_id).ok_or_else(over)?;
        let connection = crossing.inner.connection(options.slot).ok_or_else(over)?;
        let runtime = app.runtime(connection.runtime).ok_or_else(over)?;
        let peer = match options.peer {
            0 => None,
            id => Some(crate::peers::peer(id).ok_or_else(over)?),
        };
        let NativeSubrequestOptions { method, target, host, fields, .. } = &options;
        let head = head(method, target, host, fields)
            .ok_or_else(|| Error::new(Status::InvalidArg, "a subrequest that is not valid"))?;
        let body = options.body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body));
        let body = body.into();
        let sub = Subrequest { head, body, connection, peer, discard: options.discard };
        let (id, response) = serving.subrequest(sub, &runtime);
        Ok(NativeSubrequest { id, response: Arc::new(response), runtime })
    }

    /// Its number as a request.
    #[napi(getter, catch_unwind)]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The head of the response. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeSubhead>")]
    pub fn head<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let response = self.response.clone();
        self.runtime.spawn(async move {
            let head = match response.head().await {
                Ok(head) => {
                    let fields = head.fields.iter();
                    let fields = fields.flat_map(|(name, value)| [latin1(name), latin1(value)]);
                    let status = u32::from(head.status);
                    NativeSubhead { status, fields: fields.collect(), error: None }
                }
                Err(error) => NativeSubhead { error: Some(words(&error)), ..Default::default() },
            };
            deferred.resolve(move |_| Ok(head));
        });
        Ok(promise)
    }

    /// The next piece of the response's body. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn piece<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let response = self.response.clone();
        self.runtime.spawn(async move {
            let piece = response.piece().await;
            deferred.resolve(move |_| Ok(NativePiece::from(piece)));
        });
        Ok(promise)
    }

    /// The rest is not wanted.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.response.cancel();
    }
}

/// None if it is not valid, which `ts/` has seen to.
pub(crate) fn head(
    method: &str,
    target: &str,
    host: &str,
    fields: &[String],
) -> Option<RequestHead> {
    let (target, host) = (target.as_bytes(), host.as_bytes());
    if !validate_target(target) || !validate_host(host) {
        return None;
    }
    let method = Method::new(method.as_bytes()).filter(|m| *m != Method::CONNECT)?;
    let mut head = RequestHead::new(method, target);
    head.fields.append("host", host).ok()?;
    for pair in fields.chunks_exact(2) {
        let value: Option<Vec<u8>> =
            pair[1].chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        head.fields.append(&pair[0], value?).ok()?;
    }
    Some(head)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
