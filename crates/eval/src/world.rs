//! How the world enters: files, environment, messages, the store.
//!
//! The evaluator itself touches nothing outside. A [`World`] may answer from memory (a virtual root, tests) or
//! from the system; answers must not change during an evaluation.

use std::path::{Path, PathBuf};

/// What a path is, without following a final symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Regular { is_executable: bool },
    Directory,
    Symlink,
    Other,
}

impl FileKind {
    /// The name that `builtins.readDir` gives.
    pub fn type_name(self) -> &'static str {
        match self {
            FileKind::Regular { .. } => "regular",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Other => "unknown",
        }
    }
}

/// Why the world did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorldError {
    /// One lower-case fragment, e.g. "permission denied".
    pub message: String,
    /// More about it, such as the last lines of a program's output.
    pub notes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl WorldError {
    pub fn new(message: impl Into<String>) -> WorldError {
        WorldError { message: message.into(), ..WorldError::default() }
    }

    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> WorldError {
        self.notes.push(text.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> WorldError {
        self.hints.push(text.into());
        self
    }
}

impl std::fmt::Display for WorldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WorldError {}

/// Text that evaluation lets out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// `builtins.trace`.
    Trace,
    /// `builtins.warn` and deprecations.
    Warning,
}

/// A tree of a Git repository that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRequest {
    /// A URL or an absolute path.
    pub url: String,
    /// A branch or tag; the one checked out when absent.
    pub reference: Option<String>,
    /// A commit's hash.
    pub revision: Option<String>,
    pub submodules: bool,
}

/// A tree of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTree {
    /// The files as a tar archive.
    pub archive: Vec<u8>,
    /// Hash of the commit (of the one below the changes when there are some).
    pub revision: String,
    /// Number of commits up to it; absent when the history is not there.
    pub revision_count: Option<i64>,
    /// Seconds since 1970.
    pub last_modified: i64,
    /// Whether files differ from the commit.
    pub is_dirty: bool,
}

fn no_file<T>() -> Result<T, WorldError> {
    Err(WorldError::new("no such file or directory"))
}

/// Everything outside of the evaluator. Paths are absolute. A world that implements nothing has no files, no environment
/// and no store that is written, and drops messages: `impl World for Mine {}`.
pub trait World: Send + Sync {
    /// The bytes of a file, following symbolic links.
    fn read_file(&self, _path: &Path) -> Result<Vec<u8>, WorldError> {
        no_file()
    }

    /// What is at a path, not following a final link; `None` when nothing is.
    fn file_kind(&self, _path: &Path) -> Result<Option<FileKind>, WorldError> {
        Ok(None)
    }

    /// The target of a symbolic link.
    fn read_link(&self, _path: &Path) -> Result<PathBuf, WorldError> {
        no_file()
    }

    /// The entries of a folder, in any order.
    fn read_dir(&self, _path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        no_file()
    }

    /// An absolute path for a relative one of the search path.
    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        [b"/", path].concat()
    }

    /// A variable of the environment.
    fn env(&self, _name: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Seconds since 1970, for `builtins.currentTime`.
    fn current_time(&self) -> i64 {
        0
    }

    /// A message for the user.
    fn message(&self, _kind: MessageKind, _text: &str) {}

    /// A derivation was instantiated: its path, its bytes and what it refers to.
    fn store_derivation(&self, _path: &str, _bytes: &[u8], _references: &[String]) -> Result<(), WorldError> {
        Ok(())
    }

    /// A text was put in the store (`builtins.toFile`).
    fn store_text(&self, _path: &str, _bytes: &[u8], _references: &[String]) -> Result<(), WorldError> {
        Ok(())
    }

    /// An archive of files was put in the store (`./x` in a string, `builtins.path`); `nar` is its NAR.
    fn store_archive(&self, _path: &str, _nar: &[u8]) -> Result<(), WorldError> {
        Ok(())
    }

    /// Builds outputs that evaluation needs now (import from derivation): pairs of `.drv` path and output names.
    fn realise(&self, drvs: &[(&str, Vec<&str>)]) -> Result<(), WorldError> {
        let names: Vec<&str> = drvs.iter().map(|d| d.0).collect();
        Err(WorldError::new(format!("nothing can be built here: {}", names.join(", "))))
    }

    /// Whether a store path exists.
    fn is_valid_path(&self, _path: &str) -> bool {
        false
    }

    /// The store paths that a store path refers to, as far as the store knows.
    fn references(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }

    /// The place on disk of a store path's content, where the store is not at its logical place.
    fn physical_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    /// Downloads a URL.
    fn fetch_url(&self, url: &str) -> Result<Vec<u8>, WorldError> {
        Err(WorldError::new(format!("cannot download {url} here")))
    }

    /// A tree of a Git repository. Without `reference` and `revision`, a repository on disk gives its tracked files as they are now.
    fn fetch_git(&self, request: &GitRequest) -> Result<GitTree, WorldError> {
        Err(WorldError::new(format!("repositories cannot be read here: {}", request.url)))
    }
}

/// A world without anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl World for Nowhere {}
