//! What an evaluation asked of the host, with digests of the answers.
//!
//! An evaluation whose program, arguments and answers are the same gives the same; [`Accesses::is_same`] asks again
//! and compares, which takes milliseconds.

use nbv_nix_formats::hash::{encode_base16, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// The content of a file.
    File(PathBuf),
    /// What is at a path.
    Kind(PathBuf),
    /// Where a link leads.
    Link(PathBuf),
    /// The entries of a folder.
    Dir(PathBuf),
    /// A variable of the environment.
    Env(Vec<u8>),
}

/// Questions and digests of their answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accesses {
    /// As pairs, since JSON has no such keys.
    #[serde(with = "pairs")]
    answers: BTreeMap<Access, String>,
    /// Something was asked whose answer is never the same: the time, an unpinned download.
    pub is_volatile: bool,
}

impl Accesses {
    /// Records a question, once.
    pub fn add(&mut self, access: Access, digest: impl FnOnce() -> String) {
        self.answers.entry(access).or_insert_with(digest);
    }

    /// Number of questions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Whether every question but those on the environment has the same answer now.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is_same_with(&BTreeMap::new(), false)
    }

    /// Whether every question has the same answer now, in this environment.
    #[must_use]
    pub fn is_same_in(&self, env: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        self.is_same_with(env, true)
    }

    fn is_same_with(&self, env: &BTreeMap<Vec<u8>, Vec<u8>>, with_env: bool) -> bool {
        self.answers.iter().all(|(access, digest)| {
            let now = match access {
                Access::File(path) => file_digest(fs::read(path).ok().as_deref()),
                Access::Kind(path) => kind_digest(path),
                Access::Link(path) => link_digest(path),
                Access::Dir(path) => dir_digest(path),
                Access::Env(name) if with_env => bytes_digest(env.get(name).map(Vec::as_slice)),
                Access::Env(_) => return true,
            };
            now == *digest
        })
    }
}

/// Digest of a file's content, or of its absence.
pub(crate) fn file_digest(content: Option<&[u8]>) -> String {
    bytes_digest(content)
}

pub(crate) fn bytes_digest(content: Option<&[u8]>) -> String {
    content.map_or_else(|| "none".to_owned(), |content| encode_base16(&sha256(content)))
}

/// A letter for what is at a path.
pub(crate) fn kind_digest(path: &Path) -> String {
    match fs::symlink_metadata(path) {
        Err(_) => "none".into(),
        Ok(meta) if meta.is_dir() => "d".into(),
        Ok(meta) if meta.is_symlink() => "l".into(),
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o100 != 0 => "x".into(),
        Ok(meta) if meta.is_file() => "f".into(),
        Ok(_) => "o".into(),
    }
}

pub(crate) fn link_digest(path: &Path) -> String {
    bytes_digest(fs::read_link(path).ok().as_ref().map(|target| target.as_os_str().as_bytes()))
}

/// Digest of the names and kinds in a folder.
pub(crate) fn dir_digest(path: &Path) -> String {
    let Ok(entries) = fs::read_dir(path) else { return "none".into() };
    let mut list: Vec<Vec<u8>> = entries
        .flatten()
        .map(|entry| {
            let mut line = entry.file_name().as_bytes().to_vec();
            line.push(0);
            line.extend(kind_digest(&entry.path()).bytes());
            line
        })
        .collect();
    list.sort_unstable();
    encode_base16(&sha256(&list.join(&0)))
}

mod pairs {
    use super::Access;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Access, String>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Access, String>, D::Error> {
        Vec::<(Access, String)>::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }
}
