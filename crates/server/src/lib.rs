//! Server, services, runtimes and termination. Knows no protocol.
//!
//! A [`Server`] binds and starts its [`Service`]s together and ends them together. A
//! [`ListeningService`] hands each connection of its endpoints to its [`ServerApp`], on runtimes
//! of its own. How it ends is told through [`Shutdown`]: running, draining, cut.

mod accept;
mod app;
mod bell;
mod connection;
mod counters;
mod error;
mod isolated;
mod listening;
mod options;
mod runtime;
mod server;
mod service;
mod shutdown;

pub use app::{ConnInfo, ServerApp};
pub use bell::Bell;
pub use counters::Counters;
pub use error::StartError;
pub use listening::ListeningService;
pub use options::{CloseReport, Ends, ServerOptions};
pub use runtime::{RuntimeKind, RuntimeOptions, ThreadHook};
pub use server::Server;
pub use service::{Service, ServiceContext};
pub use shutdown::{Reached, Shutdown, ShutdownTrigger};
