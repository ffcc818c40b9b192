//! What holds of every parser and codec, whatever bytes come: nothing panics, where the bytes are
//! cut does not matter, and what leaves parses to exactly one message.
//!
//! Each target is a function of bytes that panics where one of these does not hold. `cargo test` runs
//! them on changed [`seeds`], always the same; `fuzz/` gives them to libFuzzer.

// A target says by its panic what does not hold.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod crossing;
mod cuts;
mod forwarded;
mod heads;
mod hosts;
mod message;
mod networks;
mod paths;
mod pem;
mod proxy_protocol;
mod seeds;

pub use seeds::seeds;

/// What is run on bytes.
pub type Target = fn(&[u8]);

/// All targets by name: the names of the seeds, and of the programs in `fuzz/`.
pub const TARGETS: [(&str, Target); 15] = [
    ("request", heads::request),
    ("response", heads::response),
    ("chunked", bodies::chunked),
    ("trailers", bodies::trailers),
    ("host", hosts::host),
    ("target", hosts::target),
    ("path", paths::path),
    ("forwarded", forwarded::forwarded),
    ("connect_answer", hosts::connect_answer),
    ("h2_frames", millrace_proxy::fuzzing::h2_frames),
    ("hpack", millrace_proxy::fuzzing::hpack),
    ("pem", pem::pem),
    ("crossing", crossing::crossing),
    ("proxy_protocol", proxy_protocol::proxy_protocol),
    ("network", networks::network),
];

/// Runs the target with this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("no such target");
    target(data);
}
