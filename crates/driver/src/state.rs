//! State folders: where a running network keeps its disks, logs and sockets, and how it is found again.
//!
//! A folder belongs to one runner, by a lock that the kernel gives back when the runner dies. Layout: docs/architecture.md
//! ('Runtime state'). Networks are listed in the base folder, either there themselves or by a link to
//! the folder that the user chose.
//!
//! Not here: what machines put into their folders.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The file whose lock says that a runner lives; also the mark of a state folder.
const LOCK: &str = "lock";
/// The runner's socket.
pub(crate) const SOCKET: &str = "control.sock";
/// The copy of the plan.
pub(crate) const PLAN: &str = "network.json";
/// Where the result is, for those who look for the network of a result.
pub(crate) const RESULT: &str = "result";

/// Why there is no state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another runner has it.
    #[error("the state folder {} belongs to a network that is running; stop it (nixos-build-vms stop --state-dir {}) or name another folder", dir.display(), dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// It holds other things.
    #[error("{} is neither empty nor a state folder of an earlier run; name another folder with --state-dir", dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
    },
    /// The place where networks are listed belongs to another user.
    #[error("{} is not a folder of this user alone (mode 0700); remove it, or set XDG_RUNTIME_DIR", dir.display())]
    Unsafe {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("{} {}", action, path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

/// Where networks of this user are listed: `$XDG_RUNTIME_DIR/nixos-build-vms` or `/tmp/nixos-build-vms-UID`.
#[must_use]
pub fn base_dir(runtime_dir: Option<&std::ffi::OsStr>) -> PathBuf {
    match runtime_dir.map(Path::new) {
        Some(dir) if dir.is_absolute() && dir.is_dir() => dir.join("nixos-build-vms"),
        _ => PathBuf::from(format!("/tmp/nixos-build-vms-{}", rustix::process::getuid().as_raw())),
    }
}

/// A state folder that is ours while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: Lock,
    /// The link in the base folder, when the folder lies elsewhere.
    link: Option<PathBuf>,
    is_fresh: bool,
}

impl StateDir {
    /// Takes `wanted`, or a fresh folder below `base`.
    ///
    /// # Errors
    /// The folder is in use, holds other things, or cannot be made.
    pub fn take(base: &Path, wanted: Option<&Path>) -> Result<Self, StateError> {
        make_private(base)?;
        clean(base);
        let id = format!("{}-{:08x}", std::process::id(), random()?);
        let Some(wanted) = wanted else {
            let path = base.join(&id);
            DirBuilder::new().mode(0o700).create(&path).map_err(failed("cannot make", &path))?;
            let lock = lock(&path)?.ok_or_else(|| StateError::Busy { dir: path.clone() })?;
            return Ok(Self { path, _lock: lock, link: None, is_fresh: true });
        };
        let is_fresh = !wanted.exists();
        if is_fresh {
            DirBuilder::new().mode(0o700).recursive(true).create(wanted).map_err(failed("cannot make", wanted))?;
        }
        let path = wanted.canonicalize().map_err(failed("cannot read", wanted))?;
        let mut entries = std::fs::read_dir(&path).map_err(failed("cannot read", &path))?;
        // What an earlier run made is ours to remove.
        let is_fresh = is_fresh || path.join(LOCK).is_file();
        if entries.next().is_some() && !path.join(LOCK).is_file() {
            return Err(StateError::Foreign { dir: path });
        }
        let meta = path.metadata().map_err(failed("cannot read", &path))?;
        if meta.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).map_err(failed("cannot set the mode of", &path))?;
        }
        let lock = lock(&path)?.ok_or_else(|| StateError::Busy { dir: path.clone() })?;
        let link = base.join(&id);
        std::os::unix::fs::symlink(&path, &link).map_err(failed("cannot make", &link))?;
        Ok(Self { path, _lock: lock, link: Some(link), is_fresh })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the run: the folder goes with all that is in it, unless `keep`; then only what belongs to the run goes.
    pub fn end(self, machines: &[String], keep: bool) {
        if let Some(link) = &self.link {
            let _ = std::fs::remove_file(link);
        }
        let _ = std::fs::remove_file(self.path.join(SOCKET));
        if !keep && self.link.is_none() {
            let _ = std::fs::remove_dir_all(&self.path);
            return;
        }
        // A folder of the user's own stays, and only what we put there goes.
        for name in machines {
            let dir = self.path.join(name);
            if keep {
                let _ = std::fs::remove_file(dir.join("initrd"));
            } else {
                let _ = std::fs::remove_dir_all(&dir);
            }
        }
        let _ = std::fs::remove_dir_all(self.path.join("ssh"));
        if !keep {
            for name in [RESULT, PLAN, "state.json", crate::ssh::CONFIG, LOCK] {
                let _ = std::fs::remove_file(self.path.join(name));
            }
            if self.is_fresh {
                // Only if nothing else is in it.
                let _ = std::fs::remove_dir(&self.path);
            }
        }
    }
}

/// The lock of a folder, held until it is dropped.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do only once every copy of the descriptor is closed, and a child between fork and exec has one.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock of a folder; `None` when another has it.
fn lock(dir: &Path) -> Result<Option<Lock>, StateError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed("cannot open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed("cannot lock", &path)(errno.into())),
    }
}

/// Makes the base folder, or checks that an existing one is this user's alone: /tmp is everyone's.
fn make_private(base: &Path) -> Result<(), StateError> {
    if let Some(parent) = base.parent() {
        std::fs::create_dir_all(parent).map_err(failed("cannot make", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(base) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("cannot make", base)(error)),
    }
    let meta = std::fs::symlink_metadata(base).map_err(failed("cannot read", base))?;
    let is_private = meta.is_dir() && meta.uid() == rustix::process::getuid().as_raw() && meta.permissions().mode() & 0o077 == 0;
    if is_private { Ok(()) } else { Err(StateError::Unsafe { dir: base.to_owned() }) }
}

/// Removes what dead runners left in the base folder.
fn clean(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && !path.exists() {
            let _ = std::fs::remove_file(&path);
            continue;
        }
        // A folder without a lock is being made right now.
        if !path.join(LOCK).is_file() {
            continue;
        }
        if let Ok(Some(_held)) = lock(&path) {
            // A folder that the user named stays; only its place in the list goes.
            let _ = if is_link { std::fs::remove_file(&path) } else { std::fs::remove_dir_all(&path) };
        }
    }
}

/// The state folders of all networks of this user that run.
#[must_use]
pub fn running(base: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.path().canonicalize().ok())
        .filter(|dir| crate::socket::connect(&dir.join(SOCKET)).is_ok())
        .collect();
    dirs.sort();
    dirs.dedup();
    dirs
}

fn random() -> Result<u32, StateError> {
    let mut bytes = [0; 4];
    crate::keys::fill_random(&mut bytes).map_err(failed("cannot read", Path::new("the system's random numbers")))?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_folder_is_private_and_goes_at_the_end() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::take(&base.path().join("nbv"), None).unwrap();
        let path = state.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::create_dir(path.join("a")).unwrap();
        state.end(&["a".into()], false);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_in_use_is_refused_and_free_after_its_runner() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("mine");
        let nbv = base.path().join("nbv");
        let state = StateDir::take(&nbv, Some(&dir)).unwrap();
        assert!(matches!(StateDir::take(&nbv, Some(&dir)), Err(StateError::Busy { .. })));
        drop(state);
        let again = StateDir::take(&nbv, Some(&dir)).unwrap();
        // The dead runner's link went, ours is there.
        assert_eq!(std::fs::read_dir(&nbv).unwrap().count(), 1);
        again.end(&[], false);
        assert_eq!(std::fs::read_dir(&nbv).unwrap().count(), 0);
        assert!(!dir.exists());
    }

    #[test]
    fn what_a_dead_runner_left_is_cleaned() {
        let base = tempfile::tempdir().unwrap();
        let nbv = base.path().join("nbv");
        let dead = StateDir::take(&nbv, None).unwrap();
        let path = dead.path().to_owned();
        drop(dead);
        assert!(path.exists());
        let alive = StateDir::take(&nbv, None).unwrap();
        assert!(!path.exists() && alive.path().exists());
    }

    #[test]
    fn a_folder_with_other_things_is_not_touched() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("home");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("thesis"), "x").unwrap();
        assert!(matches!(StateDir::take(&base.path().join("nbv"), Some(&dir)), Err(StateError::Foreign { .. })));
        assert!(dir.join("thesis").exists());
    }

    #[test]
    fn kept_disks_stay_and_keys_go() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("mine");
        let state = StateDir::take(&base.path().join("nbv"), Some(&dir)).unwrap();
        for file in ["ssh/id", "a/root.img", "a/initrd"] {
            std::fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.join(file), "x").unwrap();
        }
        state.end(&["a".into()], true);
        assert!(dir.join("a/root.img").exists() && !dir.join("a/initrd").exists() && !dir.join("ssh").exists());
    }

    #[test]
    fn a_base_folder_that_others_may_enter_is_refused() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(StateDir::take(base.path(), None), Err(StateError::Unsafe { .. })));
    }
}
