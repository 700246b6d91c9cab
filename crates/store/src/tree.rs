//! File trees on disk: canonical form, copying, removing.

use crate::error::{Result, StoreError};
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Gives everything at `path` the form of the store: files 0444 or 0555, folders 0555, time stamps of one second after
/// the epoch. The topmost folder keeps a mode that can be renamed; [`seal`] closes it.
pub(crate) fn canonicalise(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
    canonicalise_node(path, &meta, true)
}

fn canonicalise_node(path: &Path, meta: &fs::Metadata, top: bool) -> Result<()> {
    let kind = meta.file_type();
    if kind.is_dir() {
        // A builder may have left it unreadable.
        if meta.mode() & 0o700 != 0o700 {
            set_mode(path, 0o755)?;
        }
        for entry in fs::read_dir(path).map_err(StoreError::io("read", path))? {
            let entry = entry.map_err(StoreError::io("read", path))?;
            let child = entry.path();
            let meta = fs::symlink_metadata(&child).map_err(StoreError::io("read", &child))?;
            canonicalise_node(&child, &meta, false)?;
        }
        set_mode(path, if top { 0o755 } else { 0o555 })?;
    } else if kind.is_file() {
        let mode = if meta.mode() & 0o100 != 0 { 0o555 } else { 0o444 };
        if meta.mode() & 0o7777 != mode {
            set_mode(path, mode)?;
        }
    } else if !kind.is_symlink() {
        return Err(StoreError::FileType(path.to_path_buf()));
    }
    set_time(path)
}

/// Closes a topmost folder that [`canonicalise`] left open.
pub(crate) fn seal(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
    if meta.is_dir() {
        set_mode(path, 0o555)?;
        set_time(path)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(StoreError::io("set the mode of", path))
}

fn set_time(path: &Path) -> Result<()> {
    let stamp = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| StoreError::io("name", path)(e.into()))?;
    // SAFETY: `name` ends with a zero byte and `times` has the two elements that the call reads.
    let code = unsafe { libc::utimensat(libc::AT_FDCWD, name.as_ptr(), [stamp, stamp].as_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
    if code == 0 { Ok(()) } else { Err(StoreError::io("set the time of", path)(io::Error::last_os_error())) }
}

/// Copies a file, folder or symbolic link to `to`, which must not exist. Modes but the executable bit are not kept.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(from).map_err(StoreError::io("read", from))?;
    if meta.is_dir() {
        fs::create_dir(to).map_err(StoreError::io("create", to))?;
        for entry in fs::read_dir(from).map_err(StoreError::io("read", from))? {
            let entry = entry.map_err(StoreError::io("read", from))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    } else if meta.is_symlink() {
        let target = fs::read_link(from).map_err(StoreError::io("read", from))?;
        std::os::unix::fs::symlink(target, to).map_err(StoreError::io("create", to))
    } else if meta.is_file() {
        fs::copy(from, to).map_err(StoreError::io("copy", to))?;
        set_mode(to, if meta.mode() & 0o100 != 0 { 0o755 } else { 0o644 })
    } else {
        Err(StoreError::FileType(from.to_path_buf()))
    }
}

/// Removes whatever stands at `path`, read-only folders included. Nothing there is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    if !meta.is_dir() {
        return fs::remove_file(path).map_err(StoreError::io("remove", path));
    }
    if meta.mode() & 0o700 != 0o700 {
        set_mode(path, 0o700)?;
    }
    for entry in fs::read_dir(path).map_err(StoreError::io("read", path))? {
        let entry = entry.map_err(StoreError::io("read", path))?;
        let child = entry.path();
        if entry.file_type().map_err(StoreError::io("read", &child))?.is_dir() {
            remove_tree(&child)?;
        } else {
            fs::remove_file(&child).map_err(StoreError::io("remove", &child))?;
        }
    }
    fs::remove_dir(path).map_err(StoreError::io("remove", path))
}

/// Bytes that the tree takes on disk.
pub fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let below = if meta.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size_of(&entry.path())).sum()
    } else {
        0
    };
    meta.blocks() * 512 + below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_and_removal() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/run"), "x").unwrap();
        set_mode(&root.join("a/run"), 0o6711).unwrap();
        fs::write(root.join("a/b/plain"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
        canonicalise(&root).unwrap();
        seal(&root).unwrap();
        let mode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a/run"), mode("a/b/plain"), mode("a/b"), mode("")), (0o555, 0o444, 0o555, 0o555));
        for name in ["", "a", "a/run", "link"] {
            assert_eq!(fs::symlink_metadata(root.join(name)).unwrap().mtime(), 1, "{name}");
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn a_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        fs::create_dir(&root).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
        assert!(matches!(canonicalise(&root), Err(StoreError::FileType(_))));
    }
}
