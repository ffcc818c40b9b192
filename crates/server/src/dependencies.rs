use crate::ServiceId;

/// Which services need which others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependencies {
    /// Of each service, by its place, those that it depends on.
    needs: Vec<Vec<usize>>,
}

impl Dependencies {
    /// Another service, which depends on none yet.
    pub(crate) fn add(&mut self) -> ServiceId {
        self.needs.push(Vec::new());
        ServiceId(self.needs.len() - 1)
    }

    /// Has `service` depend on `on`; otherwise the way round that this would close, from `service` to
    /// itself.
    pub(crate) fn connect(&mut self, service: usize, on: usize) -> Result<(), Vec<usize>> {
        if let Some(mut path) = self.path(on, service) {
            path.insert(0, service);
            return Err(path);
        }
        if let Some(needs) = self.needs.get_mut(service)
            && !needs.contains(&on)
        {
            needs.push(on);
        }
        Ok(())
    }

    pub(crate) fn of(&self, service: usize) -> &[usize] {
        self.needs.get(service).map_or(&[], Vec::as_slice)
    }

    /// The services in the order in which they stop: each list when the one before it has ended, so
    /// that none stops before those that depend on it.
    pub(crate) fn waves_down(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..self.needs.len()).collect();
        let mut waves = Vec::new();
        while !left.is_empty() {
            let is_needed = |one: &usize| left.iter().any(|other| self.of(*other).contains(one));
            let (later, wave): (Vec<usize>, Vec<usize>) =
                left.iter().partition(|one| is_needed(one));
            if wave.is_empty() {
                // There are no ways round; were there one, nobody should wait for its end.
                waves.push(later);
                break;
            }
            left = later;
            waves.push(wave);
        }
        waves
    }

    fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut seen = vec![false; self.needs.len()];
        let mut path = Vec::new();
        self.search(from, to, &mut seen, &mut path).then_some(path)
    }

    fn search(&self, at: usize, to: usize, seen: &mut [bool], path: &mut Vec<usize>) -> bool {
        if seen.get_mut(at).is_none_or(|seen| std::mem::replace(seen, true)) {
            return false;
        }
        path.push(at);
        if at == to || self.of(at).iter().any(|&next| self.search(next, to, seen, path)) {
            return true;
        }
        path.pop();
        false
    }
}
