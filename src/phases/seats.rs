use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use millrace_proxy::Exchange;
use parking_lot::Mutex;

use super::{Dispatcher, JsPhases};
use crate::crossing::{Crossing, Item, Kind, Section};

/// How many connections of a proxy each of its dispatchers has.
pub(crate) struct Seats(Vec<AtomicUsize>);

impl Seats {
    pub(crate) fn new(dispatchers: usize) -> Arc<Self> {
        Arc::new(Seats((0..dispatchers).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn taken(&self, at: usize) -> usize {
        self.0.get(at).map_or(0, |count| count.load(Relaxed))
    }
}

/// The dispatcher of a connection, and the threads that may keep something of it.
struct Seat {
    connection: u64,
    seats: Arc<Seats>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at: Option<usize>,
    told: Vec<Weak<Crossing>>,
}

impl JsPhases {
    /// The dispatcher of the request's connection: the one it had, while that one runs; or one that runs,
    /// of those the one with the fewest connections.
    pub(super) fn seat(&self, ex: &Exchange) -> usize {
        let connection = ex.connection.id;
        let kept = ex.connection.kept.get_or_init(|| {
            let seats = self.seats.clone();
            Box::new(Seat { connection, seats, state: Mutex::default() })
        });
        // Nobody else keeps anything there.
        let Some(seat) = kept.downcast_ref::<Seat>() else { return 0 };
        let mut state = seat.state.lock();
        let runs = |at: &usize| self.dispatcher(*at).wiring.crossing.is_attached();
        let at = match state.at.filter(runs) {
            Some(at) => at,
            None => seat.take(&mut state, self.all()),
        };
        state.tell(&self.dispatcher(at).wiring.crossing);
        at
    }
}

impl Seat {
    fn take<'a>(
        &self,
        state: &mut State,
        dispatchers: impl Iterator<Item = &'a Arc<Dispatcher>>,
    ) -> usize {
        self.leave(state);
        let best = dispatchers.enumerate().min_by_key(|(at, dispatcher)| {
            let crossing = &dispatcher.wiring.crossing;
            (crossing.is_closed(), !crossing.is_attached(), self.seats.taken(*at))
        });
        let at = best.map_or(0, |(at, _)| at);
        if let Some(count) = self.seats.0.get(at) {
            count.fetch_add(1, Relaxed);
        }
        state.at = Some(at);
        at
    }

    fn leave(&self, state: &mut State) {
        if let Some(count) = state.at.take().and_then(|at| self.seats.0.get(at)) {
            count.fetch_sub(1, Relaxed);
        }
    }
}

impl State {
    fn tell(&mut self, crossing: &Arc<Crossing>) {
        if self.told.last().is_some_and(|last| last.as_ptr() == Arc::as_ptr(crossing)) {
            return;
        }
        self.told.retain(|told| told.strong_count() > 0);
        self.told.push(Arc::downgrade(crossing));
    }
}

/// The connection has closed, and its last request is over.
impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.state.lock());
        self.leave(&mut state);
        for crossing in state.told.iter().filter_map(Weak::upgrade) {
            let mut item = Item::new(0, 0, Kind::Closed, 0, 0);
            item.connection(self.connection);
            crossing.push(item);
        }
    }
}
