//! Locks of store paths.
//!
//! A lock is a file with an exclusive flock. It belongs to an open file description, so it keeps threads of one process
//! apart as well as processes, and ends with its holder however that ends. The file is removed under its lock; who then
//! gets the lock of a removed file sees that and opens it anew.

use crate::error::{Result, StoreError};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A held lock; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes while the lock is still held; a failure leaves an empty file, which harms nobody.
        let _ = std::fs::remove_file(&self.path);
        let _ = flock(&self.file, libc::LOCK_UN);
    }
}

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until it is free.
    Forever,
    /// Not at all.
    No,
}

impl Lock {
    /// Takes the lock at `path`. Nothing is given with [`Wait::No`] when another holds it.
    pub(crate) fn take(path: &Path, wait: Wait) -> Result<Option<Self>> {
        loop {
            let file = open(path)?;
            let mode = libc::LOCK_EX | if wait == Wait::No { libc::LOCK_NB } else { 0 };
            match flock(&file, mode) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(StoreError::io("lock", path)(error)),
            }
            let meta = file.metadata().map_err(StoreError::io("read", path))?;
            if meta.nlink() > 0 {
                return Ok(Some(Self { path: path.to_path_buf(), file }));
            }
        }
    }
}

/// Opens or makes a lock's file.
pub(crate) fn open(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StoreError::io("open", path))
}

/// Applies a flock operation, again when a signal came between.
pub(crate) fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    loop {
        // SAFETY: `flock` takes no pointers; the descriptor is open as long as `file` lives.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = Lock::take(&path, Wait::Forever).unwrap().unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn without_waiting_a_held_lock_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let held = Lock::take(&path, Wait::Forever).unwrap();
        assert!(Lock::take(&path, Wait::No).unwrap().is_none());
        drop(held);
        assert!(Lock::take(&path, Wait::No).unwrap().is_some());
    }
}
