//! Apps of connections whose bytes are nobody's business but their own.
//!
//! A [`TcpProxy`] passes the bytes of each connection on to a peer, with TLS on either side or none.
//! A [`StreamApp`] hands each connection to a program as a [`StreamHandle`]: what is read is asked
//! for, and what is written is waited for, so that neither side runs ahead of the other.

mod handle;
mod idle;
mod proxy;
mod relay;
mod stream_app;
mod traffic;

pub use handle::StreamHandle;
pub use proxy::{TcpProxy, TcpProxyOptions};
pub use stream_app::{StreamApp, StreamAppOptions, StreamServer};
pub use traffic::Traffic;
