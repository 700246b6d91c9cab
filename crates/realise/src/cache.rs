//! The evaluation cache: what a network built to last time, and what that depended on.
//!
//! One JSON file for each set of arguments, in the cache folder. A file that cannot be read counts as absent.
//!
//! Not here: which arguments there are.

use crate::accesses::Accesses;
use nbv_nix_formats::hash::{encode_base16, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What an evaluation and the build after it gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it asked of the host.
    pub(crate) accesses: Accesses,
    /// The pins that it used.
    pub(crate) pins: PinsUsed,
    /// Store path of the result.
    pub(crate) result: String,
    /// What the user was warned of.
    pub(crate) warnings: Vec<String>,
}

/// The pins that a build used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinsUsed {
    /// The file of pins and the digest of its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Without a file: the index of each system.
    pub(crate) indices: BTreeMap<String, String>,
}

/// A place for one set of arguments.
#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
}

impl Slot {
    /// The place below `cache` for what `arguments` say; each part counts, and so does their order.
    pub(crate) fn new(cache: &Path, arguments: &[String]) -> Self {
        let mut text = String::new();
        for argument in arguments {
            text.push_str(&format!("{}:{argument},", argument.len()));
        }
        let digest = encode_base16(&sha256(text.as_bytes()));
        Self { path: cache.join("eval").join(digest) }
    }

    /// What is there.
    pub(crate) fn read(&self) -> Option<Entry> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// Replaces what is there. A failure costs speed only, so it is not told.
    pub(crate) fn write(&self, entry: &Entry) {
        if let Ok(text) = serde_json::to_vec(entry) {
            let _ = write(&self.path, &text);
        }
    }
}

/// Writes a file by one rename, making its folder.
pub(crate) fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".{}-{}", std::process::id(), path.file_name().unwrap_or_default().to_string_lossy()));
    let written = fs::File::create(&fresh).and_then(|mut file| file.write_all(content)).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart_and_entries_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let slot = |arguments: &[&str]| Slot::new(dir.path(), &arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_ne!(slot(&["a", "b"]).path, slot(&["a,b"]).path);
        assert_ne!(slot(&["ab", ""]).path, slot(&["a", "b"]).path);
        let mut accesses = Accesses::default();
        accesses.add(crate::accesses::Access::Env(vec![0xff]), || "x".into());
        slot(&["a"]).write(&Entry { accesses: accesses.clone(), pins: PinsUsed::default(), result: "/nix/store/r".into(), warnings: vec!["w".into()] });
        let entry = slot(&["a"]).read().unwrap();
        assert_eq!((entry.accesses, entry.result.as_str()), (accesses, "/nix/store/r"));
        fs::write(&slot(&["a"]).path, "{").unwrap();
        assert!(slot(&["a"]).read().is_none());
    }
}
