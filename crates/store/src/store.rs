//! The store's folder: places of paths, validity, adding.

use crate::error::{Result, StoreError};
use crate::lock::{Lock, Wait};
use crate::registry::PathInfo;
use crate::session::Session;
use crate::{scan, tree};
use nbv_nix_formats::StoreDir;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

/// A store on disk. Made lazily: opening writes nothing.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    dir: StoreDir,
    /// Paths found valid by this process. They stay so: a session keeps the collector away.
    known: RwLock<HashMap<String, Arc<PathInfo>>>,
    session: Mutex<Option<Arc<Session>>>,
}

impl Store {
    /// The store whose physical place is `root/nix/store`; `root` is absolute. With root `/` it is `/nix/store` itself.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        Self { root: root.to_path_buf(), dir: StoreDir::default(), known: RwLock::default(), session: Mutex::default() }
    }

    /// The logical store folder.
    #[must_use]
    pub fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// Where the setting `store` put it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The physical store folder.
    #[must_use]
    pub fn physical_dir(&self) -> PathBuf {
        self.root.join("nix/store")
    }

    /// `ROOT/nix/var/nbv`.
    #[must_use]
    pub fn var(&self) -> PathBuf {
        self.root.join("nix/var/nbv")
    }

    /// The physical place of a logical path in the store, of its files too; other paths stay as they are.
    #[must_use]
    pub fn physical(&self, logical: &str) -> PathBuf {
        match logical.strip_prefix(self.dir.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                self.physical_dir().join(rest.trim_start_matches('/'))
            }
            _ => PathBuf::from(logical),
        }
    }

    /// The logical path of a physical one, when it is in this store.
    #[must_use]
    pub fn logical(&self, physical: &Path) -> Option<String> {
        let rest = physical.strip_prefix(self.physical_dir()).ok()?.to_str()?;
        Some(if rest.is_empty() { self.dir.as_str().to_owned() } else { format!("{}/{rest}", self.dir.as_str()) })
    }

    /// Follows symbolic links as they would be followed where the logical store is mounted. Nothing when the path leads out
    /// of the store or nowhere.
    #[must_use]
    pub fn resolve(&self, logical: &str) -> Option<PathBuf> {
        let mut rest: Vec<String> = components(logical);
        let mut at: Vec<String> = Vec::new();
        let depth = self.dir.as_str().split('/').filter(|c| !c.is_empty()).count();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == ".." {
                at.pop();
                continue;
            }
            at.push(component);
            if at.len() <= depth {
                continue;
            }
            let path = format!("/{}", at.join("/"));
            if !self.dir.contains(&path) {
                return None;
            }
            let physical = self.physical(&path);
            if let Ok(target) = fs::read_link(&physical) {
                links += 1;
                if links > 40 {
                    return None;
                }
                let target = target.to_str()?.to_owned();
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                rest.extend(components(&target));
            }
        }
        let path = format!("/{}", at.join("/"));
        let physical = self.dir.contains(&path).then(|| self.physical(&path))?;
        physical.symlink_metadata().is_ok().then_some(physical)
    }

    /// What is known of a path, if it is valid.
    pub fn info(&self, path: &str) -> Option<Arc<PathInfo>> {
        if let Some(info) = self.known.read().unwrap_or_else(|e| e.into_inner()).get(path) {
            return Some(info.clone());
        }
        let base = self.dir.base_name(path).ok()?;
        let text = fs::read_to_string(self.var().join("info").join(base)).ok()?;
        let info = Arc::new(PathInfo::parse(&text)?);
        fs::symlink_metadata(self.physical(path)).ok()?;
        self.known.write().unwrap_or_else(|e| e.into_inner()).insert(path.to_owned(), info.clone());
        Some(info)
    }

    /// Whether a path is there, whole.
    #[must_use]
    pub fn is_valid(&self, path: &str) -> bool {
        self.info(path).is_some()
    }

    /// The paths that `roots` reach by references, themselves included.
    ///
    /// # Errors
    /// One of them is not valid.
    pub fn closure<'a>(&self, roots: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>> {
        let mut closure: BTreeSet<String> = BTreeSet::new();
        let mut todo: Vec<String> = roots.into_iter().map(str::to_owned).collect();
        while let Some(path) = todo.pop() {
            if closure.contains(&path) {
                continue;
            }
            let info = self.info(&path).ok_or_else(|| StoreError::Missing(path.clone()))?;
            todo.extend(info.references.iter().filter(|r| !closure.contains(*r)).cloned());
            closure.insert(path);
        }
        Ok(closure)
    }

    /// Begins to write: makes the folders, keeps the collector away. Called by everything that adds; calling it before
    /// reading validity keeps what was found valid from being collected.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn begin(&self) -> Result<()> {
        self.session().map(drop)
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>> {
        let mut slot = self.session.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(session) = &*slot {
            return Ok(session.clone());
        }
        let var = self.var();
        for dir in [self.physical_dir(), var.join("info"), var.join("locks"), var.join("tmp"), var.join("gcroots")] {
            fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        }
        let session = Arc::new(Session::begin(&var)?);
        *slot = Some(session.clone());
        Ok(session)
    }

    /// A path in the temporary folder that nothing uses yet; it is removed when the process ends.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn temporary(&self, name: &str) -> Result<PathBuf> {
        Ok(self.session()?.fresh(name))
    }

    /// Takes the lock of a path; nothing when another has it and `wait` forbids to wait.
    pub(crate) fn lock(&self, path: &str, wait: Wait) -> Result<Option<Lock>> {
        self.session()?;
        let base = self.dir.base_name(path).map_err(|_| StoreError::NotStorePath(path.to_owned()))?;
        Lock::take(&self.var().join("locks").join(base), wait)
    }

    /// Puts what was made at `made` in place and registers it: canonical form, references among `candidates` (unless the
    /// maker says them), rename, registration. The caller holds the path's lock.
    pub(crate) fn commit(&self, path: &str, made: &Path, references: References<'_>, deriver: Option<&str>) -> Result<Arc<PathInfo>> {
        tree::canonicalise(made)?;
        let references = match references {
            References::Known(references) => references,
            References::Among(candidates) => scan(made, candidates.iter().map(String::as_str).chain([path]))?,
        };
        let place = self.physical(path);
        // What stands there without registration was left by a kill between the two renames below.
        tree::remove_tree(&place)?;
        fs::rename(made, &place).map_err(StoreError::io("create", &place))?;
        tree::seal(&place)?;
        let info = Arc::new(PathInfo { deriver: deriver.map(str::to_owned), references });
        self.register(path, &info)?;
        Ok(info)
    }

    fn register(&self, path: &str, info: &Arc<PathInfo>) -> Result<()> {
        let base = self.dir.base_name(path).map_err(|_| StoreError::NotStorePath(path.to_owned()))?;
        let made = self.session()?.fresh("info");
        fs::write(&made, info.to_text()).map_err(StoreError::io("write", &made))?;
        let place = self.var().join("info").join(base);
        fs::rename(&made, &place).map_err(StoreError::io("create", &place))?;
        self.known.write().unwrap_or_else(|e| e.into_inner()).insert(path.to_owned(), info.clone());
        Ok(())
    }

    /// Adds what `make` makes at the path that it is given, unless it is there already. `references` are the paths that
    /// may be named in it.
    ///
    /// # Errors
    /// Those of `make`; the store cannot be written.
    pub fn add_with(&self, path: &str, references: &BTreeSet<String>, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.is_valid(path) {
            return Ok(());
        }
        let _lock = self.lock(path, Wait::Forever)?;
        if self.is_valid(path) {
            return Ok(());
        }
        let base = self.dir.base_name(path).map_err(|_| StoreError::NotStorePath(path.to_owned()))?;
        let made = self.session()?.fresh(base);
        let done = make(&made).and_then(|()| self.commit(path, &made, References::Among(references), None));
        if done.is_err() {
            let _ = tree::remove_tree(&made);
        }
        done.map(drop)
    }

    /// Adds a text file at its path (which [`StoreDir::text_path`] gives); it may name `references`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_text(&self, path: &str, text: &[u8], references: &BTreeSet<String>) -> Result<()> {
        self.add_with(path, references, |to| write_file(to, text, 0o644))
    }

    /// Adds a copy of a file or folder of the host at its path.
    ///
    /// # Errors
    /// It cannot be read; the store cannot be written.
    pub fn add_copy(&self, path: &str, from: &Path) -> Result<()> {
        self.add_with(path, &BTreeSet::new(), |to| tree::copy(from, to))
    }

    /// Makes `link` a symbolic link to the physical place of a valid path and a garbage root. A link that is there is
    /// replaced, by one rename; anything else is left alone.
    ///
    /// # Errors
    /// Something that is no link stands there; the folder cannot be written.
    pub fn link_root(&self, link: &Path, path: &str) -> Result<()> {
        self.session()?;
        let target = self.physical(path);
        if !fs::read_link(link).is_ok_and(|now| now == target) {
            replace_link(link, &target)?;
        }
        let roots = self.var().join("gcroots");
        let digest = nbv_nix_formats::hash::sha256(link.as_os_str().as_encoded_bytes());
        let root = roots.join(nbv_nix_formats::nix32::encode(&digest[..20]));
        if fs::read_link(&root).is_ok_and(|now| now == link) {
            return Ok(());
        }
        replace_link(&root, link)
    }
}

/// How the references of a new path are known.
#[derive(Debug)]
pub(crate) enum References<'a> {
    /// Its maker says them.
    Known(BTreeSet<String>),
    /// By looking for these in it.
    Among(&'a BTreeSet<String>),
}

fn components(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|c| !c.is_empty() && *c != ".").map(str::to_owned).collect()
}

/// Makes a symbolic link, or changes one, by one rename.
fn replace_link(link: &Path, target: &Path) -> Result<()> {
    match fs::symlink_metadata(link) {
        Ok(meta) if !meta.is_symlink() => {
            return Err(StoreError::io("replace", link)(io::Error::new(io::ErrorKind::AlreadyExists, "it is not a symbolic link")));
        }
        _ => {}
    }
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push(format!(".nbv-{}", std::process::id()));
    let fresh = link.with_file_name(name);
    let _ = fs::remove_file(&fresh);
    std::os::unix::fs::symlink(target, &fresh).map_err(StoreError::io("create", link))?;
    fs::rename(&fresh, link).map_err(|error| {
        let _ = fs::remove_file(&fresh);
        StoreError::io("create", link)(error)
    })
}

/// Writes a new file.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(StoreError::io("create", path))?;
    io::Write::write_all(&mut file, content).map_err(StoreError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_path(store: &Store, text: &str) -> String {
        store.dir().text_path("t", text.as_bytes(), &BTreeSet::new()).unwrap()
    }

    #[test]
    fn added_text_is_valid_for_others_too_and_leaves_no_temporary_file() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = text_path(&store, "hello");
        assert!(!store.is_valid(&path));
        store.add_text(&path, b"hello", &BTreeSet::new()).unwrap();
        let other = Store::open(root.path());
        assert!(other.is_valid(&path));
        assert_eq!(fs::read_to_string(other.physical(&path)).unwrap(), "hello");
        drop(store);
        assert_eq!(fs::read_dir(root.path().join("nix/var/nbv/tmp")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(root.path().join("nix/var/nbv/locks")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_kill_left_between_the_renames_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = text_path(&store, "hello");
        fs::create_dir_all(store.physical(&path).join("half")).unwrap();
        assert!(!store.is_valid(&path));
        store.add_text(&path, b"hello", &BTreeSet::new()).unwrap();
        assert_eq!(fs::read_to_string(store.physical(&path)).unwrap(), "hello");
    }

    #[test]
    fn a_registration_without_its_path_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = text_path(&store, "hello");
        store.add_text(&path, b"hello", &BTreeSet::new()).unwrap();
        drop(store);
        let store = Store::open(root.path());
        tree::remove_tree(&store.physical(&path)).unwrap();
        assert!(!store.is_valid(&path));
    }

    #[test]
    fn a_failed_maker_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = text_path(&store, "hello");
        let error = store.add_with(&path, &BTreeSet::new(), |to| {
            fs::create_dir(to).unwrap();
            fs::write(to.join("half"), "x").unwrap();
            Err(StoreError::Full { path: to.to_path_buf() })
        });
        assert!(error.unwrap_err().is_full());
        assert!(!store.is_valid(&path) && !store.physical(&path).exists());
        let left: Vec<_> = fs::read_dir(store.var().join("tmp")).unwrap().flatten().filter(|e| e.path().is_dir()).collect();
        assert_eq!(fs::read_dir(left[0].path()).unwrap().count(), 0);
    }

    #[test]
    fn the_folder_of_a_dead_process_is_cleared_and_that_of_a_live_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let live = Store::open(root.path());
        let kept = live.temporary("kept").unwrap();
        fs::write(&kept, "x").unwrap();
        let dead = live.var().join("tmp/999999-0");
        fs::create_dir_all(dead.join("x")).unwrap();
        Store::open(root.path()).begin().unwrap();
        assert!(kept.exists() && !dead.exists());
    }

    #[test]
    fn links_are_followed_within_the_logical_store_only() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let (a, b) = (text_path(&store, "a"), text_path(&store, "b"));
        let refs = BTreeSet::from([b.clone()]);
        store.add_with(&b, &BTreeSet::new(), |to| {
            fs::create_dir(to).unwrap();
            write_file(&to.join("file"), b"found", 0o644)
        }).unwrap();
        store.add_with(&a, &refs, |to| {
            fs::create_dir(to).unwrap();
            std::os::unix::fs::symlink(&b, to.join("in")).unwrap();
            std::os::unix::fs::symlink("/usr", to.join("out")).unwrap();
            std::os::unix::fs::symlink("loop", to.join("loop")).unwrap();
            Ok(())
        }).unwrap();
        assert_eq!(fs::read_to_string(store.resolve(&format!("{a}/in/file")).unwrap()).unwrap(), "found");
        assert_eq!(store.resolve(&format!("{a}/out/bin")), None);
        assert_eq!(store.resolve(&format!("{a}/loop")), None);
        assert_eq!(store.closure([a.as_str()]).unwrap(), BTreeSet::from([a, b]));
    }

    #[test]
    fn a_root_link_replaces_links_only() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path());
        let path = text_path(&store, "hello");
        store.add_text(&path, b"hello", &BTreeSet::new()).unwrap();
        let link = root.path().join("result");
        std::os::unix::fs::symlink("/elsewhere", &link).unwrap();
        store.link_root(&link, &path).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "hello");
        fs::remove_file(&link).unwrap();
        fs::write(&link, "precious").unwrap();
        assert!(store.link_root(&link, &path).is_err());
        assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    }
}
