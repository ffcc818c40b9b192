//! Starting and closing again and again leaves nothing behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;

fn entries(of: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

#[test]
#[cfg(target_os = "linux")]
fn two_hundred_cycles_leave_descriptors_and_threads_flat() {
    let cycle = |round: usize| {
        let (server, address) = serve(&Arc::default(), KINDS[round % 2]);
        let mut clients: Vec<_> = (0..4).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("x"), "x"));
        server.close(Duration::from_secs(5));
    };
    (0..4).for_each(cycle);
    // A thread that has ended leaves the list a moment after it was waited for.
    std::thread::sleep(Duration::from_millis(100));
    let before = (entries("fd"), entries("task"));
    (0..200).for_each(cycle);
    eventually(|| entries("fd") <= before.0 && entries("task") <= before.1);
}
