//! The crossing alone, for `npm run bench -- crossing`: only in builds with the feature `bench`. A
//! client opens connections and sends one request on each. Their task and their exchange are those
//! of any request, but in place of going upstream they run the phases again and again, and nothing
//! else. The last to finish answers with the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_connectors::Peer;
use millrace_error::{Code, Error, Result};
use millrace_listeners::Endpoint;
use millrace_message::{Fields, RequestHead, ResponseHead};
use millrace_proxy::{Answer, Exchange, HttpProxy, ProxyHttp};
use millrace_server::{ListeningService, Server, ServerOptions};
use napi::bindgen_prelude::Error as NapiError;
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::sync::{Barrier, OnceCell};

use millrace_error::Level;

use crate::crossing::NativeCrossing;
use crate::options::NativeProxyOptions;
use crate::phases::{Dispatcher, JsPhases, Seats};
use crate::threads::Wiring;

/// How much is run, and when it counts.
#[napi(object, object_to_js = false)]
pub struct BenchPlan {
    pub in_flight: u32,
    pub warm_up_ms: u32,
    pub measure_ms: u32,
}

/// Listens on a port of its own for `in_flight` requests; the address.
#[napi(catch_unwind)]
pub fn bench_crossing(
    crossing: &NativeCrossing,
    options: NativeProxyOptions,
    plan: BenchPlan,
) -> napi::Result<String> {
    let log = crossing.log(0, Some(Level::Warn));
    let (proxy, runtime) = (options.proxy()?, options.runtime());
    let driver = Driver {
        wiring: crossing.wiring(),
        together: Barrier::new(plan.in_flight as usize),
        phases: OnceCell::new(),
        tally: Mutex::default(),
        options,
        plan,
    };
    crate::scheduling::batch();
    let app = Arc::new(HttpProxy::new(driver, proxy, 1, log.clone()));
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 0).into());
    let options = ServerOptions { grace: Duration::ZERO, log, ..ServerOptions::default() };
    let server = Server::new(options);
    let failed = |error| NapiError::from_reason(format!("{error}"));
    let service = ListeningService::new("bench".to_owned(), app, vec![endpoint], runtime);
    server.add_service(Box::new(service)).map_err(failed)?;
    let address = server.start().map_err(failed)?[0][0].to_string();
    // It ends with the process.
    std::mem::forget(server);
    Ok(address)
}

struct Driver {
    wiring: Wiring,
    options: NativeProxyOptions,
    plan: BenchPlan,
    phases: OnceCell<JsPhases>,
    together: Barrier,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// In tenths of a microsecond.
    latencies: Vec<u32>,
    begin: Option<Counts>,
    end: Option<Counts>,
}

/// What has been spent and done so far.
struct Counts {
    cpu_ns: u64,
    js_ns: u64,
    batches: f64,
    items: f64,
}

impl ProxyHttp for Driver {
    type Ctx = ();

    fn new_ctx(&self, _ex: &Exchange) {}

    async fn request_filter(&self, ex: &Exchange, _ctx: &()) -> Result<Option<Answer>> {
        let phases = self.phases.get_or_init(async || self.phases()).await;
        let leads = self.together.wait().await.is_leader();
        let start = Instant::now() + Duration::from_millis(self.plan.warm_up_ms.into());
        let end = start + Duration::from_millis(self.plan.measure_ms.into());
        let mut latencies = Vec::with_capacity(1 << 16);
        let mut now = Instant::now();
        while now < end {
            request(phases, ex).await?;
            let done = Instant::now();
            if now >= start {
                latencies.push((done - now).as_nanos() as u32 / 100);
            }
            if leads && now < start && done >= start {
                self.tally.lock().begin = Some(self.counts());
            }
            now = done;
        }
        // All have counted the same time, but for the requests under way at its two ends.
        if leads {
            self.tally.lock().end = Some(self.counts());
        }
        self.tally.lock().latencies.append(&mut latencies);
        if self.together.wait().await.is_leader() {
            let mut answer = Answer::new(200);
            answer.body = self.report()?.into();
            return Ok(Some(answer));
        }
        Ok(Some(Answer::new(204)))
    }

    async fn upstream_peer(&self, _ex: &Exchange, _ctx: &()) -> Result<Arc<Peer>> {
        Err(Error::new(Code::Internal, "it has no upstream"))
    }
}

/// What the pipeline asks of the phases for a request that nothing happens to.
async fn request(phases: &JsPhases, ex: &Exchange) -> Result<()> {
    let ctx = phases.new_ctx(ex);
    phases.early_request_filter(ex, &ctx).await?;
    phases.request_filter(ex, &ctx).await?;
    phases.proxy_upstream_filter(ex, &ctx).await?;
    phases.upstream_peer(ex, &ctx).await?;
    let mut upstream: RequestHead = ex.request.clone();
    phases.upstream_request_filter(ex, &mut upstream, &ctx).await?;
    let mut response = ResponseHead::new(200);
    response.fields = Fields::with_capacity(256, 8);
    for (name, value) in [
        ("date", "Tue, 24 Nov 2026 12:00:00 GMT"),
        ("server", "origin"),
        ("content-type", "text/plain"),
        ("cache-control", "max-age=60"),
        ("content-length", "1024"),
    ] {
        response.fields.push_unchecked(name.as_bytes(), value.as_bytes());
    }
    phases.response_filter(ex, &mut response, &ctx).await?;
    phases.logging(ex, None, &ctx);
    Ok(())
}

impl Driver {
    /// The phases of the proxy, with a router on this runtime.
    fn phases(&self) -> JsPhases {
        let dispatcher = Dispatcher::new(self.wiring.clone(), self.options.sets(), 1);
        let phases = JsPhases::new(vec![dispatcher.clone()], self.options.limits(), Seats::new(1));
        dispatcher.route_on(0, &tokio::runtime::Handle::current(), phases.tick());
        phases
    }

    fn counts(&self) -> Counts {
        let spent = |task: &str| {
            let line = std::fs::read_to_string(format!("/proc/self/task/{task}/schedstat"));
            let first = line.ok().and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
            first.unwrap_or(0)
        };
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let cpu_ns = tasks.map(|task| spent(&task.file_name().to_string_lossy())).sum();
        let (batches, items) = self.wiring.crossing.handed_over();
        // The JS thread is the main one, which has the number of the process.
        Counts { cpu_ns, js_ns: spent(&std::process::id().to_string()), batches, items }
    }

    fn report(&self) -> Result<String> {
        let mut tally = self.tally.lock();
        let Tally { latencies, begin: Some(begin), end: Some(end) } = &mut *tally else {
            return Err(Error::new(Code::Internal, "no request ended within the time"));
        };
        latencies.sort_unstable();
        let requests = latencies.len().max(1) as f64;
        let at = |share: f64| {
            let tenths = latencies.get((requests * share) as usize).copied().unwrap_or_default();
            f64::from(tenths) / 10.0
        };
        let micros = |ns: u64| ns as f64 / 1e3 / requests;
        let seconds = f64::from(self.plan.measure_ms) / 1e3;
        Ok(format!(
            "{{\"requests\":{requests},\"requestsPerSecond\":{:.0},\"cpuMicros\":{:.3},\
             \"jsMicros\":{:.3},\"batch\":{:.2},\"items\":{:.2},\
             \"p50Micros\":{:.1},\"p99Micros\":{:.1}}}",
            requests / seconds,
            micros(end.cpu_ns - begin.cpu_ns),
            micros(end.js_ns - begin.js_ns),
            (end.items - begin.items) / (end.batches - begin.batches).max(1.0),
            (end.items - begin.items) / requests,
            at(0.5),
            at(0.99),
        ))
    }
}
