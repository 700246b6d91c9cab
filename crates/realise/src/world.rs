//! The world that evaluation sees: the host's files, the embedded library at `/nixpkgs`, the store, the environment.
//!
//! What evaluation asks of the host is recorded with a digest of the answer ([`Accesses`]), so that a later run can tell
//! without evaluating whether it would get the same answers.
//!
//! What evaluation puts in the store stays in memory (a [`Graph`]) until something reads or builds it.
//!
//! Not here: evaluation; what is built.

use crate::accesses::{self, Access, Accesses};
use crate::error::Error;
use crate::library;
use nbv_eval::{FileKind, MessageKind, World, WorldError};
use nbv_nix_formats::Derivation;
use nbv_store::{Event, Graph, Progress, Source, Store, add_source};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Builds outputs of derivations of a graph for evaluation (import from derivation).
pub(crate) type Builder = Box<dyn Fn(&Graph, &[&str]) -> Result<(), Error> + Send + Sync>;

/// Downloads a URL; the error is one line.
pub(crate) type Fetcher = Box<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

/// The host, the library and a store.
pub struct HostWorld {
    store: Arc<Store>,
    env: BTreeMap<Vec<u8>, Vec<u8>>,
    time: i64,
    progress: Arc<dyn Progress>,
    graph: Mutex<Graph>,
    accesses: Mutex<Accesses>,
    warnings: Mutex<Vec<String>>,
    builder: OnceLock<Builder>,
    fetcher: OnceLock<Fetcher>,
    /// Why the last build for evaluation failed.
    failure: Mutex<Option<Error>>,
}

/// Where a path of evaluation is.
enum Place {
    /// In the embedded library.
    Library(String),
    /// A file of the host that may change.
    Host(PathBuf),
    /// In our store: it never changes.
    Store(PathBuf),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl HostWorld {
    /// A world with this environment (names and values) and time (seconds since 1970).
    #[must_use]
    pub fn new(store: Arc<Store>, env: BTreeMap<Vec<u8>, Vec<u8>>, time: i64, progress: Arc<dyn Progress>) -> Self {
        Self {
            store,
            env,
            time,
            progress,
            graph: Mutex::default(),
            accesses: Mutex::default(),
            warnings: Mutex::default(),
            builder: OnceLock::new(),
            fetcher: OnceLock::new(),
            failure: Mutex::default(),
        }
    }

    /// Lets evaluation build. Without it, import from derivation is an error.
    pub fn set_builder(&self, builder: Builder) {
        let _ = self.builder.set(builder);
    }

    /// Lets evaluation download. Without it, fetchers are an error.
    pub fn set_fetcher(&self, fetcher: Fetcher) {
        let _ = self.fetcher.set(fetcher);
    }

    /// What evaluation has instantiated so far.
    #[must_use]
    pub fn graph(&self) -> Graph {
        lock(&self.graph).clone()
    }

    /// What evaluation has asked so far.
    #[must_use]
    pub fn accesses(&self) -> Accesses {
        lock(&self.accesses).clone()
    }

    /// Warnings so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// Why a build that evaluation asked for failed, once.
    pub fn take_build_error(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    fn record(&self, access: impl FnOnce() -> Access, digest: impl FnOnce() -> String) {
        lock(&self.accesses).add(access(), digest);
    }

    fn place(&self, path: &Path) -> Result<Place, WorldError> {
        let text = path.to_str();
        if let Some(text) = text
            && library::holds(text)
        {
            return Ok(Place::Library(text.to_owned()));
        }
        if let Some(text) = text
            && self.store.dir().contains(text)
            && let Some((base, _)) = self.store.dir().split(text)
        {
            self.ensure(base)?;
            if self.store.is_valid(base) {
                return Ok(Place::Store(self.store.physical(text)));
            }
        }
        Ok(Place::Host(path.to_path_buf()))
    }

    /// Writes a source that evaluation made to the store, now that evaluation looks into it.
    fn ensure(&self, base: &str) -> Result<(), WorldError> {
        if self.store.is_valid(base) {
            return Ok(());
        }
        let graph = lock(&self.graph);
        if !graph.sources.contains_key(base) {
            return Ok(());
        }
        add_source(&self.store, &graph, base, base).map_err(|error| WorldError::new(chain(&error)))
    }

}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What the system said, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn io(error: std::io::Error) -> WorldError {
    WorldError::new(reason(&error))
}

fn kind_of(meta: &fs::Metadata) -> FileKind {
    let kind = meta.file_type();
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else if kind.is_file() {
        FileKind::Regular { is_executable: meta.permissions().mode() & 0o100 != 0 }
    } else {
        FileKind::Other
    }
}

fn not_found() -> WorldError {
    WorldError::new("no such file or directory")
}

impl World for HostWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, WorldError> {
        match self.place(path)? {
            Place::Library(path) => match library::file(&path) {
                Some(content) => Ok(content.to_vec()),
                None if library::dir(&path).is_some() => Err(WorldError::new("is a directory")),
                None => Err(not_found()),
            },
            Place::Store(_) => {
                let place = path.to_str().and_then(|text| self.store.resolve(text)).ok_or_else(not_found)?;
                fs::read(place).map_err(io)
            }
            Place::Host(path) => {
                let content = fs::read(&path);
                self.record(|| Access::File(path.clone()), || accesses::file_digest(content.as_deref().ok()));
                content.map_err(io)
            }
        }
    }

    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        let (place, is_host) = match self.place(path)? {
            Place::Library(path) => {
                return Ok(library::kind(&path));
            }
            Place::Store(place) => (place, false),
            Place::Host(place) => (place, true),
        };
        let kind = match fs::symlink_metadata(&place) {
            Ok(meta) => Ok(Some(kind_of(&meta))),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(io(error)),
        };
        if is_host {
            self.record(|| Access::Kind(place.clone()), || accesses::kind_digest(&place));
        }
        kind
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, WorldError> {
        let place = match self.place(path)? {
            Place::Library(_) => return Err(WorldError::new("not a symbolic link")),
            Place::Store(place) => place,
            Place::Host(place) => {
                self.record(|| Access::Link(place.clone()), || accesses::link_digest(&place));
                place
            }
        };
        fs::read_link(place).map_err(io)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        let place = match self.place(path)? {
            Place::Library(path) => {
                return library::dir(&path).ok_or_else(not_found);
            }
            Place::Store(_) => path.to_str().and_then(|text| self.store.resolve(text)).ok_or_else(not_found)?,
            Place::Host(place) => {
                self.record(|| Access::Dir(place.clone()), || accesses::dir_digest(&place));
                place
            }
        };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&place).map_err(io)? {
            let entry = entry.map_err(io)?;
            let meta = fs::symlink_metadata(entry.path()).map_err(io)?;
            entries.push((entry.file_name().into_vec(), kind_of(&meta)));
        }
        Ok(entries)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        let value = self.env.get(name).cloned();
        self.record(|| Access::Env(name.to_vec()), || accesses::bytes_digest(value.as_deref()));
        value
    }

    fn current_time(&self) -> i64 {
        lock(&self.accesses).is_volatile = true;
        self.time
    }

    fn message(&self, kind: MessageKind, text: &str) {
        match kind {
            MessageKind::Trace => self.progress.event(Event::Trace(text)),
            MessageKind::Warning => {
                lock(&self.warnings).push(text.to_owned());
                self.progress.event(Event::Warning(text));
            }
        }
    }

    fn store_derivation(&self, path: &str, bytes: &[u8], _references: &[String]) -> Result<(), WorldError> {
        let mut graph = lock(&self.graph);
        if !graph.drvs.contains_key(path) {
            let drv = Derivation::parse(bytes).map_err(|error| WorldError::new(format!("the derivation {path} cannot be read back: {error}")))?;
            graph.drvs.insert(path.to_owned(), Arc::new(drv));
        }
        Ok(())
    }

    fn store_text(&self, path: &str, bytes: &[u8], references: &[String]) -> Result<(), WorldError> {
        lock(&self.graph)
            .sources
            .entry(path.to_owned())
            .or_insert_with(|| Source::Text(bytes.into(), references.iter().cloned().collect()));
        Ok(())
    }

    fn store_archive(&self, path: &str, nar: &[u8]) -> Result<(), WorldError> {
        lock(&self.graph).sources.entry(path.to_owned()).or_insert_with(|| Source::Archive(nar.into()));
        Ok(())
    }

    fn realise(&self, drvs: &[(&str, Vec<&str>)]) -> Result<(), WorldError> {
        let names: Vec<&str> = drvs.iter().map(|(path, _)| *path).collect();
        let Some(builder) = self.builder.get() else {
            return Err(WorldError::new(format!("nothing can be built during evaluation here: {}", names.join(", "))));
        };
        let graph = self.graph();
        builder(&graph, &names).map_err(|error| {
            let told = WorldError::new(chain(&error));
            *lock(&self.failure) = Some(error);
            told
        })
    }

    fn is_valid_path(&self, path: &str) -> bool {
        self.ensure(path).is_ok() && self.store.is_valid(path)
    }

    fn physical_path(&self, path: &Path) -> PathBuf {
        match path.to_str().map(|text| (text, self.store.dir().split(text))) {
            Some((text, Some((base, _)))) if self.store.is_valid(base) => self.store.physical(text),
            _ => path.to_path_buf(),
        }
    }

    fn fetch_url(&self, url: &str) -> Result<Vec<u8>, WorldError> {
        let Some(fetcher) = self.fetcher.get() else {
            return Err(WorldError::new(format!("cannot download {url} here")));
        };
        lock(&self.accesses).is_volatile = true;
        fetcher(url).map_err(WorldError::new)
    }
}

/// The environment of the process, as a world takes it.
#[must_use]
pub fn environment(vars: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    vars.map(|(name, value)| (name.as_bytes().to_vec(), value.into_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn world(root: &Path) -> HostWorld {
        let env = BTreeMap::from([(b"A".to_vec(), b"1".to_vec())]);
        HostWorld::new(Arc::new(Store::open(&root.join("store"))), env, 0, Arc::new(nbv_store::Quiet))
    }

    #[test]
    fn the_library_is_there_and_is_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path());
        assert_eq!(world.file_kind(Path::new("/nixpkgs/lib")).unwrap(), Some(FileKind::Directory));
        assert!(!world.read_file(Path::new("/nixpkgs/lib/default.nix")).unwrap().is_empty());
        assert!(world.read_dir(Path::new("/nixpkgs")).unwrap().iter().any(|(name, _)| name == b"lib"));
        assert_eq!(world.file_kind(Path::new("/nixpkgs/none")).unwrap(), None);
        assert!(world.accesses().is_same());
        assert_eq!(world.accesses().len(), 0);
    }

    #[test]
    fn each_answer_of_the_host_is_checked_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let changes: [(&str, &dyn Fn(&HostWorld), &dyn Fn()); 4] = [
            ("file", &|w| { w.read_file(&at("file")).unwrap(); }, &|| fs::write(at("file"), "2").unwrap()),
            ("absent", &|w| assert_eq!(w.file_kind(&at("absent")).unwrap(), None), &|| fs::write(at("absent"), "").unwrap()),
            ("dir", &|w| { w.read_dir(&at("dir")).unwrap(); }, &|| fs::write(at("dir/new"), "").unwrap()),
            ("link", &|w| { w.read_link(&at("link")).unwrap(); }, &|| {
                fs::remove_file(at("link")).unwrap();
                std::os::unix::fs::symlink("b", at("link")).unwrap();
            }),
        ];
        fs::write(at("file"), "1").unwrap();
        fs::create_dir(at("dir")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        for (name, look, change) in changes {
            let world = world(dir.path());
            look(&world);
            assert!(world.accesses().is_same(), "{name}");
            change();
            assert!(!world.accesses().is_same(), "{name}");
        }
    }

    #[test]
    fn what_evaluation_stores_is_read_back_from_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path());
        let path = world.store.dir().text_path("t", b"hello", &BTreeSet::new()).unwrap();
        assert!(!world.is_valid_path(&path));
        world.store_text(&path, b"hello", &[]).unwrap();
        assert_eq!(world.read_file(Path::new(&path)).unwrap(), b"hello");
        assert!(world.is_valid_path(&path));
        assert_eq!(world.accesses().len(), 0);
    }

    #[test]
    fn time_is_never_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path());
        assert_eq!(world.env(b"A"), Some(b"1".to_vec()));
        assert!(!world.accesses().is_volatile);
        world.current_time();
        assert!(world.accesses().is_volatile);
    }
}
