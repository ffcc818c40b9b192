use std::io;

/// Which processors the threads of a service run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cpus {
    /// Those that the system chooses, from one moment to the next.
    #[default]
    Any,
    /// Each thread on one of its own, in turn, of those that the process may run on. Services that do so
    /// go on where the one before has stopped.
    Spread,
    /// The first thread on the first of these, and so on; again from the first where there are more
    /// threads.
    List(Vec<usize>),
}

impl Cpus {
    /// Whether threads may run there now.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self {
            Cpus::Any => Ok(()),
            Cpus::Spread => system::allowed().map(drop),
            Cpus::List(list) => allowed(list).map(drop),
        }
    }
}

/// The processors that this process may run on. Fails where one of `asked` is none of them.
fn allowed(asked: &[usize]) -> io::Result<Vec<usize>> {
    let allowed = system::allowed()?;
    let Some(wrong) = asked.iter().find(|cpu| !allowed.contains(cpu)) else { return Ok(allowed) };
    let line = format!("processor {wrong} is none of those to run on: {allowed:?}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, line))
}

/// Where each thread of a runtime runs.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// One for each thread that serves, in turn.
    own: Vec<usize>,
    /// For all other threads. They would otherwise be where the thread is that starts them.
    all: Vec<usize>,
    threads: usize,
}

impl Places {
    /// None where the system chooses. Fails on processors that this process may not run on, and on
    /// systems where threads cannot be told where to run: all but Linux.
    pub(crate) fn of(cpus: &Cpus, threads: usize) -> io::Result<Option<Self>> {
        Ok(match cpus {
            Cpus::Any => None,
            Cpus::Spread => {
                let all = allowed(&[])?;
                Some(Places { own: spread(&all, threads), all, threads })
            }
            Cpus::List(list) => {
                allowed(list)?;
                Some(Places { own: list.clone(), all: list.clone(), threads })
            }
        })
    }

    /// Puts the calling thread in its place, as the one with this number.
    pub(crate) fn take(&self, index: usize) {
        // It was allowed a moment ago. If it is no more, the thread runs where it may.
        let _ = match self.own.get(index % self.own.len().max(1)) {
            Some(own) if index < self.threads => system::run_on(&[*own]),
            _ => system::run_on(&self.all),
        };
    }

    /// The same for a thread whose name ends with its number.
    pub(crate) fn take_by_name(&self) {
        let thread = std::thread::current();
        let number = thread.name().and_then(|name| name.rsplit('-').next()?.parse().ok());
        self.take(number.unwrap_or(usize::MAX));
    }
}

fn spread(allowed: &[usize], threads: usize) -> Vec<usize> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = NEXT.fetch_add(threads, Ordering::Relaxed) % allowed.len().max(1);
    allowed.iter().cycle().skip(first).take(threads).copied().collect()
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    const SIZE: usize = size_of::<libc::cpu_set_t>();

    fn done(result: libc::c_int) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        // SAFETY: the set is a plain struct that may be zero, and 0 is the calling thread.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            done(libc::sched_getaffinity(0, SIZE, &mut set))?;
            set
        };
        // SAFETY: each number is within the set.
        Ok((0..SIZE * 8).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
    }

    pub(super) fn run_on(cpus: &[usize]) -> io::Result<()> {
        // SAFETY: as above; numbers beyond the set are left out.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            cpus.iter()
                .filter(|cpu| **cpu < SIZE * 8)
                .for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
            done(libc::sched_setaffinity(0, SIZE, &set))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn run_on(_cpus: &[usize]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_spread_in_turn() {
        let (one, two) = (spread(&[3, 5, 7], 2), spread(&[3, 5, 7], 4));
        let at = [3, 5, 7].iter().position(|cpu| *cpu == one[0]).unwrap();
        let expected: Vec<_> = [3, 5, 7].iter().cycle().skip(at).take(6).copied().collect();
        assert_eq!([one, two].concat(), expected);
        assert!(spread(&[], 2).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_processors_that_may_be_run_on_are_taken() {
        let error = Places::of(&Cpus::List(vec![1023]), 1).unwrap_err();
        assert!(error.to_string().contains("processor 1023"), "{error}");
        assert!(Places::of(&Cpus::Any, 1).unwrap().is_none());
        assert!(Places::of(&Cpus::List(vec![system::allowed().unwrap()[0]]), 1).unwrap().is_some());
    }
}
