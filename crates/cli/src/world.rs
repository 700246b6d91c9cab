//! The world of the persona `nix-instantiate`: the file system as it is, a store folder that is written as C++ Nix writes it, and what this
//! run put in the store.
//!
//! It differs from the world of the main command on purpose: nothing is recorded for caches, and the store may be any folder
//! (`NIX_STORE_DIR`), or none (`NIX_REMOTE=dummy://`, `--readonly-mode`). Only this program's own store is built in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use nbv_eval::{FileKind, GitRequest, GitTree, MessageKind, World, WorldError};
use nbv_nix_formats::nar::{self, Node};
use nbv_nix_formats::{Derivation, StoreDir};
use nbv_store::{Graph, Source, Store};

/// Bytes that a download may have at most.
const MAX_DOWNLOAD: u64 = 1 << 30;

/// What this run put in the store.
enum Object {
    /// A file (a derivation or a text) and what it refers to.
    Text(Vec<u8>, Vec<String>),
    /// An archive.
    Archive(Vec<u8>),
    /// An archive that was looked into.
    Tree(Node),
}

/// Makes derivations of a graph in a store.
pub(crate) type Build = Box<dyn Fn(&Arc<Store>, &Graph, &[&str]) -> Result<(), nbv_realise::Error> + Send + Sync>;

/// Who builds what evaluation reads.
pub(crate) enum Builds {
    /// This program, in its own store.
    Here(Arc<Store>, Build),
    /// Nobody: why, and what to do.
    Refused(&'static str, &'static str),
}

pub(crate) struct FileWorld {
    builds: Builds,
    store: StoreDir,
    /// Where the store's objects are on disk.
    physical: PathBuf,
    /// Folder that relative entries of the search path start from.
    cwd: PathBuf,
    objects: Mutex<BTreeMap<String, Object>>,
    now: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn reason(e: &std::io::Error) -> WorldError {
    let text = e.to_string();
    WorldError::new(text.split(" (os error").next().unwrap_or(&text).to_lowercase())
}

fn kind_of(meta: &std::fs::Metadata) -> FileKind {
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

impl FileWorld {
    pub(crate) fn new(store: StoreDir, physical: PathBuf, cwd: PathBuf, builds: Builds) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self { builds, store, physical, cwd, objects: Mutex::default(), now: i64::try_from(now).unwrap_or(0) }
    }

    /// Writes what this run put in the store to disk. Objects that are there already are left alone.
    pub(crate) fn write_store(&self) -> std::io::Result<()> {
        let objects = lock(&self.objects);
        if objects.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.physical)?;
        for (path, object) in objects.iter() {
            let Ok(base) = self.store.base_name(path) else { continue };
            let target = self.physical.join(base);
            if std::fs::symlink_metadata(&target).is_ok() {
                continue;
            }
            // Made beside its place and renamed, so that nobody sees a part of it.
            let part = self.physical.join(format!(".part-{}-{base}", std::process::id()));
            let made = match object {
                Object::Text(text, _) => std::fs::File::create(&part).and_then(|mut f| f.write_all(text)),
                Object::Archive(archive) => nar::unpack(&mut archive.as_slice(), &part),
                Object::Tree(node) => {
                    let mut archive = Vec::new();
                    node.dump(&mut archive).and_then(|()| nar::unpack(&mut archive.as_slice(), &part))
                }
            };
            let made = made.and_then(|()| settle(&part)).and_then(|()| std::fs::rename(&part, &target));
            if let Err(e) = made {
                let _ = std::fs::remove_dir_all(&part).or_else(|_| std::fs::remove_file(&part));
                return Err(std::io::Error::new(e.kind(), format!("{}: {e}", target.display())));
            }
        }
        Ok(())
    }

    /// Runs `f` on the node of an object of this run, if `path` is in one.
    fn in_memory<T>(&self, path: &Path, f: impl FnOnce(Option<Found<'_>>) -> T) -> Option<T> {
        let text = path.to_str()?;
        let (base, rest) = self.store.split(text)?;
        let mut objects = lock(&self.objects);
        let object = objects.get_mut(base)?;
        if let Object::Archive(archive) = object
            && let Ok(node) = nar::parse(&mut archive.as_slice())
        {
            *object = Object::Tree(node);
        }
        let mut found = match &*object {
            Object::Text(text, _) => Some(Found::Text(text)),
            Object::Tree(node) => Some(Found::Node(node)),
            Object::Archive(_) => None,
        };
        for name in rest.split('/').filter(|n| !n.is_empty()) {
            found = match found {
                Some(Found::Node(Node::Directory(entries))) => entries.get(name.as_bytes()).map(Found::Node),
                _ => None,
            };
        }
        Some(f(found))
    }

    fn on_disk(&self, path: &Path) -> PathBuf {
        if let Some(text) = path.to_str()
            && let Some(rest) = text.strip_prefix(self.store.as_str())
            && let Some(rest) = rest.strip_prefix('/')
        {
            let there = self.physical.join(rest);
            if there.symlink_metadata().is_ok() {
                return there;
            }
            // A link on the way leads to a place that this store has elsewhere.
            if let Builds::Here(store, _) = &self.builds
                && let Some((folder, name)) = text.rsplit_once('/')
                && rest.contains('/')
                && let Some(folder) = store.resolve(folder)
            {
                return folder.join(name);
            }
        }
        path.to_path_buf()
    }

    /// The derivations that making `roots` takes, with their sources, of this run and of the store.
    fn graph(&self, store: &Store, roots: &[&str]) -> Result<Graph, WorldError> {
        let mut graph = Graph::default();
        let mut todo: Vec<String> = roots.iter().map(|r| (*r).to_owned()).collect();
        let mut sources: Vec<String> = Vec::new();
        while let Some(path) = todo.pop() {
            if graph.drvs.contains_key(&path) {
                continue;
            }
            let text = self.read_file(Path::new(&path)).map_err(|e| WorldError::new(format!("cannot read {path}: {}", e.message)))?;
            let drv = Derivation::parse(&text).map_err(|e| WorldError::new(format!("cannot read {path}: {e}")))?;
            todo.extend(drv.input_drvs.keys().cloned());
            sources.extend(drv.input_srcs.iter().cloned());
            graph.drvs.insert(path, Arc::new(drv));
        }
        while let Some(path) = sources.pop() {
            if graph.sources.contains_key(&path) || store.is_valid(&path) {
                continue;
            }
            let source = match lock(&self.objects).get(&path) {
                Some(Object::Text(text, references)) => {
                    sources.extend(references.iter().cloned());
                    Some(Source::Text(text.as_slice().into(), references.iter().cloned().collect::<BTreeSet<_>>()))
                }
                Some(Object::Archive(archive)) => Some(Source::Archive(archive.as_slice().into())),
                Some(Object::Tree(node)) => {
                    let mut archive = Vec::new();
                    node.dump(&mut archive).map_err(|e| reason(&e))?;
                    Some(Source::Archive(archive.into()))
                }
                None => Some(self.on_disk(Path::new(&path))).filter(|p| p.symlink_metadata().is_ok()).map(Source::Copy),
            };
            if let Some(source) = source {
                graph.sources.insert(path, source);
            }
        }
        Ok(graph)
    }
}

enum Found<'a> {
    Text(&'a [u8]),
    Node(&'a Node),
}

/// Modes and times as objects of a store have them: read only, one second after 1970.
fn settle(path: &Path) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            settle(&entry?.path())?;
        }
    }
    if !meta.is_symlink() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        std::fs::File::open(path)?.set_times(std::fs::FileTimes::new().set_modified(time).set_accessed(time))?;
        let mode = if meta.is_dir() || meta.permissions().mode() & 0o100 != 0 { 0o555 } else { 0o444 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn node_kind(node: &Node) -> FileKind {
    match node {
        Node::Regular { executable, .. } => FileKind::Regular { is_executable: *executable },
        Node::Symlink { .. } => FileKind::Symlink,
        Node::Directory(_) => FileKind::Directory,
    }
}

/// The path below the embedded library, which stands at `/nixpkgs` unless the host has something there.
fn library(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    nbv_nixlib::relative(text)?;
    (!Path::new(nbv_nixlib::ROOT).exists()).then_some(text)
}

fn library_kind(kind: nbv_nixlib::Kind) -> FileKind {
    match kind {
        nbv_nixlib::Kind::File => FileKind::Regular { is_executable: false },
        nbv_nixlib::Kind::Dir => FileKind::Directory,
    }
}

impl World for FileWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, WorldError> {
        if let Some(path) = library(path) {
            return nbv_nixlib::file(path).map(<[u8]>::to_vec).ok_or_else(|| WorldError::new("no such file"));
        }
        let inside = self.in_memory(path, |found| match found {
            Some(Found::Text(text)) => Ok(text.to_vec()),
            Some(Found::Node(Node::Regular { content, .. })) => Ok(content.clone()),
            Some(Found::Node(_)) => Err(WorldError::new("it is not a regular file")),
            None => Err(WorldError::new("no such file or directory")),
        });
        inside.unwrap_or_else(|| std::fs::read(self.on_disk(path)).map_err(|e| reason(&e)))
    }

    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        if let Some(path) = library(path) {
            return Ok(nbv_nixlib::kind(path).map(library_kind));
        }
        let inside = self.in_memory(path, |found| {
            found.map(|found| match found {
                Found::Text(_) => FileKind::Regular { is_executable: false },
                Found::Node(node) => node_kind(node),
            })
        });
        if let Some(kind) = inside {
            return Ok(kind);
        }
        match std::fs::symlink_metadata(self.on_disk(path)) {
            Ok(meta) => Ok(Some(kind_of(&meta))),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(reason(&e)),
        }
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, WorldError> {
        let inside = self.in_memory(path, |found| match found {
            Some(Found::Node(Node::Symlink { target })) => Ok(PathBuf::from(OsStr::from_bytes(target))),
            _ => Err(WorldError::new("it is not a symbolic link")),
        });
        inside.unwrap_or_else(|| std::fs::read_link(self.on_disk(path)).map_err(|e| reason(&e)))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        if let Some(path) = library(path) {
            let entries = nbv_nixlib::dir(path).ok_or_else(|| WorldError::new("it is not a folder"))?;
            return Ok(entries.iter().map(|(name, kind)| (name.as_bytes().to_vec(), library_kind(*kind))).collect());
        }
        let inside = self.in_memory(path, |found| match found {
            Some(Found::Node(Node::Directory(entries))) => {
                Ok(entries.iter().map(|(name, node)| (name.to_vec(), node_kind(node))).collect())
            }
            _ => Err(WorldError::new("it is not a folder")),
        });
        if let Some(entries) = inside {
            return entries;
        }
        let mut out = Vec::new();
        for entry in std::fs::read_dir(self.on_disk(path)).map_err(|e| reason(&e))? {
            let entry = entry.map_err(|e| reason(&e))?;
            let meta = entry.metadata().map_err(|e| reason(&e))?;
            out.push((entry.file_name().into_vec(), kind_of(&meta)));
        }
        Ok(out)
    }

    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        self.cwd.join(OsStr::from_bytes(path)).into_os_string().into_vec()
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        std::env::var_os(OsStr::from_bytes(name)).map(OsStringExt::into_vec)
    }

    fn current_time(&self) -> i64 {
        self.now
    }

    fn message(&self, kind: MessageKind, text: &str) {
        match kind {
            MessageKind::Trace => eprintln!("trace: {text}"),
            MessageKind::Warning => eprintln!("evaluation warning: {text}"),
        }
    }

    fn store_derivation(&self, path: &str, bytes: &[u8], references: &[String]) -> Result<(), WorldError> {
        lock(&self.objects).entry(path.to_owned()).or_insert_with(|| Object::Text(bytes.to_vec(), references.to_vec()));
        Ok(())
    }

    fn store_text(&self, path: &str, bytes: &[u8], references: &[String]) -> Result<(), WorldError> {
        self.store_derivation(path, bytes, references)
    }

    fn store_archive(&self, path: &str, nar: &[u8]) -> Result<(), WorldError> {
        lock(&self.objects).entry(path.to_owned()).or_insert_with(|| Object::Archive(nar.to_vec()));
        Ok(())
    }

    fn is_valid_path(&self, path: &str) -> bool {
        lock(&self.objects).contains_key(path)
            || self.store.base_name(path).is_ok_and(|base| self.physical.join(base).symlink_metadata().is_ok())
    }

    fn realise(&self, drvs: &[(&str, Vec<&str>)]) -> Result<(), WorldError> {
        let (store, build) = match &self.builds {
            Builds::Here(store, build) => (store, build),
            Builds::Refused(why, hint) => {
                return Err(WorldError::new(format!("`{}` is not built, {why}", drvs.first().map_or("", |d| d.0))).hint(*hint));
            }
        };
        let roots: Vec<&str> = drvs.iter().map(|(path, _)| *path).collect();
        let graph = self.graph(store, &roots)?;
        for (path, outputs) in drvs {
            if let Some(missing) = outputs.iter().find(|o| graph.output(path, o).is_none()) {
                return Err(WorldError::new(format!("`{path}` has no output `{missing}`")));
            }
        }
        build(store, &graph, &roots).map_err(|error| {
            let mut told = WorldError::new(error.to_string());
            for diagnostic in error.diagnostics {
                told.notes.extend(diagnostic.notes);
                told.hints.extend(diagnostic.hints);
            }
            told
        })
    }

    fn references(&self, path: &str) -> Vec<String> {
        match &self.builds {
            Builds::Here(store, _) => store.info(path).map(|info| info.references.iter().cloned().collect()).unwrap_or_default(),
            Builds::Refused(..) => Vec::new(),
        }
    }

    fn physical_path(&self, path: &Path) -> PathBuf {
        self.on_disk(path)
    }

    fn fetch_url(&self, url: &str) -> Result<Vec<u8>, WorldError> {
        let failed = |e: ureq::Error| WorldError::new(e.to_string());
        let mut response = ureq::get(url).call().map_err(failed)?;
        response.body_mut().with_config().limit(MAX_DOWNLOAD).read_to_vec().map_err(failed)
    }

    fn fetch_git(&self, request: &GitRequest) -> Result<GitTree, WorldError> {
        crate::git::fetch(request)
    }
}
