//! Servers that take over from each other, as processes of their own would.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_listeners::Endpoint;
use millrace_server::*;
use millrace_transport::Address;

use super::*;

/// A folder of a test's own, gone with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-upgrade-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server with an upgrade socket, as one process would have it.
pub struct Process {
    pub server: Arc<Server>,
    pub app: Arc<Echo>,
    pub lines: Arc<Lines>,
    handed_over: Mutex<Receiver<()>>,
    pub is_replaced: Arc<AtomicBool>,
    pub endpoints: Endpoints,
}

impl Process {
    pub fn new(socket: &Path, take_over: bool, endpoints: Vec<Endpoint>) -> Process {
        Process::patient(socket, take_over, endpoints, Duration::from_secs(20))
    }

    pub fn patient(
        socket: &Path,
        take_over: bool,
        endpoints: Vec<Endpoint>,
        timeout: Duration,
    ) -> Process {
        let (tell, told) = channel();
        let (tell, is_replaced) = (Mutex::new(tell), Arc::new(AtomicBool::new(false)));
        let replaced = is_replaced.clone();
        let on_handed_over: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            replaced.store(true, Ordering::SeqCst);
            tell.lock().unwrap().send(()).unwrap_or_default();
        });
        let upgrade = UpgradeOptions {
            take_over,
            timeout,
            on_handed_over: Some(on_handed_over),
            ..UpgradeOptions::at(socket)
        };
        let lines: Arc<Lines> = Arc::default();
        let options = ServerOptions {
            log: lines.clone(),
            upgrade: Some(upgrade),
            ..ServerOptions::default()
        };
        let server = Arc::new(Server::new(options));
        // It leaves it to its clients when connections end.
        let app = Arc::new(Echo { stubborn: true, ..Echo::default() });
        let options = runtime(RuntimeKind::Stealing);
        let service = ListeningService::new("echo", app.clone(), endpoints, options);
        let endpoints = service.endpoints();
        server.add_service(Box::new(service)).unwrap();
        Process { server, app, lines, handed_over: Mutex::new(told), is_replaced, endpoints }
    }

    pub fn start(&self) -> Vec<Address> {
        self.server.start().unwrap().remove(0)
    }

    /// Waits until another has taken over.
    pub fn is_replaced(&self) {
        self.handed_over.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }

    /// It was not replaced, and serves.
    pub fn goes_on(&self, at: &Address) {
        assert!(!self.is_replaced.load(Ordering::SeqCst));
        assert_eq!(Client::to(at).ask("x"), "x");
    }
}

pub fn at(address: &Address) -> Endpoint {
    Endpoint::tcp(address.socket_addr().unwrap())
}
