//! Endpoints and the transport stacks they become.
//!
//! An [`Endpoint`] is asked for, a [`Bound`] holds its listening socket, and a [`TransportStack`]
//! accepts on one runtime. Binding and accepting are apart so that a server can bind all it was
//! asked for before any of it accepts, and so that several runtimes can share one socket. Whose
//! connections are taken an [`Admission`] says; it is asked by who serves them, as that may take time.

mod admission;
mod backoff;
mod bind;
mod endpoint;
mod error;
#[cfg(unix)]
mod folder_lock;
#[cfg(unix)]
pub mod handing;
mod inherited;
#[cfg(unix)]
mod socket_file;
mod stack;

pub use admission::{
    Admission, Check, ConnectionCheck, ConnectionFilter, FirstLook, Others, ProxyProtocol, Refusal,
    Unsaid, Verdict,
};
pub use bind::Bound;
pub use endpoint::{Endpoint, UnixOptions};
pub use error::BindError;
pub use inherited::{Inherited, ListeningSocket};
pub use stack::{Accepted, TransportStack};
