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
                    let Some(w1) = r.begin(w0, self.thread) else { continue };
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
                    let Some(w1) = r.begin(w0, self.thread) else { continue };
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
                    if w0 >> 3 == self.thread {
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

    /// Waits until another thread is done with a cell.
    #[cold]
    pub(super) fn wait_for(&self, r: Ref<'h>, mut pending: u64) -> EvalResult<()> {
        let waits = || self.shared.waits.lock().unwrap_or_else(|e| e.into_inner());
        for round in 0u32.. {
            if round < 100 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            let now = r.load().w0.get();
            if now & TAG_MASK != TAG_PENDING || now != pending {
                pending = now;
                if now & TAG_MASK != TAG_PENDING {
                    break;
                }
            }
            if round % 64 == 63 {
                self.check_interrupt()?;
                // Two threads may wait for each other: follow who waits for whom.
                let mut table = waits();
                table.insert(self.thread, std::ptr::from_ref(r) as usize);
                let mut owner = pending >> 3;
                let mut steps = 0;
                let is_cycle = loop {
                    if owner == self.thread {
                        break true;
                    }
                    steps += 1;
                    let Some(&cell) = table.get(&owner).filter(|_| steps < 256) else { break false };
                    // SAFETY: cells live as long as the heap, and only cells of this heap are in the table.
                    let next = unsafe { &*(cell as *const Slot<'h>) }.load().w0.get();
                    if next & TAG_MASK != TAG_PENDING {
                        break false;
                    }
                    owner = next >> 3;
                };
                if is_cycle {
                    table.remove(&self.thread);
                    return Err(self.infinite_recursion(r));
                }
            }
        }
        waits().remove(&self.thread);
        Ok(())
    }
}
