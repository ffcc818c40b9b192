//! A proxy on the runtime of a test whose clock moves on by itself whenever all wait.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use millrace_error::NoLog;
use millrace_proxy::HttpProxy;
use millrace_server::{ConnInfo, ServerApp, Shutdown};
use millrace_transport::Stream;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::support::{Logged, ProxyOptions, TestPhases};

/// A client of a proxy that runs on this runtime and its clock.
pub fn serve(mut phases: TestPhases, options: ProxyOptions) -> (UnixStream, Receiver<Logged>) {
    let (log, logs) = channel();
    phases.log = Some(log);
    let (client, server) = UnixStream::pair().unwrap();
    let stream = Stream::Unix(server);
    let conn = ConnInfo {
        id: 1,
        local: stream.local_address().unwrap(),
        remote: stream.remote_address().unwrap(),
        runtime: 0,
        accepted: Instant::now(),
        tls: None,
        counters: Arc::default(),
    };
    let app = Arc::new(HttpProxy::new(phases, options, 1, Arc::new(NoLog)));
    tokio::spawn(async move {
        let (_trigger, shutdown) = Shutdown::new();
        app.process_new(stream, &conn, &shutdown).await;
    });
    (client, logs)
}

/// Whether so many seconds have gone by, give or take one.
#[track_caller]
pub fn took(since: Instant, seconds: u64) {
    let elapsed = since.elapsed().as_millis() as u64;
    assert!(elapsed.abs_diff(seconds * 1000) <= 1000, "{elapsed} ms in place of {seconds} s");
}
