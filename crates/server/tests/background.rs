//! Services that work in the background, and services that depend on others.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use millrace_server::*;
use tokio::sync::Notify;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What a [`Work`] does, beside being told to go on by `go`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Plan {
    /// Is ready when told, ends when the server drains.
    #[default]
    Serve,
    /// The same, but needs to be told to end.
    Linger,
    Throw,
    Panic,
    Return,
    DropReady,
    Hang,
    /// Is ready at once and fails when told.
    FailLater,
    /// Is ready at once and fails, and never ready again.
    FailThenHang,
}

#[derive(Default)]
struct Work {
    plan: Plan,
    go: Notify,
    runs: AtomicUsize,
    drained: AtomicUsize,
}

impl Work {
    fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Work { plan, ..Work::default() })
    }
}

impl Background for Work {
    async fn run(self: Arc<Self>, ready: Ready, shutdown: Shutdown) -> Outcome {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match self.plan {
            Plan::Serve | Plan::Linger => {
                tokio::select! {
                    () = self.go.notified() => ready.say(),
                    () = shutdown.draining() => return Ok(()),
                }
                shutdown.draining().await;
                self.drained.fetch_add(1, Ordering::SeqCst);
                if self.plan == Plan::Linger {
                    self.go.notified().await;
                }
                return Ok(());
            }
            Plan::FailLater => {
                ready.say();
                self.go.notified().await;
                return Err("no more".into());
            }
            Plan::FailThenHang if self.runs.load(Ordering::SeqCst) == 1 => {
                ready.say();
                return Err("no more".into());
            }
            Plan::Hang | Plan::FailThenHang => {
                let _ready = ready;
                std::future::pending::<()>().await;
            }
            Plan::DropReady => {
                drop(ready);
                std::future::pending::<()>().await;
            }
            Plan::Throw => return Err("the database is away".into()),
            Plan::Panic => panic!("as asked"),
            Plan::Return => {}
        }
        Ok(())
    }
}

/// What the observer of a server has been told.
#[derive(Default)]
struct Events(Mutex<Vec<String>>);

impl Events {
    fn server(self: &Arc<Self>) -> Arc<Server> {
        self.server_logging(&Arc::default())
    }

    fn server_logging(self: &Arc<Self>, log: &Arc<Lines>) -> Arc<Server> {
        let events = self.clone();
        let observer: Observer = Arc::new(move |event| {
            let line = format!("{} {}", event.name, event.state.as_str());
            events.0.lock().unwrap().push(line);
        });
        let options =
            ServerOptions { observer: Some(observer), log: log.clone(), ..Default::default() };
        Arc::new(Server::new(options))
    }

    fn has(&self, line: &str) -> bool {
        self.0.lock().unwrap().iter().any(|each| each == line)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn background(name: &str, work: &Arc<Work>) -> Box<dyn Service> {
    background_with(name, work, BackgroundOptions::default())
}

fn background_with(name: &str, work: &Arc<Work>, options: BackgroundOptions) -> Box<dyn Service> {
    Box::new(BackgroundService::new(name, work.clone(), options))
}

fn echo(name: &str, app: &Arc<Echo>, address: &str) -> Box<dyn Service> {
    let runtime = runtime(RuntimeKind::Stealing);
    Box::new(ListeningService::new(name, app.clone(), vec![tcp(address)], runtime))
}

#[test]
fn a_service_accepts_when_what_it_depends_on_is_ready_and_stops_before_it() {
    let events = Arc::new(Events::default());
    let (server, work, app) = (events.server(), Work::new(Plan::Linger), Arc::new(Echo::default()));
    let proxy = server.add_service(echo("proxy", &app, "127.0.0.1:0")).unwrap();
    let db = server.add_service(background("db", &work)).unwrap();
    server.add_dependency(proxy, db).unwrap();
    let starter = server.clone();
    let started = std::thread::spawn(move || starter.start());
    eventually(|| events.has("db starting"));
    assert!(!events.has("proxy starting"));
    work.go.notify_one();
    let bound = started.join().unwrap().unwrap();
    assert_eq!(events.all(), ["db starting", "db ready", "proxy starting", "proxy ready"]);
    assert_eq!(server.states(), [ServiceState::Ready, ServiceState::Ready]);

    // A request that is still served keeps the dependency up.
    let mut client = Client::to(&bound[0][0]);
    client.send("hold");
    eventually(|| app.held.load(Ordering::SeqCst) == 1);
    let closer = server.clone();
    let closed = std::thread::spawn(move || closer.close(Duration::from_secs(20)));
    eventually(|| events.has("proxy stopping"));
    assert!(!events.has("db stopping"));
    app.go.notify_one();
    assert_eq!(client.receive(), "held");
    eventually(|| work.drained.load(Ordering::SeqCst) == 1);
    assert_eq!(
        events.all()[4..],
        ["proxy stopping", "proxy stopped", "db stopping"],
        "it was told to stop when the proxy had",
    );
    work.go.notify_one();
    closed.join().unwrap();
    assert_eq!(events.all()[7..], ["db stopped"]);
}

#[test]
fn shortcomings_line_18_a_dependency_that_dies_before_it_is_ready_does_not_release_its_dependents()
{
    let reasons = [
        (Plan::Throw, "the database is away"),
        (Plan::Panic, "panic: as asked"),
        (Plan::Return, "it ended before it was ready"),
        (Plan::DropReady, "it gave up saying that it is ready"),
        (Plan::Hang, "it was not ready after 200 ms"),
    ];
    for (plan, reason) in reasons {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let events = Arc::new(Events::default());
        let (server, work) = (events.server(), Work::new(plan));
        let app = Arc::new(Echo::default());
        let last = server.add_service(echo("last", &app, "127.0.0.1:0")).unwrap();
        let proxy = server.add_service(echo("proxy", &app, &free.to_string())).unwrap();
        let ready_within = Some(Duration::from_millis(200));
        // The others fail by themselves, whatever the time.
        let ready_within = if plan == Plan::Hang { ready_within } else { None };
        let options = BackgroundOptions { ready_within, ..Default::default() };
        let db = server.add_service(background_with("db", &work, options)).unwrap();
        server.add_dependency(proxy, db).unwrap();
        server.add_dependency(last, proxy).unwrap();
        let error = server.start().unwrap_err().to_string();
        let dependents = "not started, as they depend on it: proxy, last";
        assert_eq!(error, format!("service db: {reason}; {dependents}"), "{plan:?}");
        assert!(!events.has("proxy starting") && !events.has("last starting"), "{plan:?}");
        drop(TcpListener::bind(free).unwrap());
        assert_eq!(server.states(), [ServiceState::New; 3]);
    }
}

#[test]
fn a_failed_start_stops_what_has_started_and_may_be_tried_again() {
    let events = Arc::new(Events::default());
    let server = events.server();
    let (db, failing) = (Work::new(Plan::Serve), Work::new(Plan::Throw));
    let first = server.add_service(background("db", &db)).unwrap();
    let second = server.add_service(background("cache", &failing)).unwrap();
    server.add_dependency(second, first).unwrap();
    for attempt in 1..3 {
        db.go.notify_one();
        let error = server.start().unwrap_err().to_string();
        assert_eq!(error, "service cache: the database is away");
        assert_eq!(db.runs.load(Ordering::SeqCst), attempt);
        assert_eq!(db.drained.load(Ordering::SeqCst), attempt, "it was told to stop");
    }
}

#[test]
fn close_ends_a_start_that_waits() {
    let events = Arc::new(Events::default());
    let (server, work) = (events.server(), Work::new(Plan::Serve));
    server.add_service(background("db", &work)).unwrap();
    let starter = server.clone();
    let started = std::thread::spawn(move || starter.start());
    eventually(|| events.has("db starting"));
    let (_, took) = timed(|| server.close(Duration::from_secs(60)));
    assert!(matches!(started.join().unwrap(), Err(StartError::Closed)));
    assert!(took < Duration::from_secs(30));
    assert!(matches!(server.start(), Err(StartError::Closed)));
}

#[test]
fn a_cycle_is_refused_with_its_path() {
    let server = Server::new(ServerOptions::default());
    let work = Work::new(Plan::Serve);
    let add = |name| server.add_service(background(name, &work)).unwrap();
    let (a, b, c) = (add("a"), add("b"), add("c"));
    server.add_dependency(a, b).unwrap();
    server.add_dependency(b, c).unwrap();
    let refused = |service, on| server.add_dependency(service, on).unwrap_err().to_string();
    assert_eq!(refused(c, a), "services depend on each other: c → a → b → c");
    assert_eq!(refused(a, a), "services depend on each other: a → a");
    // What was refused is not there.
    server.add_dependency(a, c).unwrap();
}

#[test]
fn one_that_fails_after_it_was_ready_is_told_of_and_the_others_go_on() {
    let (events, log) = (Arc::new(Events::default()), Arc::new(Lines::default()));
    let (server, work, app) =
        (events.server_logging(&log), Work::new(Plan::FailLater), Arc::new(Echo::default()));
    server.add_service(background("db", &work)).unwrap();
    server.add_service(echo("proxy", &app, "127.0.0.1:0")).unwrap();
    let bound = server.start().unwrap();
    work.go.notify_one();
    eventually(|| events.has("db failed"));
    assert!(log.any("service db: it failed: no more"));
    assert_eq!(Client::to(&bound[1][0]).ask("x"), "x");
    assert_eq!(server.states(), [ServiceState::Failed, ServiceState::Ready]);
    server.close(Duration::from_secs(5));
    assert!(!events.has("db stopped"), "it stays failed");
    assert_eq!(work.runs.load(Ordering::SeqCst), 1);
}

#[test]
fn one_that_is_to_be_started_again_is_with_longer_and_longer_pauses() {
    let (events, log) = (Arc::new(Events::default()), Arc::new(Lines::default()));
    let (server, work) = (events.server_logging(&log), Work::new(Plan::FailLater));
    let on_failure =
        OnFailure::Restart { first: Duration::from_millis(1), most: Duration::from_secs(100) };
    let options = BackgroundOptions { on_failure, ..Default::default() };
    server.add_service(background_with("db", &work, options)).unwrap();
    server.start().unwrap();
    for run in 1..=4 {
        eventually(|| work.runs.load(Ordering::SeqCst) == run);
        work.go.notify_one();
    }
    for pause in ["1 ms", "2 ms", "4 ms", "8 ms"] {
        let line = format!("service db: it failed and is started again in {pause}: no more");
        eventually(|| log.any(&line));
    }
    server.close(Duration::from_secs(5));
    assert_eq!(
        events.all()[..5],
        ["db starting", "db ready", "db restarting", "db starting", "db ready"]
    );
    assert_eq!(events.all().last().unwrap(), "db stopped");
}

#[test]
fn the_pauses_grow_also_where_it_takes_longer_to_be_late_than_they_are_at_most() {
    let log = Arc::new(Lines::default());
    let (server, work) =
        (Arc::new(Events::default()).server_logging(&log), Work::new(Plan::FailThenHang));
    let (first, most) = (Duration::from_millis(1), Duration::from_millis(8));
    let ready_within = Some(Duration::from_millis(30));
    let on_failure = OnFailure::Restart { first, most };
    let options = BackgroundOptions { on_failure, ready_within, ..Default::default() };
    server.add_service(background_with("db", &work, options)).unwrap();
    server.start().unwrap();
    for pause in ["2 ms", "4 ms", "8 ms"] {
        let why = "it was not ready after 30 ms";
        let line = format!("service db: it failed and is started again in {pause}: {why}");
        eventually(|| log.any(&line));
    }
    server.close(Duration::ZERO);
}

#[test]
fn what_does_not_stop_is_cut_off_at_the_end_of_the_grace() {
    let log = Arc::new(Lines::default());
    let (server, work) =
        (Arc::new(Events::default()).server_logging(&log), Work::new(Plan::Linger));
    server.add_service(background("db", &work)).unwrap();
    work.go.notify_one();
    server.start().unwrap();
    let (_, took) = timed(|| server.close(Duration::from_millis(50)));
    assert!(took < Duration::from_secs(20));
    assert!(log.any("service db: it did not stop in time and is cut off"));
    assert_eq!(Arc::strong_count(&work), 1, "nothing of it is left");
}

#[test]
fn what_has_done_its_work_has_been_ready() {
    struct Once;
    impl Background for Once {
        async fn run(self: Arc<Self>, ready: Ready, _: Shutdown) -> Outcome {
            ready.say();
            Ok(())
        }
    }
    for _ in 0..50 {
        let (server, app) = (Server::new(ServerOptions::default()), Arc::new(Echo::default()));
        let once = BackgroundService::new("once", Arc::new(Once), BackgroundOptions::default());
        let once = server.add_service(Box::new(once)).unwrap();
        let proxy = server.add_service(echo("proxy", &app, "127.0.0.1:0")).unwrap();
        server.add_dependency(proxy, once).unwrap();
        server.start().unwrap();
        server.close(Duration::from_secs(5));
    }
}
