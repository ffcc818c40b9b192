use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use millrace_listeners::{Bound, Endpoint, Inherited, ListeningSocket};
use tokio::net::UnixListener;

/// Successors that wait for another to be done.
const BACKLOG: u32 = 8;

/// A listening upgrade socket, and its file.
pub(super) struct UpgradeSocket {
    pub(super) listener: UnixListener,
    bound: Bound,
}

impl UpgradeSocket {
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        Self::take(path, &Inherited::default())
    }

    /// The one of a predecessor, whose file stays that one's until [`UpgradeSocket::own`].
    pub(super) fn inherit(path: &Path, socket: ListeningSocket) -> io::Result<Self> {
        Self::take(path, &Inherited::new(vec![socket]))
    }

    fn take(path: &Path, inherited: &Inherited) -> io::Result<Self> {
        let mut endpoint = Endpoint::unix(path);
        (endpoint.unix.mode, endpoint.options.backlog) = (Some(0o600), BACKLOG);
        let bound = endpoint.bind_or_inherit(inherited).map_err(|error| error.io)?;
        let listener = UnixListener::from_std(bound.share()?.socket.into())?;
        Ok(UpgradeSocket { listener, bound })
    }

    /// The same for a successor.
    pub(super) fn share(&self) -> io::Result<ListeningSocket> {
        self.bound.share()
    }

    /// The file is this process's, which removes it at the end.
    pub(super) fn own(&self) {
        self.bound.sharing().store(false, Ordering::SeqCst);
    }

    /// The file is the successor's.
    pub(super) fn disown(&self) {
        self.bound.sharing().store(true, Ordering::SeqCst);
    }
}
