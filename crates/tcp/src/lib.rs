//! Apps of connections whose bytes are nobody's business but their own.
//!
//! A [`TcpProxy`] passes the bytes of each connection on to a peer, with TLS on either side or none.
//! A [`StreamApp`] hands each connection to a program as a [`StreamHandle`]: what is read is asked
//! for, and what is written is waited for, so that neither side runs ahead of the other.

mod handle;
mod idle;
mod options;
mod proxy;
mod relay;
mod stream_app;
mod traffic;

pub use handle::StreamHandle;
pub use options::TcpOptions;
pub use proxy::TcpProxy;
pub use stream_app::{StreamApp, StreamServer};
pub use traffic::Traffic;
