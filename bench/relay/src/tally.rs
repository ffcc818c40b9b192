//! Counts requests, and reads the subject's processor time at the very moments between which it does.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Instant,
};

use tokio::task::JoinSet;

use crate::{args::Args, cpu, invalid};

#[derive(Default)]
pub struct Tally {
    requests: Cell<u64>,
    latencies_us: RefCell<Vec<u32>>,
}

impl Tally {
    pub fn answered(&self, sent: Instant) {
        self.requests.set(self.requests.get() + 1);
        self.latencies_us.borrow_mut().push(sent.elapsed().as_micros() as u32);
    }
}

/// Measures what the clients do; the answer is one JSON object. Any wrong answer and any closed
/// connection is an error: a subject that drops work is not to look fast.
pub async fn measure(
    args: &Args,
    tally: Rc<Tally>,
    mut clients: JoinSet<io::Result<()>>,
) -> io::Result<String> {
    tokio::select! {
        figures = figures(args, &tally) => figures,
        ended = clients.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(invalid("a client ended early")),
        },
    }
}

async fn figures(args: &Args, tally: &Tally) -> io::Result<String> {
    let pids = args.pids()?;
    tokio::time::sleep(args.millis("warm-up")?).await;
    tally.requests.set(0);
    tally.latencies_us.borrow_mut().clear();
    let (start, before) = (Instant::now(), cpu::spent_ns(&pids)?);
    tokio::time::sleep(args.millis("measure")?).await;
    let (requests, spent) = (tally.requests.get(), cpu::spent_ns(&pids)? - before);
    let seconds = start.elapsed().as_secs_f64();
    if requests == 0 {
        return Err(invalid("no request was answered"));
    }
    let mut latencies = tally.latencies_us.take();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).unwrap_or(&0);
    Ok(format!(
        "{{\"requests\":{requests},\"requestsPerSecond\":{:.0},\"cpuMicros\":{:.3},\
         \"p50Micros\":{},\"p99Micros\":{}}}",
        requests as f64 / seconds,
        spent as f64 / 1e3 / requests as f64,
        at(0.5),
        at(0.99),
    ))
}
