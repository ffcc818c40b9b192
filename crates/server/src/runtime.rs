use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::Cpus;
use crate::affinity::Places;
use crate::isolated::IsolatedThread;

/// What ends after the grace ends within this time, or is left behind.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the threads of a service share its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeKind {
    /// One runtime whose threads take work from each other.
    #[default]
    Stealing,
    /// A runtime for each thread; a connection stays with one.
    Isolated,
}

/// Called at the start of each thread of a runtime.
pub type ThreadHook = Arc<dyn Fn() + Send + Sync>;

/// The runtimes of a service.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Threads that serve; at least one.
    pub threads: usize,
    /// How they share the work.
    pub kind: RuntimeKind,
    /// The threads are named after it: `<name>-<i>`.
    pub name: String,
    /// Called at the start of each thread.
    pub on_thread_start: Option<ThreadHook>,
    /// Which processors they run on.
    pub cpus: Cpus,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        let (kind, name) = (RuntimeKind::Stealing, String::from("millrace"));
        RuntimeOptions { threads: 1, kind, name, on_thread_start: None, cpus: Cpus::Any }
    }
}

impl fmt::Debug for RuntimeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuntimeOptions { threads, kind, name, .. } = self;
        write!(f, "RuntimeOptions({kind:?}, {threads} threads, {name})")
    }
}

impl RuntimeOptions {
    /// Finishes a builder: what both kinds have in common.
    pub(crate) fn build(
        &self,
        mut builder: Builder,
        first: usize,
        places: Option<Places>,
    ) -> io::Result<Runtime> {
        let (name, next) = (self.name.clone(), AtomicUsize::new(first));
        builder
            .enable_all()
            .thread_name_fn(move || format!("{name}-{}", next.fetch_add(1, Ordering::Relaxed)))
            // They resolve names; hundreds of them at once would not do it any faster.
            .max_blocking_threads(64);
        let hook = self.on_thread_start.clone();
        builder.on_thread_start(move || {
            places.iter().for_each(Places::take_by_name);
            hook.iter().for_each(|hook| hook());
        });
        builder.build()
    }
}

/// The running runtimes of a service. Dropped, they stop.
pub(crate) struct Runtimes {
    handles: Vec<Handle>,
    stealing: Option<Runtime>,
    isolated: Vec<IsolatedThread>,
}

impl Runtimes {
    pub(crate) fn start(options: &RuntimeOptions) -> io::Result<Self> {
        let threads = options.threads.max(1);
        let places = Places::of(&options.cpus, threads)?;
        let mut runtimes = Runtimes { handles: Vec::new(), stealing: None, isolated: Vec::new() };
        match options.kind {
            RuntimeKind::Stealing => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(threads);
                let runtime = options.build(builder, 0, places)?;
                runtimes.handles.push(runtime.handle().clone());
                runtimes.stealing = Some(runtime);
            }
            RuntimeKind::Isolated => {
                for index in 0..threads {
                    let (thread, handle) = IsolatedThread::start(options, index, places.clone())?;
                    runtimes.isolated.push(thread);
                    runtimes.handles.push(handle);
                }
            }
        }
        Ok(runtimes)
    }

    /// One handle for each runtime.
    pub(crate) fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Drops every task and ends the threads. False if one did not end within `limit`: a task
    /// on it never yields. It is left behind.
    pub(crate) fn stop(&mut self, limit: Duration) -> bool {
        self.handles.clear();
        if let Some(runtime) = self.stealing.take() {
            // Waiting is forbidden on a thread of a runtime.
            if Handle::try_current().is_ok() {
                runtime.shutdown_background();
                return true;
            }
            let started = Instant::now();
            runtime.shutdown_timeout(limit);
            return started.elapsed() < limit;
        }
        let mut threads = std::mem::take(&mut self.isolated);
        threads.iter_mut().for_each(IsolatedThread::ask_to_stop);
        let until = Instant::now() + limit;
        let left = |thread: &IsolatedThread| !thread.has_ended_by(until);
        threads.iter().filter(|thread| left(thread)).count() == 0
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        self.stop(LAST_WORDS);
    }
}
