use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use millrace_listeners::{BindError, Bound, Endpoint, TransportStack};
use millrace_transport::Address;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::accept::Acceptors;
use crate::runtime::LAST_WORDS;
use crate::{ServerApp, ShutdownTrigger, StartError};

/// The endpoints of a service while it runs: more can be added, and each can be closed by itself. Cheap to
/// clone; the clones are about the same.
#[derive(Clone)]
pub struct Endpoints {
    inner: Arc<dyn Changes>,
}

impl Endpoints {
    /// Listens on another endpoint from now on: its number, for [`Endpoints::close`], and where it is
    /// bound. The endpoints a service is made with have the numbers 0, 1 and so on.
    pub fn add(&self, endpoint: &Endpoint) -> Result<(u64, Address), StartError> {
        self.inner.add(endpoint)
    }

    /// Lets go of an endpoint. Its connections end as those of a server that drains: idle ones at once,
    /// others when what they are at is done, with no limit of time. Blocks until the address is free,
    /// which takes a moment; false if it is not after a second, as a thread does not yield. True where there
    /// is no such endpoint any more.
    pub fn close(&self, number: u64) -> bool {
        self.inner.close(number)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

trait Changes: Send + Sync {
    fn add(&self, endpoint: &Endpoint) -> Result<(u64, Address), StartError>;
    fn close(&self, number: u64) -> bool;
}

/// Where a service listens.
pub(crate) struct Listening<A: ServerApp> {
    state: Mutex<State<A>>,
}

struct State<A: ServerApp> {
    next: u64,
    open: Vec<Open>,
    /// While it accepts.
    acceptors: Option<Arc<Acceptors<A>>>,
    is_over: bool,
}

struct Open {
    number: u64,
    bound: Bound,
    /// Once it accepts.
    accepting: Option<Accepting>,
}

struct Accepting {
    trigger: ShutdownTrigger,
    /// Never sent to: it hangs up when all have let go of the socket.
    ended: Receiver<()>,
}

/// A stack for each runtime, for each endpoint.
pub(crate) type Stacks = Vec<(u64, Vec<TransportStack>)>;

impl<A: ServerApp> Listening<A> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { next: 0, open: Vec::new(), acceptors: None, is_over: false };
        Arc::new(Listening { state: Mutex::new(state) })
    }

    pub(crate) fn endpoints(self: &Arc<Self>) -> Endpoints {
        Endpoints { inner: self.clone() }
    }

    /// Binds all of them, or none.
    pub(crate) fn bind(&self, endpoints: &[Endpoint]) -> Result<Vec<Address>, BindError> {
        let bound = endpoints.iter().map(Endpoint::bind).collect::<Result<Vec<_>, _>>()?;
        let addresses = bound.iter().map(|bound| bound.address().clone()).collect();
        let mut state = self.state.lock();
        state.next = bound.len() as u64;
        state.open = (0..).zip(bound).map(|(number, bound)| Open::new(number, bound)).collect();
        state.is_over = false;
        Ok(addresses)
    }

    /// What accepts on each of these runtimes.
    pub(crate) fn stacks(&self, runtimes: &[Handle]) -> io::Result<Stacks> {
        let state = self.state.lock();
        let of = |open: &Open| Ok((open.number, stacks(&open.bound, runtimes.iter())?));
        state.open.iter().map(of).collect()
    }

    pub(crate) fn accept(&self, acceptors: &Arc<Acceptors<A>>, stacks: Stacks) {
        let mut state = self.state.lock();
        for (number, stacks) in stacks {
            if let Some(open) = state.open.iter_mut().find(|open| open.number == number) {
                open.accept(acceptors, stacks);
            }
        }
        state.acceptors = Some(acceptors.clone());
    }

    /// Lets go of all of them; no more can be added.
    pub(crate) fn unbind(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        state.acceptors = None;
        state.open.clear();
    }
}

impl<A: ServerApp> Changes for Listening<A> {
    fn add(&self, endpoint: &Endpoint) -> Result<(u64, Address), StartError> {
        let mut state = self.state.lock();
        let Some(acceptors) = state.acceptors.clone() else {
            return Err(if state.is_over { StartError::Closed } else { StartError::NotRunning });
        };
        if acceptors.tally.shutdown.is_draining() {
            return Err(StartError::Closed);
        }
        let bound = endpoint.bind().map_err(StartError::Bind)?;
        let stacks = stacks(&bound, acceptors.runtimes.iter().map(|(handle, _)| handle));
        let runtime = |io| StartError::Runtime { service: acceptors.name.clone(), io };
        let stacks = stacks.map_err(runtime)?;
        let (number, address) = (state.next, bound.address().clone());
        state.next += 1;
        let mut open = Open::new(number, bound);
        open.accept(&acceptors, stacks);
        state.open.push(open);
        Ok((number, address))
    }

    fn close(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.open.iter().position(|open| open.number == number) else {
            return true;
        };
        let Open { bound, accepting, .. } = state.open.remove(at);
        drop(state);
        drop(bound);
        let Some(Accepting { trigger, ended }) = accepting else { return true };
        trigger.drain();
        ended.recv_timeout(LAST_WORDS) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Open {
    fn new(number: u64, bound: Bound) -> Self {
        Open { number, bound, accepting: None }
    }

    fn accept<A: ServerApp>(&mut self, acceptors: &Arc<Acceptors<A>>, stacks: Vec<TransportStack>) {
        let (trigger, shutdown) = acceptors.tally.shutdown.child();
        let (alive, ended) = channel();
        for (runtime, stack) in stacks.into_iter().enumerate() {
            acceptors.run(stack, runtime, shutdown.clone(), alive.clone());
        }
        self.accepting = Some(Accepting { trigger, ended });
    }
}

fn stacks<'a>(
    bound: &Bound,
    runtimes: impl Iterator<Item = &'a Handle>,
) -> io::Result<Vec<TransportStack>> {
    runtimes
        .map(|handle| {
            let _inside = handle.enter();
            bound.stack()
        })
        .collect()
}
