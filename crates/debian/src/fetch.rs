//! Fetching many packages at once, while what has come is already used.

use crate::archive::Archive;
use crate::error::{DebianError, Result};
use crate::lock::Pin;
use crate::progress::Event;
use std::sync::{Condvar, Mutex};

enum State {
    Waiting,
    Here,
    Failed,
}

/// Fetches in the background of a thread scope; [`Fetching::wait`] gives the packages one by one.
pub(crate) struct Fetching<'a> {
    archive: &'a Archive,
    packages: &'a [(String, Pin)],
    state: Mutex<(Vec<State>, usize, Vec<DebianError>)>,
    changed: Condvar,
}

impl<'a> Fetching<'a> {
    pub(crate) fn new(archive: &'a Archive, packages: &'a [(String, Pin)]) -> Fetching<'a> {
        let states: Vec<State> =
            packages.iter().map(|(_, p)| if archive.cached(p) { State::Here } else { State::Waiting }).collect();
        let missing = packages.iter().zip(&states).filter(|(_, s)| matches!(s, State::Waiting)).map(|(p, _)| p.1.size);
        let (files, bytes) = missing.fold((0, 0), |(n, b), s| (n + 1, b + s));
        if files > 0 {
            archive.progress.event(Event::FetchBegin { files, bytes });
        }
        Fetching { archive, packages, state: Mutex::new((states, 0, Vec::new())), changed: Condvar::new() }
    }

    /// Starts as many threads in `scope` as there are connections.
    pub(crate) fn start<'s>(&'s self, scope: &'s std::thread::Scope<'s, '_>) {
        let missing = self.lock().0.iter().filter(|s| matches!(s, State::Waiting)).count();
        for _ in 0..missing.min(self.archive.config.connections.max(1)) {
            scope.spawn(|| self.work());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<State>, usize, Vec<DebianError>)> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn work(&self) {
        loop {
            let i = {
                let mut s = self.lock();
                while s.1 < s.0.len() && !matches!(s.0[s.1], State::Waiting) {
                    s.1 += 1;
                }
                // files that the mirror no longer has are collected; anything else ends the work
                if s.1 >= s.0.len() || s.2.iter().any(|e| !gone(e)) {
                    return;
                }
                s.1 += 1;
                s.1 - 1
            };
            let (name, pin) = &self.packages[i];
            let result = self.archive.fetch_deb(name, pin);
            let mut s = self.lock();
            match result {
                Ok(()) => s.0[i] = State::Here,
                Err(e) => {
                    s.0[i] = State::Failed;
                    s.2.push(e);
                }
            }
            drop(s);
            self.changed.notify_all();
        }
    }

    /// Waits until package `i` is in the cache. Errors: it or another could not be fetched.
    pub(crate) fn wait(&self, i: usize) -> Result<(), ()> {
        let mut s = self.lock();
        loop {
            if !s.2.is_empty() {
                return Err(());
            }
            if matches!(s.0[i], State::Here) {
                return Ok(());
            }
            s = self.changed.wait(s).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// What went wrong, once all threads have ended.
    pub(crate) fn error(self) -> Option<DebianError> {
        let (states, _, errors) = self.state.into_inner().unwrap_or_else(|e| e.into_inner());
        if errors.is_empty() {
            return None;
        }
        if errors.iter().all(gone) {
            let moved = states
                .iter()
                .zip(self.packages)
                .filter(|(s, _)| matches!(s, State::Failed))
                .map(|(_, (n, p))| format!("{n} {}", p.version))
                .collect();
            return Some(DebianError::LockMoved(moved));
        }
        errors.into_iter().find(|e| !gone(e))
    }
}

fn gone(e: &DebianError) -> bool {
    matches!(e, DebianError::Status { status: 404 | 410, .. })
}

impl Archive {
    /// Brings package files to the cache, in parallel. Errors: the first failure; or all that the mirror no longer has.
    pub fn fetch(&self, packages: &[(String, Pin)]) -> Result<()> {
        let fetching = Fetching::new(self, packages);
        std::thread::scope(|s| fetching.start(s));
        fetching.error().map_or(Ok(()), Err)
    }
}
