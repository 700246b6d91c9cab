//! Machines that come back together from one saved state.
//!
//! Each loads its memory; when the last one has, all run; when all run, the switch, which stood still, goes on with the frames that were
//! under way. So no machine lives in a network in which another is still missing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nbv_switch::Switch;

use crate::event::Phase;
use crate::saved::Saved;

/// What happens when a machine does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The state is thrown away and all boot.
    Boot,
    /// All fail; the state stays.
    Fail,
}

/// A saved state on its way back into a network.
pub(crate) struct Together {
    saved: Saved,
    switch: Arc<Switch>,
    pub(crate) on_failure: OnFailure,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Machines that have not loaded their memory.
    to_load: usize,
    /// Machines that do not run yet.
    to_run: usize,
    is_given_up: bool,
}

impl Together {
    /// Lets the switch stand still until all machines of the state run, or [`Self::give_up`].
    pub(crate) fn new(saved: Saved, switch: Arc<Switch>, on_failure: OnFailure) -> Self {
        let count = saved.about().phases.iter().filter(|phase| **phase != Phase::Off).count();
        switch.freeze();
        Self { saved, switch, on_failure, state: Mutex::new(State { to_load: count, to_run: count, is_given_up: false }), changed: Condvar::new() }
    }

    pub(crate) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// A machine has loaded its memory: waits for the others.
    ///
    /// # Errors
    /// Another did not come back, or not in time.
    pub(crate) fn loaded(&self, deadline: Instant) -> Result<(), String> {
        let mut state = self.lock();
        state.to_load = state.to_load.saturating_sub(1);
        if state.to_load == 0 {
            self.switch.put(self.saved.switch());
            self.changed.notify_all();
        }
        while state.to_load > 0 && !state.is_given_up {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("the other machines did not load their states in time".into());
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_given_up { Err("another machine did not come back".into()) } else { Ok(()) }
    }

    /// A machine runs.
    pub(crate) fn runs(&self) {
        let mut state = self.lock();
        state.to_run = state.to_run.saturating_sub(1);
        if state.to_run == 0 {
            self.switch.thaw();
        }
    }

    /// Nobody waits any more.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        if state.to_run > 0 {
            state.is_given_up = true;
            self.switch.thaw();
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.give_up();
    }
}
