//! Requests without a listener, for tests: the client's connection and those to origins are pairs of
//! ends within the process, of which JavaScript has the other ones. All between them is the proxy's.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use millrace_connectors::{Dialer, Dialling, Peer};
use millrace_error::{Level, Log};
use millrace_proxy::HttpProxy;
use millrace_server::{ConnInfo, ServerApp, Shutdown, ShutdownTrigger};
use millrace_transport::{Address, MemoryStream, Stream, TlsInfo};
use napi::bindgen_prelude::{Buffer, Error, Object, Result, Uint8Array};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::app::ProxyApp;
use crate::crossing::NativeCrossing;
use crate::options::NativeProxyOptions;

/// What a way holds that nobody has read, as the buffers of sockets do.
const MOST_HELD: usize = 64 * 1024;
/// The most that one call of `read` gives.
const MOST_READ: usize = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: usize = 1024;

/// The runtime of an environment's injected requests, made when the first of them comes. It goes with
/// the environment, without waiting for its tasks.
#[derive(Default)]
pub(crate) struct InjectRuntime(OnceLock<Option<Runtime>>);

impl InjectRuntime {
    fn handle(&self) -> Result<Handle> {
        let runtime = self.0.get_or_init(|| {
            let hook = crate::scheduling::hook();
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1).thread_name("millrace-inject").enable_all();
            builder.on_thread_start(move || hook()).build().ok()
        });
        let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
        handle.ok_or_else(|| Error::from_reason("no thread for the runtime"))
    }
}

impl Drop for InjectRuntime {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Who the client of an injected request is said to be.
#[napi(object, object_to_js = false)]
pub struct NativeInjectOptions {
    /// For its log lines, as the number of a server.
    pub server_id: u32,
    /// `ip:port`.
    pub remote: String,
    pub local: String,
    /// What its handshake is said to have come to; absent: in the clear.
    pub tls: Option<NativeInjectTls>,
}

/// A handshake that is said to have been.
#[napi(object, object_to_js = false)]
pub struct NativeInjectTls {
    /// Whether it is TLS 1.2; otherwise 1.3.
    pub is_old: bool,
    pub alpn: Option<String>,
    pub server_name: Option<String>,
    /// The client's certificates in DER, its own first.
    pub certificates: Vec<Uint8Array>,
}

/// A proxy for one request.
#[napi]
pub struct NativeInjection {
    runtime: Handle,
    app: Arc<ProxyApp>,
    dials: Arc<tokio::sync::Mutex<mpsc::Receiver<Dialled>>>,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
    task: AbortHandle,
    served: watch::Receiver<bool>,
    client: Mutex<Option<MemoryStream>>,
}

#[napi]
impl NativeInjection {
    /// Opens the client's connection. The proxy's options have one thread.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        crossing: &NativeCrossing,
        proxy: NativeProxyOptions,
        options: NativeInjectOptions,
    ) -> Result<Self> {
        let runtime = crossing.inject.handle()?;
        let log = crossing.log(options.server_id, Some(Level::Debug));
        let (sender, dials) = mpsc::channel(BACKLOG);
        let (options_of_proxy, log_of_proxy) = (proxy.proxy()?, log.clone());
        let (wirings, routing) = (vec![crossing.wiring()], proxy.routing()?);
        let app = ProxyApp::new(wirings, &proxy, routing, |phases| {
            HttpProxy::dialled_by(phases, options_of_proxy, log_of_proxy, Arc::new(Dials(sender)))
        });
        app.route_on(0, &runtime);
        let (trigger, shutdown) = Shutdown::new();
        let (client, stream) = MemoryStream::pair(MOST_HELD);
        let conn = options.conn()?;
        let (served, on) = (app.clone(), shutdown.clone());
        let serving = runtime.spawn(async move {
            served.process_new(Stream::from(stream), &conn, &on).await;
        });
        let task = serving.abort_handle();
        let (over, served) = watch::channel(false);
        runtime.spawn(async move {
            if let Err(error) = serving.await
                && error.is_panic()
            {
                log.log(Level::Error, "a panic in an injected request");
            }
            over.send_replace(true);
        });
        Ok(NativeInjection {
            runtime,
            app,
            dials: Arc::new(tokio::sync::Mutex::new(dials)),
            trigger,
            shutdown,
            task,
            served,
            client: Mutex::new(Some(client)),
        })
    }

    /// The client's end of its connection; once.
    #[napi(catch_unwind)]
    pub fn client(&self) -> Option<NativePipe> {
        let client = self.client.lock().take()?;
        Some(NativePipe { end: Arc::new(client), runtime: self.runtime.clone() })
    }

    /// The next connection that the proxy wants to an origin; none when it is closed. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativeDial | null>")]
    pub fn dialled<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let (dials, runtime) = (self.dials.clone(), self.runtime.clone());
        let cut = self.shutdown.cut();
        self.runtime.spawn(async move {
            let next = async { dials.lock().await.recv().await };
            let dialled = tokio::select! { dialled = next => dialled, () = cut => None };
            deferred.resolve(move |_| Ok(dialled.map(|dialled| dialled.native(runtime))));
        });
        Ok(promise)
    }

    /// Settles when the proxy is done with the client's connection. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn served<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let mut served = self.served.clone();
        self.runtime.spawn(async move {
            let _ = served.wait_for(|served| *served).await;
            deferred.resolve(move |_| Ok(()));
        });
        Ok(promise)
    }

    /// Ends whatever is left of it; settles when its tasks have been told. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        self.trigger.drain();
        self.trigger.cut();
        self.task.abort();
        self.app.unroute();
        let app = self.app.clone();
        self.runtime.spawn(async move {
            app.cleanup().await;
            deferred.resolve(move |_| Ok(()));
        });
        Ok(promise)
    }
}

impl NativeInjectOptions {
    fn conn(&self) -> Result<ConnInfo> {
        let address = |text: &str| {
            let invalid = |_| Error::new(Status::InvalidArg, format!("not an address: {text}"));
            text.parse::<Address>().map_err(invalid)
        };
        let tls = self.tls.as_ref().map(|tls| {
            Arc::new(TlsInfo {
                version: if tls.is_old { "TLSv1.2" } else { "TLSv1.3" },
                cipher: match tls.is_old {
                    true => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                    false => "TLS_AES_128_GCM_SHA256",
                },
                alpn: tls.alpn.clone().map(String::into_bytes),
                server_name: tls.server_name.clone(),
                certificates: tls.certificates.iter().map(|der| der.to_vec()).collect(),
            })
        });
        Ok(ConnInfo {
            id: ConnInfo::next_id(),
            local: address(&self.local)?,
            remote: address(&self.remote)?,
            runtime: 0,
            accepted: Instant::now(),
            tls,
            counters: Arc::default(),
        })
    }
}

/// Hands what the proxy dials to JavaScript.
struct Dials(mpsc::Sender<Dialled>);

/// A connection that the proxy wants.
struct Dialled {
    peer: u32,
    address: String,
    is_tls: bool,
    answer: oneshot::Sender<io::Result<MemoryStream>>,
}

impl Dialer for Dials {
    fn dial<'a>(&'a self, peer: &'a Peer) -> Dialling<'a> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let (address, is_tls) = (peer.address.to_string(), peer.options.tls.is_some());
            let dialled = Dialled { peer: peer.id, address, is_tls, answer };
            let over = || io::Error::new(ErrorKind::NotConnected, "the injected request is over");
            self.0.send(dialled).await.map_err(|_| over())?;
            answered.await.unwrap_or_else(|_| Err(over())).map(Stream::from)
        })
    }
}

impl Dialled {
    fn native(self, runtime: Handle) -> NativeDial {
        let Dialled { peer, address, is_tls, answer } = self;
        NativeDial { peer, address, is_tls, answer: Mutex::new(Some(answer)), runtime }
    }
}

/// A connection that the proxy wants to an origin.
#[napi]
pub struct NativeDial {
    peer: u32,
    address: String,
    is_tls: bool,
    answer: Mutex<Option<oneshot::Sender<io::Result<MemoryStream>>>>,
    runtime: Handle,
}

#[napi]
impl NativeDial {
    /// The peer's number.
    #[napi(getter, catch_unwind)]
    pub fn peer(&self) -> u32 {
        self.peer
    }

    /// `host:port` or `unix:/path`.
    #[napi(getter, catch_unwind)]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Whether the peer would be spoken to over TLS.
    #[napi(getter, catch_unwind)]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The origin's end of it; none where the proxy waits no longer.
    #[napi(catch_unwind)]
    pub fn accept(&self) -> Option<NativePipe> {
        let answer = self.answer.lock().take()?;
        let (near, far) = MemoryStream::pair(MOST_HELD);
        answer.send(Ok(far)).ok()?;
        Some(NativePipe { end: Arc::new(near), runtime: self.runtime.clone() })
    }

    /// It comes to nothing. `code`: `DNS_FAILED`, `TLS_FAILED`, `CONNECT_REFUSED`, `CONNECT_TIMEOUT`
    /// or `CONNECT_FAILED`.
    #[napi(catch_unwind)]
    pub fn refuse(&self, code: String, message: String) {
        let kind = match code.as_str() {
            "DNS_FAILED" => ErrorKind::NotFound,
            "TLS_FAILED" => ErrorKind::InvalidData,
            "CONNECT_REFUSED" => ErrorKind::ConnectionRefused,
            "CONNECT_TIMEOUT" => ErrorKind::TimedOut,
            _ => ErrorKind::Other,
        };
        if let Some(answer) = self.answer.lock().take() {
            let _ = answer.send(Err(io::Error::new(kind, message)));
        }
    }
}

/// One end of a connection within the process.
#[napi]
pub struct NativePipe {
    end: Arc<MemoryStream>,
    runtime: Handle,
}

#[napi]
impl NativePipe {
    /// The next bytes; none at the end. Rejects where the other side has gone.
    #[napi(catch_unwind, ts_return_type = "Promise<Buffer | null>")]
    pub fn read<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let end = self.end.clone();
        self.runtime.spawn(async move {
            match poll_fn(|cx| end.poll_take(cx, MOST_READ)).await {
                Ok(bytes) => {
                    deferred.resolve(move |_| Ok((!bytes.is_empty()).then(|| Buffer::from(bytes))))
                }
                Err(error) => deferred.reject(Error::from_reason(error.to_string())),
            }
        });
        Ok(promise)
    }

    /// Writes it all. Rejects where the other side has gone.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn write<'env>(&self, env: &'env Env, bytes: Uint8Array) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        let (end, bytes) = (self.end.clone(), bytes.to_vec());
        self.runtime.spawn(async move {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                match poll_fn(|cx| end.poll_put(cx, rest)).await {
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(error) => {
                        return deferred.reject(Error::from_reason(error.to_string()));
                    }
                }
            }
            deferred.resolve(move |_| Ok(()));
        });
        Ok(promise)
    }

    /// Nothing more is written; it can still be read.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.end.end();
    }

    /// Gives it up: the other side cannot take it for an end.
    #[napi(catch_unwind)]
    pub fn reset(&self) {
        self.end.reset();
    }
}
