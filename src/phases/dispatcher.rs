use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::PhaseSet;
use crate::crossing::{Item, Kind, Router};
use crate::threads::Wiring;

/// The phases of a proxy in one JavaScript thread. It goes with the last request that has it; then
/// JavaScript is told that it may forget them.
pub(crate) struct Dispatcher {
    pub(crate) wiring: Wiring,
    /// Those of each route, in their order, and at the end those of all other requests.
    pub(crate) sets: Vec<PhaseSet>,
    /// The number of the router of each runtime.
    routers: Vec<usize>,
    /// The routers, until their runtimes have started.
    unrouted: Mutex<Vec<Option<Arc<Router>>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Dispatcher {
    /// For a service of `runtimes` runtimes.
    pub(crate) fn new(wiring: Wiring, sets: Vec<PhaseSet>, runtimes: usize) -> Arc<Self> {
        let routers = (0..runtimes).map(|_| wiring.crossing.add_router());
        let (routers, unrouted) = routers.map(|(number, router)| (number, Some(router))).unzip();
        let (unrouted, tasks) = (Mutex::new(unrouted), Mutex::default());
        Arc::new(Dispatcher { wiring, sets, routers, unrouted, tasks })
    }

    pub(super) fn router(&self, runtime: usize) -> usize {
        self.routers.get(runtime).copied().unwrap_or_default()
    }

    /// Brings the answers for a runtime back to it, in a task of it that ends with this.
    pub(crate) fn route_on(&self, runtime: usize, handle: &Handle, tick: Option<Duration>) {
        let router = self.unrouted.lock().get_mut(runtime).and_then(Option::take);
        let Some(router) = router else { return };
        let (crossing, number) = (self.wiring.crossing.clone(), self.router(runtime));
        let task = handle.spawn(async move { router.run(&crossing, number, tick).await });
        self.tasks.lock().push(task.abort_handle());
    }

    /// No answer comes back any more.
    pub(crate) fn unroute(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.unroute();
        for set in &self.sets {
            self.wiring.crossing.push(Item::new(0, set.proxy, Kind::Retired, 0, 0));
        }
    }
}
