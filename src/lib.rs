//! The binding: options in, handles out, and the crossing to the phases in JavaScript. The only
//! crate that knows napi.

// What is exported to JavaScript is public to the macro that exports it, and to nobody else.
#![allow(unreachable_pub)]
// In tests that macro exports nothing; what is unused is found in every other build.
#![cfg_attr(test, allow(dead_code))]

mod admission;
#[cfg(feature = "bench")]
mod allocations;
mod app;
mod background;
#[cfg(feature = "bench")]
mod bench;
mod connector;
mod crossing;
mod dependencies_log;
mod inject;
mod log;
mod mailbox;
mod options;
mod peers;
mod phases;
mod pieces;
mod routes;
mod scheduling;
mod server;
mod streams;
mod subrequests;
mod succession;
mod tcp;
mod threads;
mod tls;
mod version;
