use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_error::{Level, Log};
use millrace_listeners::Inherited;
use millrace_transport::Address;

use crate::dependencies::Dependencies;
use crate::runtime::LAST_WORDS;
use crate::{
    Bell, Counters, Observer, Readiness, Service, ServiceContext, ServiceId, ServiceState,
    SharedSocket, Shutdown, ShutdownTrigger, StartError, Status,
};

/// The services of a server, in the order they were added, and what each depends on.
#[derive(Default)]
pub(crate) struct Slots {
    all: Vec<Slot>,
    dependencies: Dependencies,
}

struct Slot {
    service: Box<dyn Service>,
    counters: Arc<Counters>,
    status: Status,
    /// Of its own, as services stop one after the other.
    trigger: ShutdownTrigger,
}

impl Slots {
    pub(crate) fn add(
        &mut self,
        service: Box<dyn Service>,
        observer: Option<Observer>,
        bell: &Bell,
    ) -> ServiceId {
        let id = self.dependencies.add();
        let status = Status::new(id, service.name(), observer, bell.clone());
        let (counters, (trigger, _)) = (service.counters(), Shutdown::new());
        self.all.push(Slot { service, counters, status, trigger });
        id
    }

    pub(crate) fn connect(&mut self, service: ServiceId, on: ServiceId) -> Result<(), StartError> {
        if service.0.max(on.0) >= self.all.len() {
            return Err(StartError::NoService);
        }
        self.dependencies.connect(service.0, on.0).map_err(|path| {
            let path = path.into_iter().map(|at| self.name(at)).collect();
            StartError::Cycle { path }
        })
    }

    fn name(&self, at: usize) -> String {
        self.all.get(at).map(|slot| slot.service.name().to_owned()).unwrap_or_default()
    }

    pub(crate) fn states(&self) -> Vec<ServiceState> {
        self.all.iter().map(|slot| slot.status.state()).collect()
    }

    pub(crate) fn inherit(&mut self, inherited: &Arc<Inherited>) {
        self.all.iter_mut().for_each(|slot| slot.service.inherit(inherited));
    }

    /// The listening sockets of all of them.
    pub(crate) fn share(&self) -> io::Result<Vec<SharedSocket>> {
        let mut all = Vec::new();
        for slot in &self.all {
            all.extend(slot.service.share()?);
        }
        Ok(all)
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        for Slot { service, .. } in &self.all {
            service
                .check()
                .map_err(|io| StartError::Runtime { service: service.name().to_owned(), io })?;
        }
        Ok(())
    }

    pub(crate) fn bind(&mut self) -> Result<Vec<Vec<Address>>, StartError> {
        let bound = self.all.iter_mut().map(|slot| slot.service.bind());
        bound.collect::<Result<_, _>>().map_err(StartError::Bind)
    }

    pub(crate) fn launch(&mut self, log: &Arc<dyn Log>, bell: &Bell) -> Result<(), StartError> {
        for Slot { service, status, trigger, .. } in &mut self.all {
            let (fresh, shutdown) = Shutdown::new();
            *trigger = fresh;
            let (log, bell, status) = (log.clone(), bell.clone(), status.clone());
            if let Err(io) = service.launch(&ServiceContext { shutdown, log, bell, status }) {
                return Err(StartError::Runtime { service: service.name().to_owned(), io });
            }
        }
        Ok(())
    }

    /// Has each service accept when those it depends on are ready, until all are, one of them fails or
    /// there is another reason to stop.
    pub(crate) fn accept(
        &mut self,
        bell: &Bell,
        reason_to_stop: impl Fn() -> Option<StartError>,
    ) -> Result<(), StartError> {
        let mut waiting: Vec<usize> = (0..self.all.len()).collect();
        loop {
            // What is ready at once lets others start in the same round.
            while let Some(next) = waiting.iter().position(|&at| self.may_start(at)) {
                self.begin(waiting.remove(next));
            }
            let states = self.states();
            if let Some(failed) = states.iter().position(|&state| state == ServiceState::Failed) {
                return Err(self.failure(failed, &waiting));
            }
            // One that has failed since, and is started again, has been up.
            let been = self.have_been_ready();
            let is_up =
                |(state, been): (&ServiceState, &bool)| *been || *state == ServiceState::Stopped;
            if waiting.is_empty() && states.iter().zip(&been).all(is_up) {
                return Ok(());
            }
            if let Some(reason) = reason_to_stop() {
                return Err(reason);
            }
            let has_changed = || self.states() != states || self.have_been_ready() != been;
            bell.wait_until(|| reason_to_stop().is_some() || has_changed());
        }
    }

    fn have_been_ready(&self) -> Vec<bool> {
        self.all.iter().map(|slot| slot.status.has_been_ready()).collect()
    }

    fn may_start(&self, at: usize) -> bool {
        // One that has done its work and ended has been ready before.
        let is_ready = |on: &usize| {
            let state = self.all.get(*on).map(|slot| slot.status.state());
            matches!(state, Some(ServiceState::Ready | ServiceState::Stopped))
        };
        self.dependencies.of(at).iter().all(is_ready)
    }

    fn begin(&mut self, at: usize) {
        let Some(Slot { service, status, .. }) = self.all.get_mut(at) else { return };
        status.set(ServiceState::Starting);
        service.accept();
        if service.readiness() == Readiness::AtOnce {
            status.ready();
        }
    }

    fn failure(&self, failed: usize, waiting: &[usize]) -> StartError {
        let mut lost = vec![failed];
        let mut dependents = Vec::new();
        while let Some(next) = waiting.iter().find(|at| {
            !lost.contains(at) && self.dependencies.of(**at).iter().any(|on| lost.contains(on))
        }) {
            lost.push(*next);
            dependents.push(self.name(*next));
        }
        let error = self.all.get(failed).and_then(|slot| slot.status.now().1);
        match error {
            Some(error) => {
                let (id, service) = (ServiceId(failed), self.name(failed));
                StartError::Service { id, service, error, dependents }
            }
            None => StartError::NoService,
        }
    }

    /// Takes back a start, as a server that runs is brought down: nothing is bound or running after it.
    pub(crate) fn give_up(&mut self, bell: &Bell, latest: Option<Instant>, log: &dyn Log) {
        self.bring_down(bell, latest, log);
        self.all.iter().for_each(|slot| slot.status.set(ServiceState::New));
    }

    /// Ends the services, each when those that depend on it have ended. What has not at the end of the grace
    /// that `bell` knows of, or at `latest` if that is sooner, is cut off.
    pub(crate) fn bring_down(&mut self, bell: &Bell, latest: Option<Instant>, log: &dyn Log) {
        for wave in self.dependencies.waves_down() {
            self.drain(&wave);
            let quiet = bell.wait(latest, || self.are_quiet(&wave));
            self.of(&wave).for_each(|slot| slot.trigger.cut());
            let late = !quiet && !bell.wait_for(LAST_WORDS, || self.are_quiet(&wave));
            if late && self.count_open(&wave) > 0 {
                log.log(Level::Warn, "connections did not end at the end of the grace");
            }
            self.stop(&wave, bell.remaining(latest).max(LAST_WORDS));
        }
    }

    fn drain(&mut self, wave: &[usize]) {
        // Told before one lets go of its sockets: a client that is refused has been told to go.
        for Slot { status, trigger, .. } in self.of(wave) {
            status.stopping();
            trigger.drain();
        }
        self.of(wave).for_each(|slot| slot.service.unbind());
    }

    fn stop(&mut self, wave: &[usize], limit: Duration) {
        for slot in self.of(wave) {
            slot.service.stop(limit);
            slot.status.stopped();
        }
    }

    fn are_quiet(&self, wave: &[usize]) -> bool {
        wave.iter().filter_map(|at| self.all.get(*at)).all(|slot| slot.counters.is_quiet())
    }

    fn count_open(&self, wave: &[usize]) -> usize {
        wave.iter().filter_map(|at| self.all.get(*at)).map(|slot| slot.counters.open()).sum()
    }

    fn of(&mut self, wave: &[usize]) -> impl Iterator<Item = &mut Slot> {
        let is_of = |(at, slot): (usize, _)| wave.contains(&at).then_some(slot);
        self.all.iter_mut().enumerate().filter_map(is_of)
    }
}
