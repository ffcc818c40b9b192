use std::sync::Arc;

use millrace_proxy::HttpProxy;
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::crossing::Router;
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
        if let (Some(place), Ok(handle)) =
            (self.runtimes.lock().get_mut(runtime), Handle::try_current())
        {
            *place = Some(handle);
        }
        let router = self.routers.lock().get_mut(runtime).and_then(Option::take);
        if let Some((number, router)) = router {
            let phases = self.proxy.phases();
            let (crossing, tick) = (phases.crossing.clone(), phases.tick());
            tokio::spawn(async move { router.run(&crossing, number, tick).await });
        }
    }
}
