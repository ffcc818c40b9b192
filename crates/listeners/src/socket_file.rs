use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file of a bound Unix socket, removed when this is dropped, unless another process has put
/// its own in its place meanwhile, or has the socket itself.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    is_shared: Arc<AtomicBool>,
}

impl SocketFile {
    /// That of a socket that is bound to it. It stays where it is while `is_shared` holds.
    pub fn of(path: &Path, is_shared: Arc<AtomicBool>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        Ok(SocketFile { identity: identity(&path)?, path, is_shared })
    }

    /// Removes a socket that a process has left behind. One that somebody listens on is kept,
    /// and so is whatever is not a socket: binding fails on it.
    pub fn remove_stale(path: &Path) {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        // To a regular file, connecting is refused too.
        if is_socket(path) && UnixStream::connect(path).err().is_some_and(refused) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = !self.is_shared.load(Ordering::SeqCst);
        if is_ours && identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether two paths lead to one socket.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    is_socket(one) && identity(one).ok() == identity(other).ok()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
