//! What builtins remember between calls, for all threads of an evaluation.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use nbv_nix_formats::{Hash, Modulo, StoreDir};

use crate::evaluator::Evaluator;
use crate::regex::Regex;

/// A derivation that was made or read in this evaluation.
pub(crate) struct DrvInfo {
    /// What it counts as when it is an input.
    pub(crate) modulo: Modulo,
    /// Names of its outputs.
    pub(crate) outputs: Vec<String>,
    /// Store paths that its `.drv` file refers to.
    pub(crate) references: BTreeSet<String>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) patterns: Mutex<HashMap<Vec<u8>, Arc<Regex>>>,
    /// By path of the `.drv` file.
    pub(crate) drvs: Mutex<HashMap<String, Arc<DrvInfo>>>,
    /// References of texts that `toFile` put in the store.
    pub(crate) texts: Mutex<HashMap<String, BTreeSet<String>>>,
    /// Paths copied to the store (without filter): path -> store path.
    pub(crate) copied: Mutex<HashMap<Vec<u8>, String>>,
    /// What fetchers gave: the request -> store path and hash of its archive.
    pub(crate) fetched: Mutex<HashMap<String, (String, Hash)>>,
    /// Hashes of the archives of copied paths, by store path.
    pub(crate) archives: Mutex<HashMap<String, Hash>>,
    store: OnceLock<StoreDir>,
}

impl State {
    /// The store's folder.
    pub(crate) fn store(&self, ev: &Evaluator<'_>) -> &StoreDir {
        self.store.get_or_init(|| StoreDir::new(&ev.settings().store_dir))
    }
}

/// Locks; a panic of another thread while it held the lock leaves whole entries, so poisoning is no matter.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
