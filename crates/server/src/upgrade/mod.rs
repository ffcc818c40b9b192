//! How one process takes over from another without losing a request.
//!
//! The running server, the predecessor, listens on its upgrade socket. A successor connects, gets
//! all listening sockets, starts, and says that it is ready. It accepts on them when it is told to, says
//! so, and only then the predecessor drains. If the successor does not come so far, or dies on the way, the
//! predecessor goes on: it has accepted all the time, and nobody else has.
//!
//! One thread for each server that has an upgrade socket plays both parts, one after the other.

mod offer;
mod socket;
mod succeed;
mod wire;

use std::future::pending;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_error::Level;
use millrace_listeners::{BindError, Inherited};
use tokio::sync::oneshot;

use self::offer::Offer;
use self::socket::UpgradeSocket;
use self::succeed::{Found, News, Predecessor};
use crate::UpgradeOptions;
use crate::server::Means;

/// How long the two processes may take for what costs them no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The part of a server that hands it over, or takes it over.
pub(crate) struct Upgrade {
    inherited: Arc<Inherited>,
    taken: Vec<usize>,
    ready: Option<oneshot::Sender<Vec<usize>>>,
    begun: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    has_predecessor: bool,
    refusal: Arc<OnceLock<String>>,
}

impl Upgrade {
    /// Gets the sockets of a predecessor, if there is to be one, or binds the upgrade socket.
    pub(crate) fn begin(means: Means) -> io::Result<Self> {
        let (tell, begun) = channel();
        let (ready, is_ready) = oneshot::channel();
        let (give, given) = channel();
        let refusal = Arc::new(OnceLock::new());
        let mut start = Start { give, is_ready, tell, refusal: refusal.clone() };
        let thread = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(start.give.send(Err(error))),
            };
            if runtime.block_on(run(&means, &mut start)) {
                drop(runtime);
                means.hand_over();
            }
        })?;
        let ended = |_| Err(io::Error::other("the thread for upgrades panicked"));
        let (inherited, has_predecessor) = given.recv().unwrap_or_else(ended)?;
        Ok(Upgrade {
            inherited,
            taken: Vec::new(),
            ready: Some(ready),
            begun,
            thread: Some(thread),
            has_predecessor,
            refusal,
        })
    }

    /// Whether there is a predecessor.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.has_predecessor
    }

    /// Why the predecessor waits for this server no more, if it does not.
    pub(crate) fn refusal(&self) -> Option<io::Error> {
        self.refusal.get().map(|why| io::Error::other(why.clone()))
    }

    /// The sockets of the predecessor.
    pub(crate) fn inherited(&self) -> &Arc<Inherited> {
        &self.inherited
    }

    /// Makes the sockets what the endpoints ask of them, and closes those that nobody has taken.
    pub(crate) fn settle(&mut self) -> Result<(), BindError> {
        self.taken = self.inherited.taken();
        self.inherited.settle()
    }

    /// Tells the predecessor that this server is ready, and waits until it accepts in its place.
    pub(crate) fn ready(&mut self) -> io::Result<()> {
        let taken = std::mem::take(&mut self.taken);
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(taken);
        }
        let panicked = |_| Err(io::Error::other("the thread for upgrades panicked"));
        self.begun.recv().unwrap_or_else(panicked)
    }

    /// Waits for the thread, which ends when its server drains, or when it is not to begin.
    pub(crate) fn end(mut self) {
        self.inherited.close();
        self.ready = None;
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread)) {
            let _ = thread.join();
        }
    }
}

type Given = io::Result<(Arc<Inherited>, bool)>;

/// The thread's ends of what it shares with the start of its server.
struct Start {
    give: Sender<Given>,
    /// Which sockets it has taken. Dropped unsent, the server has not come up.
    is_ready: oneshot::Receiver<Vec<usize>>,
    tell: Sender<io::Result<()>>,
    refusal: Arc<OnceLock<String>>,
}

/// Whether another process has taken over.
async fn run(means: &Means, start: &mut Start) -> bool {
    let (socket, mut predecessor, inherited) = match begin(means).await {
        Ok(begun) => begun,
        Err(error) => {
            let _ = start.give.send(Err(error));
            return false;
        }
    };
    let _ = start.give.send(Ok((inherited.clone(), predecessor.is_some())));
    let own = || {
        socket.own();
        inherited.own();
    };
    let taken = loop {
        let news = async {
            match &mut predecessor {
                Some(predecessor) => predecessor.news().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            taken = &mut start.is_ready => break taken,
            news = news => match news {
                // From now on somebody has to serve, ready or not.
                News::Gone => {
                    if let Some(gone) = predecessor.take() {
                        gone.has_ended(&*means.log);
                    }
                    own();
                }
                News::Refusal(error) => {
                    let _ = start.refusal.set(error.to_string());
                    means.bell.ring();
                    let _ = (&mut start.is_ready).await;
                    let _ = start.tell.send(Err(error));
                    return false;
                }
            },
        }
    };
    // The predecessor finds out by the end of this.
    let Ok(taken) = taken else { return false };
    let begun = match predecessor {
        Some(predecessor) => predecessor.replace(&taken, &*means.log, own).await,
        None => {
            own();
            Ok(())
        }
    };
    let has_begun = begun.is_ok();
    let _ = start.tell.send(begun);
    has_begun && Offer::new(means, socket).run().await
}

type Begun = (UpgradeSocket, Option<Predecessor>, Arc<Inherited>);

async fn begin(means: &Means) -> io::Result<Begun> {
    let UpgradeOptions { socket, take_over, .. } = &means.options;
    if *take_over && let Some(found) = Predecessor::find(socket).await? {
        return Ok(succeeding(found));
    }
    match UpgradeSocket::bind(socket) {
        // Another has come first, at the same moment.
        Err(error) if *take_over && error.kind() == io::ErrorKind::AddrInUse => {
            Predecessor::find(socket).await?.map(succeeding).ok_or(error)
        }
        bound => {
            let own = bound?;
            if *take_over {
                let place = socket.display();
                let line = format!("nobody to take over from at {place}: a plain start");
                means.log.log(Level::Warn, &line);
            }
            Ok((own, None, Arc::default()))
        }
    }
}

fn succeeding((predecessor, socket, inherited): Found) -> Begun {
    (socket, Some(predecessor), Arc::new(inherited))
}
