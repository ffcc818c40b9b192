use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use millrace_error::{Level, Log};
use millrace_listeners::{Accepted, FirstLook, Refusal, TransportStack, Unsaid};
use millrace_transport::{Address, Stream};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::clients::{Clients, TooMany};
use crate::complaints::Complaints;
use crate::connection::{self, Entry};
use crate::counters::{OpenConnection, Tally};
use crate::{ConnInfo, OnceASecond, ServerApp, Shutdown};

/// Connections taken from the system's backlog once draining has begun.
const LAST_ACCEPTS: usize = 4096;

/// What the endpoints of a service share.
pub(crate) struct Acceptors<A> {
    pub(crate) name: String,
    pub(crate) app: Arc<A>,
    pub(crate) tally: Tally,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) limit: usize,
    pub(crate) clients: Option<Clients>,
    pub(crate) runtimes: Vec<(Handle, AtomicUsize)>,
    pub(crate) complained: OnceASecond,
    /// Connections that a check has said nothing of, by why: so that neither hides the other.
    pub(crate) late: Arc<Complaints>,
    pub(crate) unasked: Arc<Complaints>,
}

impl<A: ServerApp> Acceptors<A> {
    /// Accepts on one runtime until the endpoint drains. `alive` is dropped when it has let go of the
    /// socket.
    pub(crate) fn run(
        self: &Arc<Self>,
        stack: TransportStack,
        runtime: usize,
        endpoint: Shutdown,
        alive: Sender<()>,
    ) {
        let (this, reporter, acceptor) = (self.clone(), self.clone(), self.tally.acceptor());
        let task = async move {
            // Dropped after the stack.
            let (_alive, _acceptor) = (alive, acceptor);
            let mut stack = stack.on_failure(move |error| reporter.report_failure(error));
            let mut draining = pin!(endpoint.draining());
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = &mut draining => break,
                    accepted = stack.accept() => accepted,
                };
                this.take(accepted, runtime, &endpoint);
            }
            // To these the system has said yes already; closing now would reset them.
            for _ in 0..LAST_ACCEPTS {
                match stack.try_accept() {
                    Some(accepted) if !endpoint.is_cut() => this.take(accepted, runtime, &endpoint),
                    _ => break,
                }
            }
        };
        if let Some((handle, _)) = self.runtimes.get(runtime) {
            handle.spawn(task);
        }
    }

    fn take(self: &Arc<Self>, accepted: Accepted, own: usize, endpoint: &Shutdown) {
        let Accepted { stream, tls, admission, local, remote } = accepted;
        let look = admission.as_ref().map_or(Ok(FirstLook::Client), |asked| asked.look(&remote));
        let look = match look {
            Ok(look) => look,
            Err(refusal) => return self.refuse(&remote, refusal),
        };
        let Some(mut open) = self.tally.open(self.limit) else {
            let limit = self.limit;
            return self.complain(|| format!("{limit} connections are open, one was closed"));
        };
        if look == FirstLook::Client && !self.seat(&mut open, &remote) {
            return;
        }
        let runtime = self.place(own);
        let (id, accepted) = (ConnInfo::next_id(), Instant::now());
        let counters = self.tally.counters.clone();
        let conn = ConnInfo { id, local, remote, runtime, accepted, tls: None, counters };
        let entry = Entry { tls, admission, look, shutdown: endpoint.clone() };
        if let Err(error) = self.spawn(stream, entry, conn, open, own) {
            self.complain(|| format!("a connection was lost: {error}"));
        }
    }

    fn spawn(
        self: &Arc<Self>,
        stream: Stream,
        entry: Entry,
        conn: ConnInfo,
        open: OpenConnection,
        own: usize,
    ) -> io::Result<()> {
        let Some((handle, load)) = self.runtimes.get(conn.runtime) else { return Ok(()) };
        load.fetch_add(1, Ordering::Relaxed);
        let load = Load { acceptors: self.clone(), runtime: conn.runtime };
        if conn.runtime == own {
            handle.spawn(async move {
                connection::serve(&load.acceptors, stream, entry, conn, open).await;
            });
            return Ok(());
        }
        let stream = stream.into_std()?;
        handle.spawn(async move {
            match Stream::from_std(stream) {
                Ok(stream) => {
                    connection::serve(&load.acceptors, stream, entry, conn, open).await;
                }
                Err(error) => load.acceptors.complain(|| format!("a connection was lost: {error}")),
            }
        });
        Ok(())
    }

    /// Finds a place for a connection among those of its client; false, and it is over, if there is none.
    pub(crate) fn seat(&self, open: &mut OpenConnection, client: &Address) -> bool {
        let Some(clients) = &self.clients else { return true };
        match clients.seat(client) {
            Ok(seat) => {
                open.seat = seat;
                true
            }
            Err(TooMany) => {
                open.refused();
                let most = clients.limit.most;
                self.complain(|| format!("{client} has {most} connections, one more was closed"));
                false
            }
        }
    }

    /// Counts a connection that is not taken. A line about it is for those who look for a fault: whoever
    /// scans addresses would fill the log.
    fn refuse(&self, remote: &Address, refusal: Refusal) {
        self.tally.counters.count_refusal();
        self.note_refusal(remote, &refusal);
    }

    pub(crate) fn note_refusal(&self, remote: &Address, refusal: &Refusal) {
        if self.log.enabled(Level::Debug) {
            let line = format!("a connection from {remote} was not taken: {refusal}");
            self.log.log(Level::Debug, &format!("service {}: {line}", self.name));
        }
    }

    /// A check has not said whether a connection is taken: whoever has written it has to know.
    pub(crate) fn note_unsaid(&self, client: &Address, unsaid: Unsaid, is_taken: bool) {
        let (complaints, level) = match unsaid {
            // Told where it has failed, and with what.
            Unsaid::Failed => return,
            Unsaid::Late(_) => (&self.late, Level::Error),
            Unsaid::TooMany(_) => (&self.unasked, Level::Warn),
        };
        let outcome = if is_taken { "taken" } else { "not taken" };
        let what = || format!("{unsaid}: a connection from {} was {outcome}", client.host());
        complaints.add(level, &client.to_string(), what);
    }

    /// The runtime for a connection: the one that accepted it, unless it has clearly more of
    /// them than another. The system wakes all and the first takes what there is, so that
    /// otherwise one thread may end up with most of a burst.
    fn place(&self, own: usize) -> usize {
        let loads = self.runtimes.iter().map(|(_, load)| load.load(Ordering::Relaxed));
        let Some((least, lowest)) = loads.enumerate().min_by_key(|(_, load)| *load) else {
            return own;
        };
        let mine = self.runtimes.get(own).map_or(0, |(_, load)| load.load(Ordering::Relaxed));
        if mine > lowest + lowest / 8 { least } else { own }
    }

    fn report_failure(&self, error: &io::Error) {
        self.complain(|| format!("accepting failed and is tried again: {error}"));
    }

    /// Logs a warning, at most one each second.
    fn complain(&self, line: impl FnOnce() -> String) {
        if !self.complained.is_due() {
            return;
        }
        let line = format!("service {}: {}", self.name, line());
        self.log.log_with(Level::Warn, &line, &[("service", self.name.as_str().into())]);
    }
}

/// Counts a connection towards the load of its runtime.
struct Load<A: ServerApp> {
    acceptors: Arc<Acceptors<A>>,
    runtime: usize,
}

impl<A: ServerApp> Drop for Load<A> {
    fn drop(&mut self) {
        if let Some((_, load)) = self.acceptors.runtimes.get(self.runtime) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
