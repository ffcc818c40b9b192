//! Accepting outlives a shortage of descriptors. Alone in its process, whose limit it lowers.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_listeners::Endpoint;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limits the descriptors of this process to `limit`.
fn limit_descriptors(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the pointer is to a live value of the type that the call reads.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[tokio::test]
async fn a_shortage_of_descriptors_is_waited_out_without_a_spin() {
    let bound = Endpoint::tcp("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let failures = Arc::new(AtomicUsize::new(0));
    let counter = failures.clone();
    let mut stack = bound.stack().unwrap().on_failure(move |error| {
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        counter.fetch_add(1, Ordering::Relaxed);
    });
    limit_descriptors(64);
    let client = TcpStream::connect(bound.address().socket_addr().unwrap()).await.unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();

    let waited = timeout(Duration::from_secs(1), stack.accept()).await;
    assert!(waited.is_err());
    let failed = failures.load(Ordering::Relaxed);
    assert!((3..20).contains(&failed), "{failed} failures in a second");

    drop(hoard);
    let accepted = timeout(Duration::from_secs(2), stack.accept()).await.unwrap();
    assert_eq!(accepted.remote.socket_addr(), Some(client.local_addr().unwrap()));
}
