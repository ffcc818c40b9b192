use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use millrace_proxy::{ClientConnection, RequestPiece};
use millrace_records::{Output, Record};
use millrace_server::ConnInfo;
use millrace_tcp::StreamHandle;
use millrace_transport::TlsInfo;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::batch::{Batch, Ended, Items};
use super::cell::{Cell, Client, Lease};
use super::item::Item;
use super::router::Router;
use super::{Kind, Reply, Section};

/// From this many items on JS is woken at once; below, after the tasks that are ready now, so that
/// their items share the wake-up.
const WAKE_AT: usize = 64;
/// Items that nobody waits for ride with the next batch, or go after this time.
const LAZY: Duration = Duration::from_millis(1);
/// Requests that JS may know of at once.
const MAX_SLOTS: usize = 65_536;
/// Requests whose end JS was not told of, as it knew of too many.
pub(crate) static UNLOGGED: AtomicU64 = AtomicU64::new(0);
/// Wakes the JS thread; false when its environment is gone.
type Wake = Box<dyn Fn() -> bool + Send + Sync>;

/// The queue to one JS thread, and the requests it knows of.
pub(crate) struct Crossing {
    me: Weak<Crossing>,
    queue: Mutex<Queue>,
    slots: Mutex<Slots>,
    /// Connections that are there for apps, until those take them.
    streams: Mutex<HashMap<u64, Taken>>,
    /// Requests whose end JS is told of just now: it says when their slots are free.
    ended: Mutex<Vec<u32>>,
    routers: RwLock<Vec<Arc<Router>>>,
    wake: OnceLock<Wake>,
    closed: AtomicBool,
    /// It leads to a thread that may end while the server goes on.
    pub(crate) may_end: bool,
    waiting: AtomicUsize,
    /// Questions about connections that are on their way to JS.
    questions: AtomicUsize,
    pub(super) batches: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) late: AtomicU64,
}

#[derive(Default)]
struct Queue {
    items: Items,
    /// Items that JS has taken and not yet looked at.
    left: usize,
    /// A wake-up is on its way to JS.
    sent: bool,
    /// A task will send one.
    armed: bool,
    lazily_armed: bool,
    /// JS has taken items since that was armed lazily: those that wait now are younger.
    taken: bool,
}

impl Queue {
    /// Says whether a task has to be begun for it.
    fn arm_lazily(&mut self) -> bool {
        self.taken &= self.lazily_armed;
        !std::mem::replace(&mut self.lazily_armed, true)
    }
}

#[derive(Default)]
struct Slots {
    cells: Vec<Arc<Cell>>,
    free: Vec<u32>,
}

/// A connection for an app, with what its handshake came to.
pub(crate) type Taken = (StreamHandle, Option<Arc<TlsInfo>>);

/// JS is so far behind that a request is refused rather than queued.
pub(crate) struct Full;

impl Crossing {
    pub(crate) fn new(may_end: bool) -> Arc<Self> {
        Arc::new_cyclic(|me| Crossing {
            me: me.clone(),
            queue: Mutex::default(),
            slots: Mutex::default(),
            streams: Mutex::default(),
            ended: Mutex::default(),
            routers: RwLock::default(),
            wake: OnceLock::new(),
            closed: AtomicBool::new(false),
            may_end,
            waiting: AtomicUsize::new(0),
            questions: AtomicUsize::new(0),
            batches: AtomicU64::new(0),
            items: AtomicU64::new(0),
            late: AtomicU64::new(0),
        })
    }

    /// JavaScript takes items from now on; those that wait at once.
    pub(super) fn attach(&self, wake: Wake) {
        let _ = self.wake.set(wake);
        let waits = {
            let mut queue = self.queue.lock();
            queue.sent = !queue.items.is_empty();
            queue.sent
        };
        if waits {
            self.fire();
        }
    }

    /// Whether JavaScript takes items.
    pub(crate) fn is_attached(&self) -> bool {
        self.wake.get().is_some() && !self.is_closed()
    }

    /// Whether there is no JavaScript any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// A router for a runtime, and its number.
    pub(crate) fn add_router(&self) -> (usize, Arc<Router>) {
        let router = Arc::new(Router::default());
        let mut routers = self.routers.write();
        // The place of a runtime that has ended is taken again.
        match routers.iter().position(|router| Arc::strong_count(router) == 1) {
            Some(place) => {
                routers[place] = router.clone();
                (place, router)
            }
            None => {
                routers.push(router.clone());
                (routers.len() - 1, router)
            }
        }
    }

    /// Room for a request, unless `max_queued` items wait already.
    pub(crate) fn lease(
        &self,
        router: usize,
        max_queued: usize,
        client: Client,
    ) -> Result<Lease, Full> {
        if self.waiting.load(Relaxed) >= max_queued {
            return Err(Full);
        }
        let mut slots = self.slots.lock();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if slots.cells.len() < MAX_SLOTS => {
                slots.cells.push(Arc::new(Cell::new()));
                (slots.cells.len() - 1) as u32
            }
            None => return Err(Full),
        };
        let cell = slots.cells[slot as usize].clone();
        Ok(Lease::new(slot, cell, router, client))
    }

    /// Offers a connection to an app; false if JS is so far behind that it is not taken, or gone.
    pub(crate) fn offer(
        &self,
        app: u32,
        conn: &ConnInfo,
        handle: StreamHandle,
        max_queued: usize,
    ) -> bool {
        if self.waiting.load(Relaxed) >= max_queued {
            return false;
        }
        self.streams.lock().insert(conn.id, (handle, conn.tls.clone()));
        let mut item = Item::new(0, app, Kind::Stream, 0, 0);
        item.stream(conn);
        self.push(item) || {
            self.streams.lock().remove(&conn.id);
            false
        }
    }

    /// A connection that was offered, once.
    pub(crate) fn take_stream(&self, id: u64) -> Option<Taken> {
        self.streams.lock().remove(&id)
    }

    /// Queues an item; false when there is no JS any more.
    pub(crate) fn push(&self, mut item: Item) -> bool {
        if self.closed.load(Relaxed) {
            return false;
        }
        let kind = item.head.ints[super::item::at::KIND];
        let lazy = [Kind::End, Kind::Closed, Kind::Retired].iter().any(|lazy| kind == *lazy as i32);
        let (now, arm, arm_lazily) = {
            let mut queue = self.queue.lock();
            queue.items.push(&mut item);
            let waiting = queue.items.len() + queue.left;
            self.waiting.store(waiting, Relaxed);
            if queue.sent {
                (false, false, false)
            } else if waiting >= WAKE_AT {
                queue.sent = true;
                (true, false, false)
            } else if queue.armed {
                (false, false, false)
            } else if lazy {
                (false, false, queue.arm_lazily())
            } else {
                queue.armed = true;
                (false, true, false)
            }
        };
        if now {
            self.fire();
        } else if arm {
            self.fire_later();
        } else if arm_lazily {
            self.fire_lazily();
        }
        true
    }

    /// The end of a request of which there is nothing else to tell: its slot is free when JS knows.
    pub(crate) fn end(&self, mut lease: Lease, last_of_connection: bool) {
        if self.closed.load(Relaxed) {
            return;
        }
        lease.next_seq(None); // Answers that are still on their way are nobody's.
        let arm = {
            let mut queue = self.queue.lock();
            queue.items.end(lease.slot(), last_of_connection);
            !queue.sent && !queue.armed && queue.arm_lazily()
        };
        if arm {
            self.fire_lazily();
        }
    }

    /// Wakes JS after the tasks that are ready now.
    fn fire_later(&self) {
        self.defer(false, |deferred| async move {
            tokio::task::yield_now().await;
            drop(deferred);
        });
    }

    /// Wakes JS when an item has waited for [`LAZY`] and no other has taken it along.
    fn fire_lazily(&self) {
        self.defer(true, |deferred| async move {
            loop {
                tokio::time::sleep(LAZY).await;
                let mut queue = deferred.crossing.queue.lock();
                if !std::mem::take(&mut queue.taken) || queue.items.is_empty() {
                    break;
                }
            }
            drop(deferred);
        });
    }

    fn defer<F>(&self, lazily: bool, task: impl FnOnce(Deferred) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(crossing) = self.me.upgrade() else { return };
        let deferred = Deferred { crossing, lazily };
        // Outside of a runtime it is dropped, and so fires, at once.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Fires on drop, and is made out here: a runtime that ends drops what it has not begun, and
        // would take the wake-up with it, and with that every later one.
        runtime.spawn(task(deferred));
    }

    fn fire_waiting(&self, lazily: bool) {
        let go = {
            let mut queue = self.queue.lock();
            let armed = if lazily { &mut queue.lazily_armed } else { &mut queue.armed };
            *armed = false;
            !queue.items.is_empty() && !std::mem::replace(&mut queue.sent, true)
        };
        if go {
            self.fire();
        }
    }

    fn fire(&self) {
        // Where nobody is there yet, the items wait for [`Crossing::attach`].
        let alive = self.wake.get().is_none_or(|wake| wake());
        if !alive {
            self.close();
        }
    }

    /// JS thread: takes what waits, as far as it fits in a call. Wakes JS again for the rest. Returns
    /// the requests whose end is told along.
    pub(super) fn begin(&self, batch: &mut Batch) -> Vec<Ended> {
        batch.advance();
        let (more, ended) = {
            let mut queue = self.queue.lock();
            if batch.is_empty() {
                batch.refill(&mut queue.items);
            }
            let ended = batch.take_ended();
            queue.left = batch.left();
            let waiting = queue.items.len() + queue.left;
            self.waiting.store(waiting, Relaxed);
            queue.sent = waiting > 0 || !batch.is_done();
            queue.taken = true;
            (queue.sent, ended)
        };
        if !ended.is_empty() {
            self.ended.lock().extend(ended.iter().map(|ended| ended.slot));
        }
        let now = Instant::now();
        let (given, _) = batch.given();
        for head in given.iter_mut() {
            if let Some(cell) = head.waiter.take() {
                cell.begin(head.ints[super::item::at::SEQ] as u32, now);
            }
        }
        self.batches.fetch_add(1, Relaxed);
        self.items.fetch_add(given.len() as u64, Relaxed);
        if more {
            self.fire();
        }
        ended
    }

    /// JS thread: what JS says.
    pub(super) fn finish(&self, records: &[i32], output: &[u8]) {
        let now = Instant::now();
        let output = Output::new(output);
        let mut answers: Vec<Vec<(Arc<Cell>, u32, Reply)>> = Vec::new();
        let mut slots = self.slots.lock();
        for ints in records.chunks_exact(millrace_records::INTS) {
            match Record::read(ints, &output) {
                Some(Record::Reply { slot, seq, reply }) => {
                    let Some(cell) = slots.cells.get(slot as usize) else { continue };
                    let Some(router) = cell.router(seq) else {
                        self.late.fetch_add(1, Relaxed);
                        continue;
                    };
                    if answers.len() <= router {
                        answers.resize_with(router + 1, Vec::new);
                    }
                    answers[router].push((cell.clone(), seq, reply));
                }
                Some(Record::Progress { slot, seq }) => {
                    if let Some(cell) = slots.cells.get(slot as usize) {
                        cell.begin(seq, now);
                    }
                }
                Some(Record::Read { slot, seq, most }) => {
                    if let Some(cell) = slots.cells.get(slot as usize) {
                        cell.want_body(seq, most);
                    }
                }
                Some(Record::Free { slot }) => {
                    if let Some(cell) = slots.cells.get(slot as usize) {
                        cell.clear();
                    }
                    slots.free.push(slot);
                }
                Some(Record::Ended) => {
                    for slot in self.ended.lock().drain(..) {
                        if let Some(cell) = slots.cells.get(slot as usize) {
                            cell.clear();
                        }
                        slots.free.push(slot);
                    }
                }
                Some(Record::Interim { slot, head }) => {
                    if let Some(cell) = slots.cells.get(slot as usize) {
                        cell.interim(head);
                    }
                }
                None => {}
            }
        }
        drop(slots);
        let routers = self.routers.read();
        for (router, answers) in routers.iter().zip(&mut answers) {
            if !answers.is_empty() {
                router.send(answers);
            }
        }
    }

    /// Ends the waits of a runtime that have been too long.
    pub(super) fn expire(&self, router: usize, now: Instant) {
        // In parts, so that the lock is never held for long.
        for from in (0..).step_by(256) {
            let cells = {
                let slots = self.slots.lock();
                let Some(cells) = slots.cells.get(from..) else { return };
                if cells.is_empty() {
                    return;
                }
                cells[..cells.len().min(256)].to_vec()
            };
            for cell in cells {
                cell.expire(router, now);
            }
        }
    }

    /// The environment is going away: nobody will answer.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.queue.lock().items = Items::default();
        let cells = self.slots.lock().cells.clone();
        for cell in cells {
            cell.close();
        }
        for (_, (handle, _)) in self.streams.lock().drain() {
            handle.abort();
        }
    }

    /// What the handshake came to of the client whose request has this slot.
    pub(super) fn tls(&self, slot: u32) -> Option<Arc<TlsInfo>> {
        self.slots.lock().cells.get(slot as usize)?.tls()
    }

    /// The body of the request that has this slot, if a phase waited for it.
    pub(super) fn body(&self, slot: u32) -> Option<Bytes> {
        self.slots.lock().cells.get(slot as usize)?.body()
    }

    /// Asks for the next piece of the body of the request that has this slot, as an app may.
    pub(super) fn ask_piece(
        &self,
        slot: u32,
        then: impl FnOnce(Result<Option<RequestPiece>, millrace_error::Error>) + Send + 'static,
    ) {
        let cell = self.slots.lock().cells.get(slot as usize).cloned();
        match cell {
            Some(cell) => cell.ask_piece(then),
            None => then(Err(super::cell::over())),
        }
    }

    /// The connection of the client whose request has this slot, until that is over.
    pub(crate) fn connection(&self, slot: u32) -> Option<Arc<ClientConnection>> {
        self.slots.lock().cells.get(slot as usize)?.connection()
    }

    /// A question about a connection is on its way to JS.
    pub(crate) fn question_asked(&self) {
        self.questions.fetch_add(1, Relaxed);
    }

    /// It has not gone.
    pub(crate) fn question_lost(&self) {
        self.questions.fetch_sub(1, Relaxed);
    }

    /// JS thread: it has come, in a call of its own.
    pub(crate) fn question_taken(&self) {
        self.questions.fetch_sub(1, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        self.items.fetch_add(1, Relaxed);
    }

    /// JS thread: it was answered when nobody waited any more.
    pub(crate) fn question_late(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    /// Calls of the dispatcher, and items handed to it.
    #[cfg(feature = "bench")]
    pub(crate) fn handed_over(&self) -> (f64, f64) {
        (self.batches.load(Relaxed) as f64, self.items.load(Relaxed) as f64)
    }

    /// Items that wait, and slots in use.
    pub(crate) fn load(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        let waiting = self.waiting.load(Relaxed) + self.questions.load(Relaxed);
        (waiting, slots.cells.len() - slots.free.len())
    }
}

/// Fires when it is dropped.
struct Deferred {
    crossing: Arc<Crossing>,
    lazily: bool,
}

impl Drop for Deferred {
    fn drop(&mut self) {
        self.crossing.fire_waiting(self.lazily);
    }
}
