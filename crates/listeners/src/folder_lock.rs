use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long somebody else's turn is waited for. One takes less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

/// Has one after the other look for what is left behind in a folder, replace it and listen, among all
/// processes that do: else each of two could take the other's socket, which does not listen yet, for one that
/// is left behind. The folder itself is locked, so that there is no file to be left behind by this; the
/// system unlocks it when the process dies.
pub(crate) struct FolderLock {
    _folder: File,
}

impl FolderLock {
    /// Waits for the turn of what is at `path`. None where there is no lock: the folder cannot be read, its
    /// file system has none, or somebody has it for too long, who may be anybody that can read it.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let folder = File::open(std::path::absolute(path).ok()?.parent()?).ok()?;
        let start = Instant::now();
        loop {
            // SAFETY: the descriptor is open.
            if unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Some(FolderLock { _folder: folder });
            }
            let kind = Error::last_os_error().kind();
            let is_anothers = matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted);
            if !is_anothers || start.elapsed() > PATIENCE {
                return None;
            }
            sleep(PAUSE);
        }
    }
}
