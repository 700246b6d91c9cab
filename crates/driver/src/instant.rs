//! Instant start: the state of a network that has just become ready, kept for its next run.
//!
//! `CACHE/saved/KEY/`; the key is a hash of all that the machines were made from ([`Origin::key`]).
//!
//! Not here: what a state is ([`crate::saved`]), when a network is saved or resumed ([`crate::run`], [`crate::network`]).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::machine::Settings;
use crate::network::Network;
use crate::starter;
use crate::saved::{self, Lasting, Origin, SaveError, Saved};

/// Bytes on disk that all saved states may take together; the oldest go first.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes that must stay free on the disk.
const FREE_MIN: u64 = 2 << 30;

/// How long machines may take to come to rest, for each that a processor has to serve; and all in all.
const SETTLE: Duration = Duration::from_millis(1500);
const SETTLE_MAX: Duration = Duration::from_secs(6);
/// How often is looked, and how much of one processor all together may use then.
const SETTLE_LOOK: Duration = Duration::from_millis(200);
const SETTLED: f64 = 0.25;

/// Where the state of one network is, or would be.
#[derive(Debug, Clone)]
pub struct Place {
    base: PathBuf,
    origin: Origin,
}

/// Where the state of this network belongs; `None` where it cannot be resumed reliably: where that was not tried, with folders of the
/// host (whose files change meanwhile), with disks that are the user's, or without a cache folder.
#[must_use]
pub fn place(settings: &Settings) -> Option<Place> {
    let has_shares = settings.plan.machines.iter().any(|machine| !machine.shared_directories.is_empty());
    if has_shares || settings.keep_vm_state {
        return None;
    }
    Some(Place { base: settings.cache_dir.as_ref()?.join("saved"), origin: settings.origin.clone().ok()? })
}

impl Place {
    fn dir(&self) -> PathBuf {
        self.base.join(self.origin.key())
    }

    /// The state, if there is one that fits.
    #[must_use]
    pub fn find(&self) -> Option<Saved> {
        let saved = Saved::open(&self.dir(), &self.origin).ok()?;
        // The newest use counts when space is needed.
        let _ = File::open(self.dir()).and_then(|open| open.set_modified(SystemTime::now()));
        Some(saved)
    }

    /// Saves a network in which all machines are ready and nothing was run by the user. The machines stand still meanwhile and run on
    /// afterwards, whatever happens.
    ///
    /// # Errors
    /// No room, a machine that is not ready or cannot be saved.
    pub fn save(&self, network: &Network) -> Result<(), SaveError> {
        saved::make_private(&self.base)?;
        evict(&self.base);
        settle(network);
        saved::save(network, &self.dir(), Lasting::UntilReboot, FREE_MIN)
    }
}

/// Waits a little until the machines have little to do: a service that counts as started may not listen yet, and what a machine does
/// just after it became ready it would do again each time it resumes.
fn settle(network: &Network) {
    let used = || network.machines().filter_map(|(id, _)| starter::processor_time(network.view(id).pid?)).sum::<f64>();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = u32::try_from(network.machines().count().div_ceil(cores)).unwrap_or(1);
    let deadline = Instant::now() + (SETTLE * rounds).min(SETTLE_MAX);
    let mut before = used();
    while Instant::now() < deadline {
        std::thread::sleep(SETTLE_LOOK);
        let now = used();
        if now - before < SETTLED * SETTLE_LOOK.as_secs_f64() {
            return;
        }
        before = now;
    }
}

/// Removes the oldest states until the others fit, and what a killed run left half-written.
fn evict(base: &Path) {
    let mut states: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            if modified.elapsed().is_ok_and(|age| age.as_secs() > 600) {
                let _ = std::fs::remove_dir_all(&path);
            }
            continue;
        }
        let size = saved::size(&path);
        states.push((modified, path, size));
    }
    states.sort_by(|a, b| b.0.cmp(&a.0));
    let mut total = 0;
    for (_, path, size) in states {
        total += size;
        // Room for the one that comes.
        if total > BYTES_MAX * 3 / 4 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_of_this_clock_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { base: dir.path().into(), origin: saved::tests::origin() };
        assert!(place.find().is_none());
        saved::tests::write(&place.dir(), place.origin.clone(), None);
        assert!(place.find().is_some());
    }
}
