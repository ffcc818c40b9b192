use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_error::Level;
use millrace_server::{Server, Shutdown};
use napi::bindgen_prelude::{
    Buffer, BufferSlice, Float64ArraySlice, Function, Int32ArraySlice, Object, Result,
};
use napi::threadsafe_function::{ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Status};
use napi_derive::napi;
use parking_lot::Mutex;

use super::batch::Batch;
use super::buffers::Memory;
use super::queue::{Crossing, UNLOGGED};
use crate::background::{Events, NativeServiceEvent};
use crate::inject::InjectRuntime;
use crate::log::{LogQueue, NativeLogRecord, ServerLog};
use crate::mailbox::Mailbox;
use crate::pieces::NativePiece;
use crate::subrequests::Proxies;
use crate::threads::Wiring;
use crate::tls::NativeTlsInfo;

/// The servers of one JS environment.
type Servers = Arc<Mutex<Vec<Weak<Server>>>>;

/// The crossing of one JS environment.
#[napi]
pub struct NativeCrossing {
    pub(crate) inner: Arc<Crossing>,
    pub(crate) log: Arc<LogQueue>,
    pub(crate) events: Events,
    /// Cut when the environment goes away.
    pub(crate) gone: Shutdown,
    servers: Servers,
    memory: Arc<Memory>,
    /// The proxies of this environment, for subrequests.
    pub(crate) proxies: Proxies,
    /// What injected requests run on.
    pub(crate) inject: InjectRuntime,
}

/// Views over memory of the addon that only the JS thread touches.
#[napi(object, object_from_js = false)]
pub struct NativeBuffers<'env> {
    pub input: BufferSlice<'env>,
    pub items: Int32ArraySlice<'env>,
    pub numbers: Float64ArraySlice<'env>,
    pub records: Int32ArraySlice<'env>,
}

/// Counters of a crossing.
#[napi(object, object_from_js = false)]
pub struct CrossingStats {
    /// Items that wait for the JS thread.
    pub queued: u32,
    /// Requests the JS thread knows of.
    pub slots: u32,
    /// Calls of the dispatcher.
    pub batches: f64,
    /// Items handed to it.
    pub items: f64,
    /// Answers that nobody waited for any more.
    pub late: f64,
    /// Log records that were dropped, as the JS thread did not take them.
    pub dropped_records: f64,
    /// Requests of the process whose `logging` was left out, as too many waited for theirs.
    pub unlogged: f64,
}

#[napi]
impl NativeCrossing {
    /// `thread`: the number of the `NativeThread` whose items it takes, where it is none of its own.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        #[napi(ts_arg_type = "(items: number) => void")] dispatch: Function<
            u32,
            UnknownReturnValue,
        >,
        #[napi(ts_arg_type = "(records: NativeLogRecord[]) => void")] logged: Function<
            Vec<NativeLogRecord>,
            UnknownReturnValue,
        >,
        #[napi(ts_arg_type = "(events: NativeServiceEvent[]) => void")] told: Function<
            Vec<NativeServiceEvent>,
            UnknownReturnValue,
        >,
        thread: Option<u32>,
    ) -> Result<Self> {
        let wiring = match thread {
            Some(number) => Wiring::find(number)?,
            None => Wiring::new(false),
        };
        let Wiring { crossing: inner, proxies } = wiring;
        let memory = Memory::new();
        let (crossing, area) = (inner.clone(), memory.clone());
        let batch = Mutex::new(Batch::default());
        // Weak: a running server holds the process, not its wiring.
        let function = dispatch.build_threadsafe_function::<()>().weak::<true>().build_callback(
            move |_| {
                let mut batch = batch.lock();
                let ended = crossing.begin(&mut batch);
                Ok(area.fill(&mut batch, &ended) as u32)
            },
        )?;
        let servers = Servers::default();
        let (leaving, gone) = Shutdown::new();
        // One hook for the environment: one for each server would stay behind when it has closed.
        let wiring = (inner.clone(), servers.clone(), leaving);
        env.add_env_cleanup_hook(wiring, |(inner, servers, leaving)| {
            // Servers that are still up have nobody to run their phases.
            inner.close();
            leaving.cut();
            for server in servers.lock().drain(..).filter_map(|server| server.upgrade()) {
                server.close(Duration::ZERO);
            }
        })?;
        let log = LogQueue::new(logged)?;
        let events = Mailbox::new(told, usize::MAX, |_| NativeServiceEvent::default())?;
        let inject = InjectRuntime::default();
        inner.attach(Box::new(move || {
            function.call((), ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok
        }));
        Ok(NativeCrossing { inner, log, events, gone, servers, memory, proxies, inject })
    }

    /// Views over memory of the addon that only the JS thread touches.
    #[napi(catch_unwind)]
    pub fn buffers<'env>(&self, env: &'env Env) -> Result<NativeBuffers<'env>> {
        let (input, items, numbers, records) = self.memory.views(env)?;
        Ok(NativeBuffers { input, items, numbers, records })
    }

    /// Takes back `records` records, whose bytes are the first `used` of `output`.
    #[napi(catch_unwind)]
    pub fn finish(&self, records: u32, output: BufferSlice, used: u32) {
        // What lies behind them is of earlier batches, and copying it would cost more than a crossing.
        let output = output.get(..used as usize).unwrap_or_default();
        self.inner.finish(&self.memory.records(records as usize), output);
    }

    /// What the handshake came to of the client whose request has this slot.
    #[napi(catch_unwind)]
    pub fn tls(&self, slot: u32) -> Option<NativeTlsInfo> {
        self.inner.tls(slot).map(|info| NativeTlsInfo::from(&*info))
    }

    /// The body of the request that has this slot, if a phase waited for it: a copy, which is the
    /// phase's to keep.
    #[napi(catch_unwind)]
    pub fn body(&self, slot: u32) -> Option<Buffer> {
        self.inner.body(slot).map(|body| body.to_vec().into())
    }

    /// The next piece of the body of the request that has this slot, for an app. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn body_piece<'env>(&self, env: &'env Env, slot: u32) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        self.inner.ask_piece(slot, move |outcome| {
            deferred.resolve(move |_| Ok(NativePiece::from(outcome)));
        });
        Ok(promise)
    }

    /// Counters.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> CrossingStats {
        CrossingStats::of(&self.inner, self.log.dropped())
    }
}

impl CrossingStats {
    pub(crate) fn of(crossing: &Crossing, dropped_records: u64) -> Self {
        let (queued, slots) = crossing.load();
        let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        CrossingStats {
            queued: queued as u32,
            slots: slots as u32,
            batches: count(&crossing.batches),
            items: count(&crossing.items),
            late: count(&crossing.late),
            dropped_records: dropped_records as f64,
            unlogged: count(&UNLOGGED),
        }
    }
}

impl NativeCrossing {
    /// The way to its phases, and back.
    pub(crate) fn wiring(&self) -> Wiring {
        Wiring { crossing: self.inner.clone(), proxies: self.proxies.clone() }
    }

    /// The log of a server, of what is at least of this level.
    pub(crate) fn log(&self, server: u32, least: Option<Level>) -> Arc<ServerLog> {
        Arc::new(ServerLog { queue: self.log.clone(), server, least, service: None })
    }

    /// Has `server` closed when the environment goes away.
    pub(crate) fn watch(&self, server: &Arc<Server>) {
        let mut servers = self.servers.lock();
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(server));
    }
}
