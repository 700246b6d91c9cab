//! Forcing: how a suspended cell becomes a value, and what happens when it is met again.

use super::*;

impl<'h> Evaluator<'h> {
    /// Evaluates a cell to weak head normal form.
    #[inline(always)]
    pub fn force(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        let v = r.load();
        if v.is_finished() { Ok(v) } else { self.force_slow(r) }
    }

    #[inline(never)]
    pub(super) fn force_slow(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        loop {
            let seen = r.load();
            let w0 = seen.w0.get();
            match w0 & TAG_MASK {
                TAG_THUNK => {
                    let Some(w1) = r.begin(w0, pending_by(self.thread, self.offers.get())) else { continue };
                    // SAFETY: we own the cell; as a thunk its words are a frame and a node of this heap.
                    let node: N<'h> = unsafe { &*(w1 as *const _) };
                    let env = (w0 & !TAG_MASK) as EnvPtr<'h>;
                    return match self.eval(env, node) {
                        Ok(v) => {
                            r.finish(v);
                            Ok(v)
                        }
                        Err(e) => {
                            r.finish(Value::raw(w0, w1));
                            Err(self.leave_failed(r, node.span, e))
                        }
                    };
                }
                TAG_APP | TAG_ATTR_APP | TAG_INT_APP => {
                    let Some(w1) = r.begin(w0, pending_by(self.thread, self.offers.get())) else { continue };
                    return match self.check_stack().and_then(|()| self.apply(w0, w1)) {
                        Ok(v) => {
                            r.finish(v);
                            Ok(v)
                        }
                        Err(e) => {
                            r.finish(Value::raw(w0, w1));
                            Err(self.leave_failed(r, Span::NONE, e))
                        }
                    };
                }
                TAG_PENDING => {
                    if pending_parts(w0).0 == self.thread {
                        return Err(self.infinite_recursion(r));
                    }
                    self.wait_for(r, w0)?;
                }
                _ => return Ok(seen),
            }
        }
    }

    /// Runs the application of a cell that this thread took.
    #[inline]
    fn apply(&self, w0: u64, w1: u64) -> EvalResult<Value<'h>> {
        if w0 & TAG_MASK == TAG_ATTR_APP {
            // SAFETY: the tag says so.
            let (f, name, value) = unsafe { Value::attr_app_parts(w0, w1) };
            return self.call(self.force(f)?, &[self.name_cell(name), value]);
        }
        // SAFETY: the first word of the other two is a cell of this heap.
        let f: Ref<'h> = unsafe { &*((w0 & !TAG_MASK) as *const Slot<'h>) };
        let f = self.force(f)?;
        let arg = match w0 & TAG_MASK {
            TAG_INT_APP => self.cell(Value::int(w1 as i64)),
            // SAFETY: the second word of a plain application is a cell of this heap.
            _ => unsafe { &*(w1 as *const Slot<'h>) },
        };
        self.call(f, &[arg])
    }

    #[cold]
    pub(super) fn infinite_recursion(&self, r: Ref<'h>) -> EvalError {
        EvalError::new("eval::infinite-recursion", "infinite recursion encountered")
            .labelled("this needs its own value")
            .with_cycle(std::ptr::from_ref(r) as usize)
    }

    #[cold]
    pub(super) fn leave_failed(&self, r: Ref<'h>, span: Span, e: EvalError) -> EvalError {
        if e.cycle() == 0 {
            return e;
        }
        if e.cycle() == std::ptr::from_ref(r) as usize {
            return e.close_cycle(span);
        }
        match self.snippet(span) {
            Some(text) => e.frame(span, format!("while evaluating `{text}`")),
            None => e,
        }
    }

    /// Waits until another thread is done with a cell. Until then, works on what that thread offered since it began with the cell.
    #[cold]
    pub(super) fn wait_for(&self, r: Ref<'h>, mut pending: u64) -> EvalResult<()> {
        for round in 0u32.. {
            if round < 100 {
                std::thread::yield_now();
            } else if !self.help_owner(pending) {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            let now = r.load().w0.get();
            if now & TAG_MASK != TAG_PENDING {
                break;
            }
            pending = now;
            if round % 64 == 63 {
                self.check_interrupt()?;
                if self.waits_in_cycle(r, pending) {
                    self.waits().remove(&self.thread);
                    return Err(self.infinite_recursion(r));
                }
            }
        }
        self.waits().remove(&self.thread);
        Ok(())
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<u64, (usize, bool), nbv_syntax::FxBuild>> {
        self.shared.waits.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether this thread is to fail, because it waits for others that wait for it.
    ///
    /// What a thread works ahead on may turn out not to be needed, so a cycle through it proves nothing: it is the thread that works
    /// ahead that fails, which frees its cells for the others.
    fn waits_in_cycle(&self, r: Ref<'h>, pending: u64) -> bool {
        let mut table = self.waits();
        table.insert(self.thread, (std::ptr::from_ref(r) as usize, self.is_helper.get()));
        let mut owner = pending_parts(pending).0;
        let mut has_helper = false;
        for _ in 0..256 {
            if owner == self.thread {
                return self.is_helper.get() || !has_helper;
            }
            let Some(&(cell, is_helper)) = table.get(&owner) else { return false };
            has_helper |= is_helper;
            // SAFETY: cells live as long as the heap, and only cells of this heap are in the table.
            let next = unsafe { &*(cell as *const Slot<'h>) }.load().w0.get();
            if next & TAG_MASK != TAG_PENDING {
                return false;
            }
            owner = pending_parts(next).0;
        }
        false
    }
}
