use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The file of a bound Unix socket, removed when this is dropped, unless another process has put
/// its own in its place meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.into(), identity: identity(path)? })
    }

    /// Removes a socket that a process has left behind. One that somebody listens on is kept,
    /// and so is whatever is not a socket: binding fails on it.
    pub(crate) fn remove_stale(path: &Path) {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        // To a regular file, connecting is refused too.
        if is_socket(path) && UnixStream::connect(path).err().is_some_and(refused) {
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
