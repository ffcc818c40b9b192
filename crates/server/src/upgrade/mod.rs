//! How one process takes over from another without losing a request.
//!
//! The running server, the predecessor, listens on its upgrade socket. A successor connects, gets
//! all listening sockets, starts on them, and says so. Only then the predecessor drains. If the
//! successor does not come so far, the predecessor goes on: it has accepted all the time.
//!
//! One thread for each server that has an upgrade socket plays both parts, one after the other.

mod offer;
mod socket;
mod succeed;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_error::Level;
use millrace_listeners::Inherited;
use tokio::sync::oneshot;

use self::offer::Offer;
use self::socket::UpgradeSocket;
use self::succeed::Predecessor;
use crate::UpgradeOptions;
use crate::server::Means;

/// How long the two processes may take for what costs them no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The part of a server that hands it over, or takes it over.
pub(crate) struct Upgrade {
    inherited: Arc<Inherited>,
    ready: Option<oneshot::Sender<Vec<usize>>>,
    begun: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    has_predecessor: bool,
}

impl Upgrade {
    /// Gets the sockets of a predecessor, if there is to be one, or binds the upgrade socket.
    pub(crate) fn begin(means: Means) -> io::Result<Self> {
        let (tell, begun) = channel();
        let (ready, is_ready) = oneshot::channel();
        let (give, given) = channel();
        let thread = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(give.send(Err(error))),
            };
            if runtime.block_on(run(&means, &give, is_ready, &tell)) {
                drop(runtime);
                means.hand_over();
            }
        })?;
        let ended = |_| Err(io::Error::other("the thread for upgrades panicked"));
        let (inherited, has_predecessor) = given.recv().unwrap_or_else(ended)?;
        Ok(Upgrade {
            inherited: Arc::new(inherited),
            ready: Some(ready),
            begun,
            thread: Some(thread),
            has_predecessor,
        })
    }

    /// Whether there is a predecessor.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.has_predecessor
    }

    /// The sockets of the predecessor.
    pub(crate) fn inherited(&self) -> &Arc<Inherited> {
        &self.inherited
    }

    /// Tells the predecessor that this server serves, and waits for it to stop. What nobody has
    /// taken is closed.
    pub(crate) fn ready(&mut self) -> io::Result<()> {
        let taken = self.inherited.taken();
        self.inherited.close_the_rest();
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(taken);
        }
        let panicked = |_| Err(io::Error::other("the thread for upgrades panicked"));
        self.begun.recv().unwrap_or_else(panicked)?;
        self.inherited.own();
        Ok(())
    }

    /// Waits for the thread, which ends when its server drains, or when it is not to begin.
    pub(crate) fn end(mut self) {
        self.ready = None;
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread)) {
            let _ = thread.join();
        }
    }
}

type Given = io::Result<(Inherited, bool)>;

/// Whether another process has taken over.
async fn run(
    means: &Means,
    give: &Sender<Given>,
    is_ready: oneshot::Receiver<Vec<usize>>,
    tell: &Sender<io::Result<()>>,
) -> bool {
    let (socket, predecessor) = match begin(means).await {
        Ok((socket, predecessor, inherited)) => {
            let _ = give.send(Ok((inherited, predecessor.is_some())));
            (socket, predecessor)
        }
        Err(error) => {
            let _ = give.send(Err(error));
            return false;
        }
    };
    // Dropped unsent, the server has not come up. The predecessor finds out by the end of this.
    let Ok(taken) = is_ready.await else { return false };
    let begun = match predecessor {
        Some(predecessor) => predecessor.replace(&taken, &*means.log).await,
        None => Ok(()),
    };
    let has_begun = begun.is_ok();
    if has_begun {
        socket.own();
    }
    let _ = tell.send(begun);
    has_begun && Offer::new(means, socket).run().await
}

async fn begin(means: &Means) -> io::Result<(UpgradeSocket, Option<Predecessor>, Inherited)> {
    let UpgradeOptions { socket, take_over, .. } = &means.options;
    if *take_over {
        if let Some((predecessor, socket, inherited)) = Predecessor::find(socket).await? {
            return Ok((socket, Some(predecessor), inherited));
        }
        let line = format!("nobody to take over from at {}: a plain start", socket.display());
        means.log.log(Level::Warn, &line);
    }
    Ok((UpgradeSocket::bind(socket)?, None, Inherited::default()))
}
