//! The archive as a whole: mirror, indices, package files, each kept in the cache by hash.

use crate::deb::read_limited;
use crate::error::{DebianError, Result};
use crate::files::{self, NewFile};
use crate::http::{Client, Expected};
use crate::index::Index;
use crate::lock::{Pin, SystemLock};
use crate::mirror;
use crate::progress::{Event, Progress};
use crate::release::Release;
use crate::resolve::{Conflict, resolve};
use crate::system::System;
use std::collections::{BTreeSet, HashMap};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Most bytes that an index may unpack to; that of Debian's largest suite has about 60 MiB.
const MAX_INDEX: u64 = 1 << 30;

/// How an archive is reached and where its files are kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of a mirror, such as "http://host/debian"; None: found on this host.
    pub mirror: Option<String>,
    /// Folder of the cache; made when needed. Several processes may share it.
    pub cache: PathBuf,
    /// Parallel connections.
    pub connections: usize,
    /// An index younger than this is not asked for again.
    pub max_age: Duration,
    /// apt's configuration: "/etc/apt".
    pub apt: PathBuf,
    /// debootstrap's scripts: "/usr/share/debootstrap/scripts".
    pub debootstrap: PathBuf,
}

impl Config {
    /// Defaults for a cache folder: 12 connections, an index a day.
    pub fn new(cache: impl Into<PathBuf>) -> Config {
        Config {
            mirror: None,
            cache: cache.into(),
            connections: 12,
            max_age: Duration::from_secs(86_400),
            apt: "/etc/apt".into(),
            debootstrap: "/usr/share/debootstrap/scripts".into(),
        }
    }
}

/// The exact packages of one layer.
#[derive(Clone, Debug)]
pub struct Selection {
    pub system: &'static System,
    pub lock: SystemLock,
    /// Empty when the set came from a lock.
    pub conflicts: Vec<Conflict>,
}

type Slot = Arc<Mutex<Option<Arc<Index>>>>;

/// Debian's archive. Cheap to make: nothing is fetched before it is needed. Shared by threads.
pub struct Archive {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) progress: Arc<dyn Progress>,
    mirror: OnceLock<String>,
    finding: Mutex<()>,
    indices: Mutex<HashMap<&'static str, Slot>>,
}

impl Archive {
    pub fn new(config: Config, progress: Arc<dyn Progress>) -> Archive {
        let client = Client::new(config.connections);
        Archive { config, client, progress, mirror: OnceLock::new(), finding: Mutex::new(()), indices: Mutex::default() }
    }

    /// Address of the mirror, found once. Errors: none known; see [`DebianError::NoMirror`].
    pub fn mirror(&self) -> Result<String> {
        self.mirror_and_release(None).map(|m| m.0)
    }

    /// With a suite: its Release too, where it was fetched on the way.
    fn mirror_and_release(&self, suite: Option<&str>) -> Result<(String, Option<String>)> {
        if let Some(m) = self.mirror.get() {
            return Ok((m.clone(), None));
        }
        let _one = self.finding.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(m) = self.mirror.get() {
            return Ok((m.clone(), None));
        }
        let from_env = std::env::var(mirror::MIRROR_VARIABLE).ok().filter(|v| !v.is_empty());
        if let Some(m) = self.config.mirror.clone().or(from_env) {
            let m = mirror::check(&m)?;
            let _ = self.mirror.set(m.clone());
            return Ok((m, None));
        }
        let candidates = mirror::candidates(&self.config.apt, &self.config.debootstrap);
        // what a former run found is good while this host still names it
        let memo = self.config.cache.join("mirror");
        if let Ok(text) = std::fs::read_to_string(&memo)
            && candidates.iter().any(|c| c == text.trim())
        {
            let _ = self.mirror.set(text.trim().to_string());
            return Ok((text.trim().to_string(), None));
        }
        let asked = suite.unwrap_or("trixie");
        let (m, text) = mirror::discover(&candidates, asked, &self.client, &*self.progress)?;
        let _ = files::write(&memo, m.as_bytes());
        let _ = self.mirror.set(m.clone());
        Ok((m, (suite == Some(asked)).then_some(text)))
    }

    /// The index of a system, loaded once in a process. The one in the cache serves while it is young; else
    /// the suite's Release is asked for; without network an old one serves with a warning.
    pub fn index(&self, system: &'static System) -> Result<Arc<Index>> {
        let slot = self.slot(system.nix);
        let mut slot = slot.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(i) = &*slot {
            return Ok(i.clone());
        }
        let i = Arc::new(self.load_index(system)?);
        *slot = Some(i.clone());
        Ok(i)
    }

    fn slot(&self, key: &'static str) -> Slot {
        self.indices.lock().unwrap_or_else(|e| e.into_inner()).entry(key).or_default().clone()
    }

    /// Begins to load the index of a system on a thread of its own; a later [`Archive::index`] waits for it.
    pub fn preload(self: &Arc<Self>, system: &'static System) {
        let me = self.clone();
        std::thread::spawn(move || {
            // an error comes again, and is told, when the index is asked for
            let _ = me.index(system);
        });
    }

    /// Makes the next [`Archive::index`] of the system be that of a lock, so that versions seen while evaluating are the
    /// pinned ones. Returns false when that index can no longer be had.
    pub fn pin_index(&self, system: &'static System, lock: &SystemLock) -> Result<bool> {
        let slot = self.slot(system.nix);
        let mut slot = slot.lock().unwrap_or_else(|e| e.into_inner());
        if slot.as_ref().is_some_and(|i| i.hash == lock.index) {
            return Ok(true);
        }
        let path = self.index_path(&lock.index);
        let index = match Index::open(&path, system, &lock.index, &lock.date) {
            Ok(i) => i,
            Err(_) => {
                let (mirror, _) = self.mirror_and_release(Some(system.suite))?;
                let url = by_hash(&mirror, system, &lock.index);
                match self.client.get(&url, 64 << 20) {
                    Ok(xz) => self.store_index(&url, &xz, &lock.index, system, &lock.date)?,
                    Err(DebianError::Status { .. }) => return Ok(false),
                    Err(e) => return Err(e),
                }
            }
        };
        *slot = Some(Arc::new(index));
        Ok(true)
    }

    fn index_path(&self, hash: &str) -> PathBuf {
        self.config.cache.join("index").join(format!("{hash}.idx"))
    }

    fn load_index(&self, system: &'static System) -> Result<Index> {
        // "hash date": which index is the current one; its age is the file's
        let current = self.config.cache.join("index").join(format!("current-{}", system.nix));
        let cached = std::fs::read_to_string(&current).ok().and_then(|t| {
            let (hash, date) = t.split_once(' ')?;
            let index = Index::open(&self.index_path(hash), system, hash, date.trim()).ok()?;
            let age = std::fs::metadata(&current).ok()?.modified().ok()?.elapsed().unwrap_or_default();
            Some((index, age))
        });
        if let Some((index, age)) = cached {
            if age < self.config.max_age {
                return Ok(index);
            }
            return match self.fetch_index(system, &current, &self.client.hurried()) {
                Ok(new) => Ok(new),
                Err(e @ (DebianError::Fetch { .. } | DebianError::Status { .. } | DebianError::NoMirror)) => {
                    self.progress.event(Event::Warning {
                        text: &format!("the index of {} is {} days old and a new one cannot be had: {e}", system.nix, age.as_secs() / 86_400),
                    });
                    Ok(index)
                }
                Err(e) => Err(e),
            };
        }
        self.fetch_index(system, &current, &self.client)
    }

    /// `client`: for the Release, which tells whether the mirror answers at all.
    fn fetch_index(&self, system: &'static System, current: &Path, client: &Client) -> Result<Index> {
        let (mirror, text) = self.mirror_and_release(Some(system.suite))?;
        let url = format!("{mirror}/dists/{}/InRelease", system.suite);
        let release = match text {
            Some(t) => Release::verify(&t, &url, system.suite)?,
            None => Release::fetch(client, &mirror, system.suite)?.1,
        };
        let name = format!("main/binary-{}/Packages.xz", system.arch);
        if release.origin != "Debian" {
            return Err(DebianError::BadMirror { url: mirror, why: "it is signed by Debian but is not Debian's main archive" });
        }
        let (size, hash) = release.file(&name).ok_or_else(|| DebianError::format(&url, format!("it does not name {name}")))?;
        let index = match Index::open(&self.index_path(hash), system, hash, &release.date) {
            Ok(i) => i,
            Err(_) => {
                self.progress.event(Event::Index { system: system.nix, bytes: size });
                let plain = format!("{mirror}/dists/{}/{name}", system.suite);
                // by its hash, so that an update of the mirror meanwhile does no harm; not all mirrors keep those
                let fetched = match release.by_hash.then(|| self.client.get(&by_hash(&mirror, system, hash), size)) {
                    Some(Ok(xz)) => xz,
                    None | Some(Err(DebianError::Status { .. })) => self.client.get(&plain, size)?,
                    Some(Err(e)) => return Err(e),
                };
                self.store_index(&plain, &fetched, hash, system, &release.date)?
            }
        };
        files::write(current, format!("{hash} {}", release.date).as_bytes())?;
        Ok(index)
    }

    fn store_index(&self, url: &str, xz: &[u8], hash: &str, system: &'static System, date: &str) -> Result<Index> {
        use sha2::{Digest, Sha256};
        let found = crate::http::hex(&Sha256::digest(xz));
        if found != hash {
            return Err(DebianError::BadHash { url: url.into(), expected: format!("sha256 {hash}"), found: format!("sha256 {found}") });
        }
        let text = read_limited(liblzma::read::XzDecoder::new(xz), xz.len() * 6, MAX_INDEX).map_err(|e| DebianError::format(url, e.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| DebianError::format(url, "it is not UTF-8"))?;
        let path = self.index_path(hash);
        Index::build(&text, &path)?;
        Index::open(&path, system, hash, date)
    }

    /// The exact packages of a layer that holds `names` and the base set. With a lock: exactly its packages if it
    /// has all the names; else chosen anew from the index that it pins, so that nothing else moves.
    pub fn select(&self, system: &'static System, names: &[String], lock: Option<&SystemLock>) -> Result<Selection> {
        let base = system.base();
        let roots: BTreeSet<String> = base.iter().map(|s| s.to_string()).chain(names.iter().cloned()).collect();
        if let Some(lock) = lock {
            if roots.is_subset(&lock.roots) {
                return Ok(Selection { system, lock: lock.clone(), conflicts: Vec::new() });
            }
            if !self.pin_index(system, lock)? {
                let lacks: Vec<&str> = roots.difference(&lock.roots).map(String::as_str).collect();
                return Err(DebianError::LockLacks(lacks.join(", ")));
            }
        }
        let index = self.index(system)?;
        let mut extra: Vec<&str> = names.iter().map(String::as_str).collect();
        extra.sort_unstable();
        extra.dedup();
        let r = resolve(&index, &base, &extra)?;
        for c in &r.conflicts {
            self.progress.event(Event::Warning {
                text: &format!("{} {}: it is kept in a folder of its own in the layer of {}", c.apart, c.why, system.nix),
            });
        }
        let lock = SystemLock { suite: system.suite.into(), date: index.date.clone(), index: index.hash.clone(), roots, packages: r.packages };
        Ok(Selection { system, lock, conflicts: r.conflicts })
    }

    /// Where a package's file is (or will be) in the cache.
    pub fn deb_path(&self, pin: &Pin) -> PathBuf {
        self.config.cache.join("debs").join(&pin.sha256)
    }

    /// Whether the cache has a package's file, by its size; the hash is checked when it is unpacked.
    pub(crate) fn cached(&self, pin: &Pin) -> bool {
        std::fs::metadata(self.deb_path(pin)).is_ok_and(|m| m.len() == pin.size)
    }

    /// Fetches one package to the cache.
    pub(crate) fn fetch_deb(&self, name: &str, pin: &Pin) -> Result<()> {
        let url = format!("{}/{}", self.mirror()?, pin.path.replace('+', "%2b").replace('~', "%7e"));
        let dest = self.deb_path(pin);
        let mut new = NewFile::create(&dest)?;
        self.client.download(
            &url,
            Expected { size: pin.size, sha256: &pin.sha256 },
            &mut new.file,
            |f| {
                f.set_len(0).and_then(|()| f.rewind()).map_err(DebianError::io("emptying", &dest))
            },
            |e| DebianError::io("writing", &dest)(e),
            |n| {
                self.progress.event(Event::FetchBytes { bytes: n });
                if self.progress.cancelled() { Err(DebianError::Cancelled) } else { Ok(()) }
            },
        )?;
        new.file.flush().map_err(DebianError::io("writing", &dest))?;
        new.publish()?;
        self.progress.event(Event::FetchDone { name });
        Ok(())
    }
}

fn by_hash(mirror: &str, system: &System, hash: &str) -> String {
    format!("{mirror}/dists/{}/main/binary-{}/by-hash/SHA256/{hash}", system.suite, system.arch)
}
