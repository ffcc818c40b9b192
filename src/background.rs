use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use millrace_server::{Background, BackgroundOptions, OnFailure, Ready, ServiceEvent, Shutdown};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::sync::oneshot::{self, Sender};

use crate::mailbox::Mailbox;
use crate::options::{length, limit};

/// Something that JavaScript is told of a service.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativeServiceEvent {
    /// The number of its server.
    pub server: u32,
    /// Its number within the server.
    pub service: u32,
    /// `start` or `stop` its work, or the `state` it is in now.
    pub kind: &'static str,
    /// Which of its starts.
    pub run: u32,
    pub state: &'static str,
    /// Why it has failed.
    pub error: Option<String>,
}

/// Events on their way to JavaScript. They are few: of each service one for each step of its life, and
/// it takes JavaScript to go on from one to the next.
pub(crate) type Events = Arc<Mailbox<NativeServiceEvent>>;

/// How a background service runs.
#[napi(object, object_to_js = false)]
pub struct NativeBackgroundOptions {
    pub name: String,
    /// 0 is forever.
    pub ready_timeout_ms: u32,
    /// Whether it is started again when it fails.
    pub restarts: bool,
    pub restart_delay_ms: u32,
    pub max_restart_delay_ms: u32,
}

impl NativeBackgroundOptions {
    pub(crate) fn options(&self) -> BackgroundOptions {
        let (first, most) = (length(self.restart_delay_ms), length(self.max_restart_delay_ms));
        let on_failure =
            if self.restarts { OnFailure::Restart { first, most } } else { OnFailure::Fail };
        let ready_within = limit(self.ready_timeout_ms);
        BackgroundOptions { runtime: None, ready_within, on_failure }
    }
}

/// The work of a background service, which is done in JavaScript.
pub(crate) struct JsWork {
    server: u32,
    service: u32,
    events: Events,
    /// The environment has gone away: nobody would end it.
    gone: Shutdown,
    runs: AtomicU32,
    current: Mutex<Option<Run>>,
}

/// What JavaScript does just now.
struct Run {
    number: u32,
    ready: Option<Ready>,
    end: Sender<Result<(), String>>,
}

impl JsWork {
    pub(crate) fn new(server: u32, service: u32, events: Events, gone: Shutdown) -> Arc<Self> {
        let (runs, current) = (AtomicU32::new(0), Mutex::default());
        Arc::new(JsWork { server, service, events, gone, runs, current })
    }

    fn tell(&self, kind: &'static str, run: u32) -> bool {
        let JsWork { server, service, .. } = *self;
        let (state, error) = ("", None);
        self.events.push(NativeServiceEvent { server, service, kind, run, state, error })
    }

    /// JavaScript says that it is ready. Nothing if that start is over.
    pub(crate) fn ready(&self, run: u32) {
        let mut current = self.current.lock();
        let ready = current.as_mut().filter(|current| current.number == run);
        if let Some(ready) = ready.and_then(|current| current.ready.take()) {
            ready.say();
        }
    }

    /// JavaScript says that it has ended.
    pub(crate) fn ended(&self, run: u32, error: Option<String>) {
        let current = {
            let mut current = self.current.lock();
            current.take_if(|current| current.number == run)
        };
        if let Some(Run { end, ready, .. }) = current {
            let _ = end.send(error.map_or(Ok(()), Err));
            // Unsaid it counts for less than the reason.
            drop(ready);
        }
    }
}

/// Has JavaScript end what nobody waits for any more, such as a start that took too long.
struct Leave<'a> {
    work: &'a JsWork,
    number: u32,
    has_ended: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.work.tell("stop", self.number);
        }
    }
}

impl Background for JsWork {
    async fn run(
        self: Arc<Self>,
        ready: Ready,
        shutdown: Shutdown,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let number = self.runs.fetch_add(1, Relaxed) + 1;
        let (end, mut ended) = oneshot::channel();
        *self.current.lock() = Some(Run { number, ready: Some(ready), end });
        if !self.tell("start", number) {
            return Err("there is no JavaScript any more".into());
        }
        let mut leave = Leave { work: &self, number, has_ended: false };
        let result = tokio::select! {
            ended = &mut ended => ended,
            () = shutdown.draining() => {
                self.tell("stop", number);
                tokio::select! {
                    ended = ended => ended,
                    () = self.gone.cut() => return Ok(()),
                }
            }
            () = self.gone.cut() => return Ok(()),
        };
        leave.has_ended = true;
        match result {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Tells JavaScript of what has become of a service.
pub(crate) fn tell(events: &Events, server: u32, event: &ServiceEvent) {
    let ServiceEvent { service, state, error, .. } = event;
    events.push(NativeServiceEvent {
        server,
        service: service.index() as u32,
        kind: "state",
        run: 0,
        state: state.as_str(),
        error: error.as_ref().map(ToString::to_string),
    });
}
