//! Deleting what no root reaches.
//!
//! A root is a link in `gcroots/` to a link of the user's (`result`) that still leads into the store, or a path that a
//! process uses: a running network keeps what it runs from. Collecting waits until no other process builds, and keeps
//! builds waiting while it deletes.

use crate::error::{Result, StoreError};
use crate::lock::{flock, open};
use crate::store::Store;
use crate::tree::{remove_tree, size_of};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// What was, or would be, deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Number of paths.
    pub paths: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Whether to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Say what would go.
    DryRun,
    /// Delete.
    Delete,
}

/// The paths that roots lead to; roots whose link is gone are forgotten when `mode` deletes.
fn roots(store: &Store, mode: Mode) -> Result<BTreeSet<String>> {
    let dir = store.var().join("gcroots");
    let mut found = BTreeSet::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(StoreError::io("read", &dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io("read", &dir))?;
        let target = fs::read_link(entry.path()).and_then(fs::read_link).ok();
        let path = target.and_then(|target| store.logical(&target));
        match path.as_deref().and_then(|path| store.dir().split(path)) {
            Some((path, _)) => {
                found.insert(path.to_owned());
            }
            None if mode == Mode::Delete => {
                let _ = fs::remove_file(entry.path());
            }
            None => {}
        }
    }
    Ok(found)
}

/// The paths that a process of this host names in its arguments, environment or mapped files, or has open (proc(5)).
/// Processes of other users, which an ordinary user cannot look at, have stores of their own.
fn in_use(store: &Store) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // The kernel gives the places without symbolic links, arguments may have them.
    let given = store.physical_dir();
    let mut places: Vec<Vec<u8>> = [given.canonicalize().ok(), Some(given)].into_iter().flatten().map(|place| place.join("").into_os_string().into_encoded_bytes()).collect();
    places.dedup();
    let mut look = |text: &[u8]| places.iter().for_each(|place| paths_in(store, place, text, &mut found));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        if !process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let dir = process.path();
        for file in ["cmdline", "environ", "maps"] {
            if let Ok(text) = fs::read(dir.join(file)) {
                look(&text);
            }
        }
        let open = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        for link in open.chain(["exe", "cwd"].map(|name| dir.join(name))) {
            if let Ok(target) = fs::read_link(link) {
                look(target.as_os_str().as_bytes());
            }
        }
    }
    found
}

/// Adds the store paths that occur in `text` below the physical `place` (it ends with a slash).
fn paths_in(store: &Store, place: &[u8], text: &[u8], found: &mut BTreeSet<String>) {
    for at in memchr::memmem::find_iter(text, place) {
        let name = &text[at + place.len()..];
        let end = name.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte))).unwrap_or(name.len());
        if let Ok(name) = std::str::from_utf8(&name[..end]) {
            found.insert(format!("{}/{name}", store.dir().as_str()));
        }
    }
}

/// Deletes all paths that neither a root nor a process nor `keep` reaches.
///
/// # Errors
/// The store cannot be read or written.
pub fn collect(root: &std::path::Path, keep: &[String], mode: Mode) -> Result<Freed> {
    let store = Store::open(root);
    let info = store.var().join("info");
    if !info.exists() {
        return Ok(Freed::default());
    }
    let lock_path = store.var().join("gc.lock");
    let lock = open(&lock_path)?;
    flock(&lock, libc::LOCK_EX).map_err(StoreError::io("lock", &lock_path))?;
    let mut live = BTreeSet::new();
    for path in roots(&store, mode)?.iter().chain(&in_use(&store)).chain(keep) {
        if store.is_valid(path) {
            live.extend(store.closure([path.as_str()])?);
        }
    }
    let mut freed = Freed::default();
    let dir = store.physical_dir();
    for entry in fs::read_dir(&dir).map_err(StoreError::io("read", &dir))? {
        let entry = entry.map_err(StoreError::io("read", &dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = format!("{}/{name}", store.dir().as_str());
        // What is named otherwise is not ours to delete.
        if live.contains(&path) || store.dir().base_name(&path).is_err() {
            continue;
        }
        freed.paths += 1;
        freed.bytes += size_of(&entry.path());
        if mode == Mode::Delete {
            // The registration goes first: half deleted is not valid.
            let _ = fs::remove_file(info.join(name));
            remove_tree(&entry.path())?;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_open_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let none = BTreeSet::new();
        let path = store.dir().text_path("open", b"text", &none).unwrap();
        store.add_text(&path, b"text", &none).unwrap();
        let held = fs::File::open(store.physical(&path)).unwrap();
        drop(store);
        assert_eq!(collect(root.path(), &[], Mode::Delete).unwrap().paths, 0);
        drop(held);
        assert_eq!(collect(root.path(), &[], Mode::Delete).unwrap().paths, 1);
    }

    #[test]
    fn what_a_result_link_reaches_stays_until_the_link_goes() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = |text: &str, refs: &BTreeSet<String>| store.dir().text_path("t", text.as_bytes(), refs).unwrap();
        let none = BTreeSet::new();
        let (inner, lone) = (path("inner", &none), path("lone", &none));
        let refs = BTreeSet::from([inner.clone()]);
        let outer = path(&inner, &refs);
        store.add_text(&inner, b"inner", &none).unwrap();
        store.add_text(&lone, b"lone", &none).unwrap();
        store.add_text(&outer, inner.as_bytes(), &refs).unwrap();
        let link = root.path().join("result");
        store.link_root(&link, &outer).unwrap();
        drop(store);
        assert_eq!(collect(root.path(), &[], Mode::DryRun).unwrap().paths, 1);
        assert_eq!(collect(root.path(), &[], Mode::Delete).unwrap().paths, 1);
        let store = Store::open(root.path());
        assert!(store.is_valid(&inner) && store.is_valid(&outer) && !store.is_valid(&lone));
        drop(store);
        fs::remove_file(&link).unwrap();
        assert_eq!(collect(root.path(), &[], Mode::Delete).unwrap().paths, 2);
        assert_eq!(fs::read_dir(root.path().join("nix/store")).unwrap().count(), 0);
    }
}
