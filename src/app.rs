use std::sync::Arc;

use millrace_proxy::HttpProxy;
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::crossing::{NativeCrossing, Router};
use crate::options::NativeProxyOptions;
use crate::phases::JsPhases;

/// A router, and its number in the crossing.
pub(crate) type NumberedRouter = (usize, Arc<Router>);

/// A proxy whose phases are in JavaScript, with the routers that bring their answers back.
pub(crate) struct ProxyApp {
    pub(crate) proxy: Arc<HttpProxy<JsPhases>>,
    /// One for each runtime with its number, until that has started.
    pub(crate) routers: Mutex<Vec<Option<NumberedRouter>>>,
    /// The runtimes that have started, by number.
    pub(crate) runtimes: Mutex<Vec<Option<Handle>>>,
}

impl ProxyApp {
    /// The app of a proxy that `make` makes of its phases, known to the crossing.
    pub(crate) fn new(
        crossing: &NativeCrossing,
        options: &NativeProxyOptions,
        make: impl FnOnce(JsPhases) -> HttpProxy<JsPhases>,
    ) -> Arc<Self> {
        let routers = (0..options.runtimes()).map(|_| crossing.inner.add_router());
        let routers: Vec<_> = routers.collect();
        let sets = options.sets();
        let proxy_ids: Vec<u32> = sets.iter().map(|set| set.proxy).collect();
        let phases = JsPhases {
            crossing: crossing.inner.clone(),
            sets,
            limit: crate::options::limit(options.callback_timeout_ms),
            source_limit: crate::options::limit(options.source_timeout_ms),
            max_queued: options.max_queued as usize,
            routers: routers.iter().map(|(number, _)| *number).collect(),
        };
        let app = Arc::new(ProxyApp {
            proxy: Arc::new(make(phases)),
            runtimes: Mutex::new(vec![None; options.runtimes()]),
            routers: Mutex::new(routers.into_iter().map(Some).collect()),
        });
        for id in proxy_ids {
            crossing.proxies.insert(id, &app);
        }
        app
    }

    /// Brings the answers for a runtime back to it, in a task of it that never ends.
    pub(crate) fn route_on(&self, runtime: usize, handle: &Handle) -> AbortHandle {
        if let Some(place) = self.runtimes.lock().get_mut(runtime) {
            *place = Some(handle.clone());
        }
        let router = self.routers.lock().get_mut(runtime).and_then(Option::take);
        let phases = self.proxy.phases();
        let (crossing, tick) = (phases.crossing.clone(), phases.tick());
        let task = handle.spawn(async move {
            if let Some((number, router)) = router {
                router.run(&crossing, number, tick).await;
            }
        });
        task.abort_handle()
    }
}

impl ServerApp for ProxyApp {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        let stream = self.proxy.process_new(stream, conn, shutdown).await;
        self.proxy.phases().closed(conn.id);
        stream
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }

    fn on_runtime_start(self: &Arc<Self>, runtime: usize) {
        self.proxy.on_runtime_start(runtime);
        if let Ok(handle) = Handle::try_current() {
            self.route_on(runtime, &handle);
        }
    }
}
