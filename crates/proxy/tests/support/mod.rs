//! What the tests of the proxy share: a running proxy, scripted origins, raw clients.

#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::type_complexity)]

pub mod frames;
pub mod h2_client;
mod phases;
mod proxy;
mod secure;
mod wire;

pub use phases::{Logged, Piecewise, TestPhases, peer};
pub use proxy::{Lines, Proxy, untold};
pub use secure::{Certs, Secure, TlsClient, listed, secured};
pub use wire::{Origin, Response, Wire};

use std::time::{Duration, Instant};

pub use millrace_connectors::{Peer, PeerOptions};
pub use millrace_error::{Code, Error, Source};
pub use millrace_proxy::{Answer, Decision, Filtered, ProxyOptions};
pub use millrace_server::Ends;

/// Longer than anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// For what no event tells.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never came true: {what}");
        std::thread::sleep(millis(2));
    }
}
