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
#[cfg(unix)]
mod notify;
mod options;
mod runtime;
mod server;
mod service;
mod shutdown;
#[cfg_attr(not(unix), path = "upgrade/unsupported.rs")]
mod upgrade;

pub use app::{ConnInfo, ServerApp};
pub use bell::Bell;
pub use counters::{Counters, OpenRequest};
pub use error::StartError;
pub use listening::ListeningService;
#[cfg(unix)]
pub use notify::notify_manager;
pub use options::{CloseReport, Ends, ServerOptions, UpgradeOptions};
pub use runtime::{RuntimeKind, RuntimeOptions, ThreadHook};
pub use server::Server;
pub use service::{Service, ServiceContext};
pub use shutdown::{Reached, Shutdown, ShutdownTrigger};
