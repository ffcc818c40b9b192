use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_listeners::{ListeningSocket, SocketFile};
use millrace_transport::Address;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Successors that wait for another to be done.
const BACKLOG: i32 = 8;

/// A listening upgrade socket, and its file.
pub(super) struct UpgradeSocket {
    pub(super) listener: UnixListener,
    address: Address,
    /// Whether the file is another process's.
    is_shared: Arc<AtomicBool>,
    _file: SocketFile,
}

impl UpgradeSocket {
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        SocketFile::remove_stale(path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let is_shared = Arc::default();
        let file = SocketFile::of(path, Arc::clone(&is_shared))?;
        // Nobody can connect before it listens.
        set_permissions(path, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Self::of(socket, path, is_shared, file)
    }

    /// The one of a predecessor, whose file stays that one's until [`UpgradeSocket::own`].
    pub(super) fn inherit(path: &Path, socket: Socket) -> io::Result<Self> {
        let is_shared = Arc::new(AtomicBool::new(true));
        let file = SocketFile::of(path, Arc::clone(&is_shared))?;
        Self::of(socket, path, is_shared, file)
    }

    fn of(
        socket: Socket,
        path: &Path,
        is_shared: Arc<AtomicBool>,
        file: SocketFile,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        let address = Address::Unix(std::path::absolute(path)?);
        Ok(UpgradeSocket { listener, address, is_shared, _file: file })
    }

    /// The same for a successor.
    pub(super) fn share(&self) -> io::Result<ListeningSocket> {
        let socket = socket2::SockRef::from(&self.listener).try_clone()?;
        let (asked, bound) = (self.address.clone(), self.address.clone());
        Ok(ListeningSocket { asked, bound, socket })
    }

    /// The file is this process's, which removes it at the end.
    pub(super) fn own(&self) {
        self.is_shared.store(false, Ordering::SeqCst);
    }

    /// The file is the successor's.
    pub(super) fn disown(&self) {
        self.is_shared.store(true, Ordering::SeqCst);
    }
}
