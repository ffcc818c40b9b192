use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::RuntimeOptions;
use crate::affinity::Places;

/// A thread with a runtime of its own.
pub(crate) struct IsolatedThread {
    stop: Option<oneshot::Sender<()>>,
    /// Never sent to: it hangs up when the thread ends.
    ended: Receiver<()>,
}

impl IsolatedThread {
    pub(crate) fn start(
        options: &RuntimeOptions,
        index: usize,
        places: Option<Places>,
    ) -> io::Result<(Self, Handle)> {
        let (options, name) = (options.clone(), format!("{}-{index}", options.name));
        let (stop, stopped) = oneshot::channel::<()>();
        let (alive, ended) = channel();
        let (started, start) = channel();
        Builder::new().name(name).spawn(move || {
            // Dropped last, when the runtime and all it held are gone.
            let _alive = alive;
            places.iter().for_each(|places| places.take(index));
            if let Some(hook) = &options.on_thread_start {
                hook();
            }
            let builder = tokio::runtime::Builder::new_current_thread();
            // The runtime's other threads, which resolve names, are counted on from the last
            // that serves.
            let runtime = match options.build(builder, options.threads, places) {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(runtime.handle().clone()));
            let _ = runtime.block_on(stopped);
            // Drops every task without waiting for a name that is still being resolved.
            runtime.shutdown_background();
        })?;
        let handle = start.recv().map_err(|_| io::Error::other("a thread's start panicked"))??;
        Ok((IsolatedThread { stop: Some(stop), ended }, handle))
    }

    pub(crate) fn ask_to_stop(&mut self) {
        self.stop = None;
    }

    /// Waits for the thread to end, at most until then.
    pub(crate) fn has_ended_by(&self, until: Instant) -> bool {
        let limit = until.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
    }
}
