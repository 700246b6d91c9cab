//! Pins: which versions of Debian's archive a network is made of.
//!
//! A file of pins (`--lock FILE`, else NETWORK.lock beside NETWORK.nix) fixes packages. Without one the store remembers for each
//! system which index it used, so that a network does not change by itself; `--update-lock` looks anew and writes the file.

use crate::cache::PinsUsed;
use crate::error::Error;
use nbv_debian::{Lock, SystemLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The pins of a network, and where they came from.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pub(crate) systems: BTreeMap<String, SystemLock>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    /// Digest of its text.
    digest: String,
}

impl Pins {
    /// Whether a build that used some pins would use the same now.
    pub(crate) fn are(&self, used: &PinsUsed) -> bool {
        match (&self.file, &used.file) {
            (Some(path), Some((used, digest))) => path == used && self.digest == *digest,
            (None, None) => used.indices.iter().all(|(system, index)| self.systems.get(system).is_some_and(|lock| lock.index == *index)),
            _ => false,
        }
    }

    /// What a build used that made `lock` of these.
    pub(crate) fn used(&self, lock: &Lock) -> PinsUsed {
        match &self.file {
            Some(path) => PinsUsed { file: Some((path.clone(), self.digest.clone())), indices: BTreeMap::new() },
            None => PinsUsed { file: None, indices: lock.systems.iter().map(|(system, lock)| (system.clone(), lock.index.clone())).collect() },
        }
    }
}

/// NETWORK.lock beside NETWORK.nix.
pub(crate) fn beside(network: &Path) -> PathBuf {
    network.with_extension("lock")
}

fn parse(text: &str, from: &Path) -> Result<Lock, Error> {
    let lock: Lock = serde_json::from_str(text).map_err(|error| {
        Error::input("lock::damaged", format!("{} is not a file of pins: {error}", from.display()))
            .hint("make it anew with --update-lock")
    })?;
    if lock.version != 1 {
        return Err(Error::input("lock::version", format!("{} is of version {}; this program reads version 1", from.display(), lock.version)));
    }
    Ok(lock)
}

/// Reads the pins of a network. With `given`, that file must be there.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn read(network: &Path, given: Option<&Path>, memory: &Path) -> Result<Pins, Error> {
    let path = given.map_or_else(|| beside(network), Path::to_path_buf);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let digest = crate::accesses::bytes_digest(Some(text.as_bytes()));
            Ok(Pins { systems: parse(&text, &path)?.systems, file: Some(path), digest })
        }
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Pins { systems: remembered(memory), file: None, digest: String::new() })
        }
        Err(error) => Err(Error::input("lock::unreadable", format!("cannot read {}: {}", path.display(), crate::world::reason(&error)))),
    }
}

/// What a store remembers. A damaged memory counts as none: it is remade.
pub(crate) fn remembered(memory: &Path) -> BTreeMap<String, SystemLock> {
    let text = std::fs::read_to_string(memory).unwrap_or_default();
    parse(&text, memory).map(|lock| lock.systems).unwrap_or_default()
}

/// The text of a file of pins.
pub(crate) fn text(lock: &Lock) -> String {
    let mut text = serde_json::to_string_pretty(lock).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes the store's memory: for each system the index that was used, no packages.
pub(crate) fn remember(memory: &Path, used: &Lock) {
    let text = std::fs::read_to_string(memory).unwrap_or_default();
    let old = parse(&text, memory).unwrap_or_default();
    let mut new = Lock { version: 1, systems: old.systems.clone() };
    for (system, lock) in &used.systems {
        let index = SystemLock { suite: lock.suite.clone(), date: lock.date.clone(), index: lock.index.clone(), ..SystemLock::default() };
        new.systems.insert(system.clone(), index);
    }
    if new != old || text.is_empty() {
        let _ = crate::cache::write(memory, self::text(&new).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(index: &str) -> Lock {
        let pinned = SystemLock { suite: "trixie".into(), index: index.into(), roots: ["bash".to_owned()].into(), ..SystemLock::default() };
        Lock { version: 1, systems: BTreeMap::from([("x86_64-linux".to_owned(), pinned)]) }
    }

    #[test]
    fn a_file_beside_the_network_counts_more_than_the_stores_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (network, memory) = (dir.path().join("net.nix"), dir.path().join("memory"));
        assert!(read(&network, None, &memory).unwrap().systems.is_empty());
        remember(&memory, &lock("one"));
        let pins = read(&network, None, &memory).unwrap();
        assert_eq!((pins.systems["x86_64-linux"].index.as_str(), pins.systems["x86_64-linux"].roots.len()), ("one", 0));
        std::fs::write(dir.path().join("net.lock"), text(&lock("two"))).unwrap();
        assert!(pins.are(&pins.used(&lock("one"))) && !pins.are(&pins.used(&lock("other"))));
        let from_file = read(&network, None, &memory).unwrap();
        assert_eq!((from_file.systems["x86_64-linux"].index.as_str(), from_file.systems["x86_64-linux"].roots.len()), ("two", 1));
        assert!(!from_file.are(&pins.used(&lock("one"))) && from_file.are(&from_file.used(&lock("two"))));
    }

    #[test]
    fn a_given_file_must_be_there_and_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let (network, memory, file) = (dir.path().join("net.nix"), dir.path().join("memory"), dir.path().join("pins"));
        assert!(read(&network, Some(&file), &memory).unwrap_err().to_string().contains("pins"));
        std::fs::write(&file, "{").unwrap();
        assert!(read(&network, Some(&file), &memory).unwrap_err().to_string().contains("not a file of pins"));
        std::fs::write(&file, r#"{"version":9,"systems":{}}"#).unwrap();
        assert!(read(&network, Some(&file), &memory).unwrap_err().to_string().contains("version 9"));
    }
}
