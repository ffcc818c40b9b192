use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::UnixOptions;

/// The file of a bound Unix socket, removed when this is dropped, unless another process has put
/// its own in its place meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds the socket. Until it listens nobody can connect, so that the file has its owner and its
    /// permissions before anybody can; and at no time does it allow more than it will.
    pub(crate) fn bind(socket: &Socket, path: &Path, options: UnixOptions) -> io::Result<Self> {
        SocketFile::remove_stale(path);
        if let Some(mode) = options.mode {
            // Linux makes the file with what the socket itself allows, less the umask. Others ignore it.
            let file = std::fs::File::from(std::os::fd::OwnedFd::from(socket.try_clone()?));
            let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
        }
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile { path: path.into(), identity: identity(path)? };
        if options.uid.or(options.gid).is_some() {
            lchown(path, options.uid, options.gid)?;
        }
        if let Some(mode) = options.mode {
            let has = std::fs::symlink_metadata(path)?.mode() & 0o777;
            if has != mode {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            }
        }
        Ok(file)
    }

    /// Removes a socket that a process has left behind. One that somebody listens on is kept,
    /// and so is whatever is not a socket: binding fails on it.
    fn remove_stale(path: &Path) {
        // To a regular file, connecting is refused too.
        let Some(before) = is_socket(path).then(|| identity(path).ok()).flatten() else { return };
        let is_same = || identity(path).is_ok_and(|now| now == before);
        if is_refused(path) && is_same() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether nobody listens there. Does not wait: a backlog that is full has somebody behind it.
fn is_refused(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
