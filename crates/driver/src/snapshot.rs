//! Named snapshots of a whole network: save, restore, list, delete.
//!
//! `CACHE/snapshots/NETWORK/NAME/`, NETWORK being a digest of the plan and the selected machines: networks have their names apart. What
//! a snapshot was made with is in it, and one that was made with something else is never restored.
//!
//! Not here: what is in the folder ([`crate::saved`]), how machines come back ([`crate::network`], [`crate::together`]).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::event::{Kind, Phase};
use crate::machine::Settings;
use crate::network::Network;
use crate::saved::{self, Lasting, SaveError, Saved, Unfit};
use crate::together::OnFailure;

/// Bytes of the disk that stay free.
const FREE_MIN: u64 = 256 << 20;
/// The longest name, bytes.
const NAME_MAX: usize = 100;
/// How long machines may take to come back, before patience.
const RESTORE: Duration = Duration::from_secs(60);

/// Why a snapshot was not saved, restored or deleted.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No such name can be.
    #[error("`{name}` cannot name a snapshot; a name has 1 to {NAME_MAX} bytes, no `/` or control character, and does not begin with `.` or `-`")]
    Name {
        /// The name.
        name: String,
    },
    /// Taken.
    #[error("snapshot `{name}` exists already; `--replace` saves over it, `snapshot delete {name}` deletes it")]
    Exists {
        /// The name.
        name: String,
    },
    /// Unknown.
    #[error("no snapshot `{name}` of this network{hint}")]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        hint: String,
    },
    /// Of something else.
    #[error("snapshot `{name}` does not fit: {reason}")]
    Misfit {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Not saved.
    #[error("the network was not saved")]
    Save(#[from] SaveError),
    /// No place.
    #[error("there is no folder to keep snapshots in; set XDG_CACHE_HOME or HOME")]
    NoPlace,
    /// Machines did not come back.
    #[error("snapshot `{name}` was not restored: {reason}")]
    Restore {
        /// The name.
        name: String,
        /// Which and why.
        reason: String,
    },
    /// Not deleted.
    #[error("cannot delete {}", path.display())]
    Delete {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A snapshot in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// Bytes on the disk.
    pub size: u64,
    /// Machines that ran.
    pub machines: Vec<String>,
    /// Why it cannot be restored here and now.
    pub misfit: Option<String>,
}

fn check(name: &str) -> Result<(), SnapshotError> {
    let is_bad = name.is_empty() || name.len() > NAME_MAX || name.starts_with(['.', '-']) || name.contains(|c: char| c == '/' || c.is_control());
    if is_bad { Err(SnapshotError::Name { name: name.to_owned() }) } else { Ok(()) }
}

/// The folder of this network's snapshots.
fn base(settings: &Settings) -> Result<PathBuf, SnapshotError> {
    let origin = settings.origin.as_ref().map_err(|reason| SnapshotError::Save(SaveError::Unable(reason.clone())))?;
    Ok(settings.cache_dir.as_ref().ok_or(SnapshotError::NoPlace)?.join("snapshots").join(origin.network()))
}

/// Saves the running network under a name: the memory of all machines, their disks, and what is under way between them. The machines
/// stand still meanwhile (tenths of a second) and go on.
///
/// # Errors
/// The name is taken (unless `replace`) or none, a machine is neither ready nor off, no room, ...; then there is no new snapshot and an
/// old one of the name is as it was.
pub fn save(network: &Network, name: &str, replace: Replace) -> Result<(), SnapshotError> {
    check(name)?;
    let base = base(network.settings())?;
    let dir = base.join(name);
    if replace == Replace::No && dir.exists() {
        return Err(SnapshotError::Exists { name: name.to_owned() });
    }
    if let Some(parent) = base.parent() {
        saved::make_private(parent)?;
    }
    saved::save(network, &dir, Lasting::Always, FREE_MIN)?;
    network.tell(Kind::Saved(name.to_owned()));
    Ok(())
}

/// Whether a snapshot of the same name goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It is an error that it is there.
    No,
    /// It is replaced once the new one is whole.
    Yes,
}

/// Finds a snapshot that fits this network.
///
/// # Errors
/// There is none of the name, or it was made with something else; the message says with what.
pub fn find(settings: &Settings, name: &str) -> Result<Saved, SnapshotError> {
    check(name)?;
    let base = base(settings)?;
    let origin = settings.origin.as_ref().map_err(|reason| SnapshotError::Save(SaveError::Unable(reason.clone())))?;
    let misfit = |reason| SnapshotError::Misfit { name: name.to_owned(), reason };
    match Saved::open(&base.join(name), origin) {
        Ok(saved) => Ok(saved),
        Err(Unfit::Misfit(reason) | Unfit::Damaged(reason)) => Err(misfit(reason)),
        Err(Unfit::Missing) => {
            // Another network may have one of the name: made before this one was changed, or with other machines.
            for (dir, other) in names(&others(&base)).into_iter().filter(|(_, other)| other == name) {
                if let Ok(about) = saved::about(&dir.join(&other))
                    && let Some(reason) = about.origin.misfit(origin)
                {
                    return Err(misfit(reason));
                }
            }
            Err(unknown(&base, name))
        }
    }
}

fn others(base: &Path) -> Vec<PathBuf> {
    let entries = base.parent().and_then(|parent| std::fs::read_dir(parent).ok()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path != base).collect()
}

/// Folders with the names of the snapshots in them.
fn names(dirs: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for dir in dirs {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| check(name).is_ok()) {
                all.push((dir.clone(), name.to_owned()));
            }
        }
    }
    all.sort();
    all
}

fn unknown(base: &Path, name: &str) -> SnapshotError {
    let known: Vec<String> = names(&[base.to_owned()]).into_iter().map(|(_, name)| name).collect();
    let near = known.iter().map(|other| (distance(name, other), other)).min().filter(|(distance, _)| *distance <= 1 + name.chars().count() / 4);
    let hint = match (near, known.is_empty()) {
        (Some((_, near)), _) => format!("; did you mean `{near}`?"),
        (None, true) => "; it has none".to_owned(),
        (None, false) => format!("; there are: {}", known.join(", ")),
    };
    SnapshotError::Unknown { name: name.to_owned(), hint }
}

/// How many letters must be changed, added or left out to make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

/// Returns all machines of the running network, and what was under way between them, to a snapshot; machines that were off then go
/// off. Programs that ran in a guest through this program (`ssh`, `shell`) end. Returns when all machines are back.
///
/// # Errors
/// No snapshot of the name, one that does not fit, or machines that do not come back: these have failed then.
pub fn restore(network: &Network, name: &str) -> Result<(), SnapshotError> {
    let saved = find(network.settings(), name)?;
    let _only = network.only_snapshot().ok_or(SaveError::Busy)?;
    let patience = network.machines().map(|(id, _)| network.settings().accelerator(id).patience()).max().unwrap_or(1);
    let deadline = Instant::now() + RESTORE * patience;
    let wanted: Vec<_> = network.machines().map(|(id, machine)| (id, saved.phase(&machine.name), network.view(id).starts)).collect();
    network.restore(saved);
    let mut failures = Vec::new();
    for (id, phase, starts) in wanted {
        let in_time = network.wait(id, Some(deadline), |view| match phase {
            Phase::Off => !view.phase.is_running(),
            Phase::Booting => view.starts > starts && matches!(view.phase, Phase::Booting | Phase::Ready | Phase::Failed),
            _ => view.starts > starts && matches!(view.phase, Phase::Ready | Phase::Failed | Phase::Off),
        });
        let view = network.view(id);
        let machine = &network.machine(id).name;
        match view.failure {
            Some(reason) if phase != Phase::Off => failures.push(format!("{machine}: {reason}")),
            _ if !in_time => failures.push(format!("{machine} is not back in time (it is {})", view.phase.name())),
            _ => {}
        }
    }
    network.set_resume(None);
    if failures.is_empty() {
        network.tell(Kind::Restored(name.to_owned()));
        Ok(())
    } else {
        Err(SnapshotError::Restore { name: name.to_owned(), reason: failures.join("; ") })
    }
}

/// Lets machines that are started from now on come from a snapshot: a start of the network.
///
/// # Errors
/// As [`find`].
pub fn resume(network: &Network, name: &str) -> Result<(), SnapshotError> {
    let saved = find(network.settings(), name)?;
    network.resume(saved, OnFailure::Fail);
    Ok(())
}

/// The snapshots of this network.
///
/// # Errors
/// None can be of it.
pub fn list(settings: &Settings) -> Result<Vec<SnapshotInfo>, SnapshotError> {
    let base = base(settings)?;
    let info = |(dir, name): (PathBuf, String)| {
        let path = dir.join(&name);
        let misfit = match (saved::about(&path), &settings.origin) {
            (Ok(about), Ok(origin)) => about.origin.misfit(origin),
            (Err(Unfit::Missing), _) => Some("it is gone".into()),
            (Err(Unfit::Misfit(reason) | Unfit::Damaged(reason)), _) => Some(reason),
            (_, Err(reason)) => Some(reason.clone()),
        };
        let about = saved::about(&path).ok();
        SnapshotInfo {
            size: saved::size(&path),
            made: about.as_ref().map_or(0, |about| about.made),
            machines: about.map(|about| about.running()).unwrap_or_default(),
            misfit,
            name,
        }
    };
    let mut all: Vec<SnapshotInfo> = names(&[base]).into_iter().map(info).collect();
    all.sort_by_key(|info| info.made);
    Ok(all)
}

/// Deletes a snapshot of this network. Machines that came from it run on.
///
/// # Errors
/// There is none of the name, or it cannot be deleted.
pub fn delete(settings: &Settings, name: &str) -> Result<(), SnapshotError> {
    check(name)?;
    let base = base(settings)?;
    let path = base.join(name);
    if path.symlink_metadata().is_err() {
        return Err(unknown(&base, name));
    }
    std::fs::remove_dir_all(&path).map_err(|source| SnapshotError::Delete { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for name in ["", ".", "..", "a/b", "/", ".hidden", "-x", "a\nb", &"n".repeat(101)] {
            assert!(check(name).is_err(), "{name}");
        }
        for name in ["before", "vor dem Umbau", "1.2-rc", "a..b"] {
            assert!(check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(unknown(dir.path(), "x").to_string().ends_with("; it has none"));
        for name in ["before", "after", ".before-12"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(unknown(dir.path(), "bifore").to_string().ends_with("did you mean `before`?"));
        assert!(unknown(dir.path(), "zzzz").to_string().ends_with("there are: after, before"));
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
    }
}
