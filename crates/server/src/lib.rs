//! Server, services, runtimes and termination. Knows no protocol.
//!
//! A [`Server`] binds and starts its [`Service`]s together and ends them together, each behind those
//! it depends on. A [`ListeningService`] hands each connection of its endpoints to its [`ServerApp`],
//! a [`BackgroundService`] does its [`Background`] work, each on runtimes of its own. How it ends is told through [`Shutdown`]: running, draining, cut.

mod accept;
mod affinity;
mod app;
mod background;
mod bell;
mod clients;
mod complaints;
mod connection;
mod counters;
mod dependencies;
mod endpoints;
mod error;
mod isolated;
mod listening;
#[cfg(unix)]
mod notify;
mod once_a_second;
mod options;
mod runtime;
mod server;
mod service;
mod shutdown;
mod slots;
mod status;
#[cfg_attr(not(unix), path = "upgrade/unsupported.rs")]
mod upgrade;

pub use affinity::Cpus;
pub use app::{ConnInfo, ServerApp};
pub use background::{Background, BackgroundOptions, BackgroundService, OnFailure, Ready};
pub use bell::Bell;
pub use clients::ClientLimit;
pub use counters::{Counters, OpenRequest};
pub use endpoints::Endpoints;
pub use error::StartError;
pub use listening::ListeningService;
#[cfg(unix)]
pub use notify::notify_manager;
pub use once_a_second::OnceASecond;
pub use options::{CloseReport, Ends, ServerOptions, UpgradeOptions};
pub use runtime::{RuntimeKind, RuntimeOptions, ThreadHook};
pub use server::Server;
pub use service::{Readiness, Service, ServiceContext, ServiceId, SharedSocket};
pub use shutdown::{Reached, Shutdown, ShutdownTrigger};
pub use status::{Observer, ServiceError, ServiceEvent, ServiceState, Status};
