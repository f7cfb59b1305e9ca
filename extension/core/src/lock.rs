//! Locks on files: they end with the process that holds them, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// An exclusive lock, held until dropped.
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock, or gives `None` when another process has it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        // SAFETY: flock only takes the descriptor, which `file` keeps open during the call.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            file.set_len(0)?;
            write!(&file, "{}", std::process::id())?;
            return Ok(Some(Self { _file: file }));
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            e => Err(e),
        }
    }

    /// Whether some process holds the lock. A file that is not there is not locked, and is not made.
    pub fn is_held(path: &Path) -> bool {
        path.exists() && matches!(Self::try_acquire(path), Ok(None))
    }

    /// The process that holds the lock.
    pub fn holder(path: &Path) -> Option<i32> {
        Self::is_held(path).then(|| std::fs::read_to_string(path).ok()?.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let path = std::env::temp_dir().join(format!("pgml-lock-{}", std::process::id()));
        assert!(!FileLock::is_held(&path));
        assert!(!path.exists());
        let lock = FileLock::try_acquire(&path).expect("io");
        assert!(lock.is_some());
        assert!(FileLock::is_held(&path));
        assert_eq!(FileLock::holder(&path), Some(std::process::id() as i32));
        assert!(FileLock::try_acquire(&path).expect("io").is_none());
        drop(lock);
        assert!(!FileLock::is_held(&path));
        assert_eq!(FileLock::holder(&path), None);
        std::fs::remove_file(&path).expect("remove");
    }
}
