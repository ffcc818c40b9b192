use std::sync::Arc;

use millrace_proxy::{HttpProxy, Routing};
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::options::NativeProxyOptions;
use crate::phases::{Dispatcher, JsPhases, Limits, PhaseSet, Seats};
use crate::threads::Wiring;

/// A proxy whose phases are in JavaScript.
pub(crate) struct ProxyApp {
    /// What is the same for as long as it lives. The phases are those of its successor.
    pub(crate) proxy: Arc<HttpProxy<JsPhases>>,
    seats: Arc<Seats>,
    limits: Limits,
    state: Mutex<State>,
}

/// What serves new requests, and on which runtimes.
struct State {
    dispatchers: Vec<Arc<Dispatcher>>,
    routing: Option<Arc<Routing>>,
    /// Those that have started, by number.
    runtimes: Vec<Option<Handle>>,
}

impl ProxyApp {
    /// The app of a proxy that `make` makes, with its phases in these threads.
    pub(crate) fn new(
        wirings: Vec<Wiring>,
        options: &NativeProxyOptions,
        routing: Option<Arc<Routing>>,
        make: impl FnOnce(JsPhases) -> HttpProxy<JsPhases>,
    ) -> Arc<Self> {
        let limits = options.limits();
        let seats = Seats::new(wirings.len());
        let none = Dispatcher::new(Wiring::new(false), Vec::new(), 0);
        let phases = JsPhases::new(vec![none], limits, seats.clone());
        let runtimes = vec![None; options.runtimes()];
        let app = Arc::new(ProxyApp {
            proxy: Arc::new(make(phases)),
            seats,
            limits,
            state: Mutex::new(State { dispatchers: Vec::new(), routing: None, runtimes }),
        });
        app.replace(wirings, options.sets(), routing);
        app
    }

    /// New requests have these phases in these threads.
    pub(crate) fn replace(
        self: &Arc<Self>,
        wirings: Vec<Wiring>,
        sets: Vec<PhaseSet>,
        routing: Option<Arc<Routing>>,
    ) {
        let mut state = self.state.lock();
        let runtimes = state.runtimes.len();
        let made = |wiring| Dispatcher::new(wiring, sets.clone(), runtimes);
        state.dispatchers = wirings.into_iter().map(made).collect();
        state.routing = routing;
        self.install(&state);
    }

    /// The same phases are in another thread, in the place of one that has ended.
    pub(crate) fn replace_thread(self: &Arc<Self>, at: usize, wiring: Wiring, sets: Vec<PhaseSet>) {
        let mut state = self.state.lock();
        let runtimes = state.runtimes.len();
        if let Some(place) = state.dispatchers.get_mut(at) {
            *place = Dispatcher::new(wiring, sets, runtimes);
            self.install(&state);
        }
    }

    fn install(self: &Arc<Self>, state: &State) {
        let (dispatchers, seats) = (state.dispatchers.clone(), self.seats.clone());
        let phases = JsPhases::new(dispatchers, self.limits, seats);
        let tick = phases.tick();
        for dispatcher in &state.dispatchers {
            for (runtime, handle) in state.runtimes.iter().enumerate() {
                if let Some(handle) = handle {
                    dispatcher.route_on(runtime, handle, tick);
                }
            }
        }
        let serving = self.proxy.replace(phases, state.routing.clone());
        for dispatcher in &state.dispatchers {
            for set in &dispatcher.sets {
                dispatcher.wiring.proxies.insert(set.proxy, self, &serving);
            }
        }
    }

    /// Brings the answers for a runtime back to it from now on.
    pub(crate) fn route_on(&self, runtime: usize, handle: &Handle) {
        let mut state = self.state.lock();
        if let Some(place) = state.runtimes.get_mut(runtime) {
            *place = Some(handle.clone());
        }
        let tick = self.proxy.phases().tick();
        for dispatcher in &state.dispatchers {
            dispatcher.route_on(runtime, handle, tick);
        }
    }

    /// No answer comes back any more.
    pub(crate) fn unroute(&self) {
        self.state.lock().dispatchers.iter().for_each(|dispatcher| dispatcher.unroute());
    }

    /// A runtime that has started.
    pub(crate) fn runtime(&self, number: usize) -> Option<Handle> {
        self.state.lock().runtimes.get(number).cloned().flatten()
    }
}

impl ServerApp for ProxyApp {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        conn: &ConnInfo,
        shutdown: &Shutdown,
    ) -> Option<Stream> {
        self.proxy.process_new(stream, conn, shutdown).await
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
