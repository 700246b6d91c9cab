//! The temporary folder of one process: what it makes before a rename puts it in place.
//!
//! `tmp/NAME` has a lock `tmp/NAME.lock` that ends with the process. Who begins a session first removes the folders whose
//! lock nobody holds. Every session also holds `gc.lock` shared, so that nothing is collected under a build.

use crate::error::{Result, StoreError};
use crate::lock::{flock, open};
use crate::tree::remove_tree;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A process' temporary folder.
#[derive(Debug)]
pub(crate) struct Session {
    dir: PathBuf,
    lock: PathBuf,
    counter: AtomicU64,
    _own: File,
    _gc: File,
}

impl Session {
    /// Begins a session below `var` (`ROOT/nix/var/nbv`), whose folders exist.
    pub(crate) fn begin(var: &Path) -> Result<Self> {
        let gc_path = var.join("gc.lock");
        let gc = open(&gc_path)?;
        flock(&gc, libc::LOCK_SH).map_err(StoreError::io("lock", &gc_path))?;
        let tmp = var.join("tmp");
        let guard_path = var.join("tmp.lock");
        let guard = open(&guard_path)?;
        flock(&guard, libc::LOCK_EX).map_err(StoreError::io("lock", &guard_path))?;
        clear(&tmp)?;
        let pid = std::process::id();
        let mut number = 0u32;
        loop {
            let dir = tmp.join(format!("{pid}-{number}"));
            match std::fs::create_dir(&dir) {
                Ok(()) => {
                    let lock = tmp.join(format!("{pid}-{number}.lock"));
                    let own = open(&lock)?;
                    flock(&own, libc::LOCK_EX).map_err(StoreError::io("lock", &lock))?;
                    return Ok(Self { dir, lock, counter: AtomicU64::new(0), _own: own, _gc: gc });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(StoreError::io("create", &dir)(error)),
            }
        }
    }

    /// A path in the session's folder that nothing else uses. Nothing is made there.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{number}-{name}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A failure leaves garbage that the next session removes.
        let _ = remove_tree(&self.dir);
        let _ = std::fs::remove_file(&self.lock);
    }
}

/// Removes the folders of processes that are gone. The caller holds `tmp.lock`.
fn clear(tmp: &Path) -> Result<()> {
    for entry in std::fs::read_dir(tmp).map_err(StoreError::io("read", tmp))? {
        let entry = entry.map_err(StoreError::io("read", tmp))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.ends_with(".lock")) else { continue };
        let lock = tmp.join(format!("{name}.lock"));
        let file = open(&lock)?;
        if flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_ok() {
            let _ = remove_tree(&entry.path());
            let _ = std::fs::remove_file(&lock);
        }
    }
    Ok(())
}
