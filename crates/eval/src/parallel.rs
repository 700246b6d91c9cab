//! Several threads on one evaluation.
//!
//! All threads share the heap: a thunk is evaluated by the thread that comes first, others wait for it. Nothing
//! becomes visible but speed: whoever needs a value still forces it in program order, and meets the same failure.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::evaluator::{BIG_STACK, Evaluator};
use crate::value::Ref;

impl<'h> Evaluator<'h> {
    /// Works on cells with up to `threads` threads ahead of their use. Failures are left to that use.
    ///
    /// `work` is what to do with one cell, e.g. `|ev, cell| drop(ev.force_deep(cell))`.
    pub fn work_ahead(&self, cells: &[Ref<'h>], threads: usize, work: impl Fn(&Evaluator<'h>, Ref<'h>) + Sync) {
        let threads = threads.min(cells.len());
        if threads < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let handle = self.fork_handle();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let builder = std::thread::Builder::new().name("evaluator".into()).stack_size(BIG_STACK);
                // A thread that cannot be made is work left for later.
                let _ = builder.spawn_scoped(scope, || {
                    let ev = Evaluator::fork(&handle);
                    while let Some(&cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(&ev, cell);
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::with_evaluator;
    use crate::value::Ref;

    #[test]
    fn threads_share_thunks_and_agree() {
        with_evaluator(|ev| {
            let text = "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
                            xs = builtins.genList (i: if i == 0 then 1 else builtins.elemAt xs (i - 1) + fib 10) 200;
                        in xs ++ [ (throw \"late\") ]";
            let v = ev.eval_expr(text, std::path::Path::new("/")).unwrap();
            let cells: Vec<Ref<'_>> = v.as_list().unwrap().iter().rev().copied().collect();
            ev.work_ahead(&cells, 4, |ev, cell| drop(ev.force(cell)));
            assert_eq!(ev.force(cells[1]).unwrap().as_int(), Some(1 + 199 * 55));
            assert_eq!(ev.force(cells[0]).err().unwrap().message(), "late");
        });
    }

    #[test]
    fn a_cycle_through_two_threads_is_found() {
        with_evaluator(|ev| {
            let text = "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
                            a = builtins.seq (fib 18) b; b = builtins.seq (fib 18) a; in [ a b ]";
            let v = ev.eval_expr(text, std::path::Path::new("/")).unwrap();
            let cells = v.as_list().unwrap();
            ev.work_ahead(cells, 2, |ev, cell| drop(ev.force(cell)));
            assert_eq!(ev.force(cells[0]).err().unwrap().code(), "eval::infinite-recursion");
        });
    }
}
