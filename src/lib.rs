//! The binding: options in, handles out, and the crossing to the phases in JavaScript. The only
//! crate that knows napi.

// What is exported to JavaScript is public to the macro that exports it, and to nobody else.
#![allow(unreachable_pub)]

mod app;
mod crossing;
mod log;
mod options;
mod peers;
mod phases;
mod scheduling;
mod server;
mod tls;
