use std::future::Future;
use std::io;
use std::pin::Pin;

use millrace_transport::Stream;

use crate::Peer;

/// What a [`Dialer`] is at work on.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send + 'a>>;

/// Makes connections in the place of the network.
///
/// Names are not resolved, no proxy on the way is asked and no TLS is spoken: what it gives stands
/// for the peer. The peer's times for connecting hold. Its errors are those of the network by their
/// kind: `NotFound` is a name that cannot be resolved, `InvalidData` a handshake that failed,
/// `ConnectionRefused`, `TimedOut`, and anything else a connection that failed.
pub trait Dialer: Send + Sync {
    /// Makes one connection to the peer.
    fn dial<'a>(&'a self, peer: &'a Peer) -> Dialling<'a>;
}
