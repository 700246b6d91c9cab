//! Several threads on one evaluation.
//!
//! All threads share the heap: a thunk is evaluated by the thread that comes first, others wait for it. Nothing
//! becomes visible but speed: whoever needs a value still forces it in program order, and meets the same failure.
//!
//! [`Evaluator::with_helpers`] starts threads that work ahead. What will be needed for certain, unless something
//! fails before, is offered to them where it is known: elements of lists that become one string (so the inputs of
//! derivations), what is forced deeply, derivations that are looked for. A helper that would say something (`trace`, warnings)
//! gives its work up instead, so that messages keep their order.
//!
//! A thread that waits for another's cell helps it: it takes what the other offered since it began with the cell. All that
//! is then on its stack depends on what it works on, so that waiting for each other still means a cycle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::EvalError;
use crate::evaluator::{BIG_STACK, Evaluator};
use crate::sym;
use crate::value::{EvalResult, Ref, TAG_DONE, TAG_LAMBDA, TAG_PENDING, pending_parts};
use crate::world::MessageKind;

/// What is done with an offered cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Forced.
    Value,
    /// Forced; of a derivation also its `outPath`.
    Text,
    /// Forced with all that is in it.
    Deep,
}

/// A cell to work on, whose offer it is, and its number among that thread's offers.
struct Offer<'h> {
    cell: Ref<'h>,
    wanted: Wanted,
    thread: u64,
    number: u64,
}

/// Offers that wait for a helper.
#[derive(Default)]
pub(crate) struct Pool<'h> {
    /// Helpers that there are; offers cost nothing without.
    helpers: AtomicUsize,
    /// The evaluation is over: helpers give up what they do.
    is_closed: AtomicBool,
    offers: Mutex<VecDeque<Offer<'h>>>,
    wake: Condvar,
}

/// More offers than this are not kept.
const MAX_OFFERS: usize = 4096;
/// Of one list or set at most so many are offered.
const MAX_OFFERED: usize = 256;

impl<'h> Pool<'h> {
    fn offers(&self) -> MutexGuard<'_, VecDeque<Offer<'h>>> {
        self.offers.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn next(&self) -> Option<(Ref<'h>, Wanted)> {
        let mut offers = self.offers();
        loop {
            if self.is_closed() {
                return None;
            }
            while let Some(Offer { cell, wanted, .. }) = offers.pop_front() {
                // What somebody has begun in the meantime would only be waited for.
                if is_work(cell, wanted) {
                    return Some((cell, wanted));
                }
            }
            offers = self.wake.wait(offers).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// An offer that a thread made after its offer `number`.
    fn take_from(&self, thread: u64, number: u64) -> Option<(Ref<'h>, Wanted)> {
        let mut offers = self.offers();
        loop {
            let at = offers.iter().position(|o| o.thread == thread && o.number > number)?;
            let Offer { cell, wanted, .. } = offers.remove(at)?;
            if is_work(cell, wanted) {
                return Some((cell, wanted));
            }
        }
    }

    fn close(&self) {
        let mut offers = self.offers();
        self.is_closed.store(true, Ordering::Relaxed);
        offers.clear();
        drop(offers);
        self.wake.notify_all();
    }
}

/// Ends the helpers, also when the evaluation panics.
struct Closer<'p, 'h>(&'p Pool<'h>);

impl Drop for Closer<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<'h> Evaluator<'h> {
    /// Runs `f` while `count` further threads work ahead of this one. They end with it. Results, failures and the order of messages
    /// are those without helpers. Only one thread of an evaluation may be in here at a time; another gets no helpers.
    pub fn with_helpers<T>(&self, count: usize, f: impl FnOnce() -> T) -> T {
        let pool = &self.shared.pool;
        if count == 0 || pool.helpers.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return f();
        }
        pool.is_closed.store(false, Ordering::Relaxed);
        let handle = self.fork_handle();
        let result = std::thread::scope(|scope| {
            let closer = Closer(pool);
            for _ in 0..count {
                let builder = std::thread::Builder::new().name("evaluator".into()).stack_size(BIG_STACK);
                // Without the thread it takes longer, that is all.
                let _ = builder.spawn_scoped(scope, || {
                    let ev = Evaluator::fork(&handle);
                    ev.is_helper.set(true);
                    while let Some((cell, wanted)) = ev.shared.pool.next() {
                        // Failures are met again by the thread that needs the value.
                        let _ = ev.work_on(cell, wanted);
                        ev.depth.set(0);
                    }
                });
            }
            let result = f();
            drop(closer);
            result
        });
        pool.helpers.store(0, Ordering::Relaxed);
        result
    }

    fn work_on(&self, cell: Ref<'h>, wanted: Wanted) -> EvalResult<()> {
        match wanted {
            Wanted::Value => drop(self.force(cell)?),
            Wanted::Deep => drop(self.force_deep(cell)?),
            Wanted::Text => {
                // Not coerced: that may put files in the store.
                let v = self.force(cell)?;
                if let Some(attrs) = v.as_attrs()
                    && attrs.get(sym::TO_STRING).is_none()
                    && let Some(path) = attrs.get(sym::OUT_PATH)
                {
                    self.force(path.value)?;
                }
            }
        }
        Ok(())
    }

    /// Offers cells that the caller is about to work on, in this order, to the helpers.
    #[inline]
    pub(crate) fn offer(&self, cells: impl ExactSizeIterator<Item = Ref<'h>>, wanted: Wanted) {
        if cells.len() > 1 && self.shared.pool.helpers.load(Ordering::Relaxed) > 0 {
            self.offer_slow(&mut cells.take(MAX_OFFERED), wanted);
        }
    }

    #[cold]
    fn offer_slow(&self, cells: &mut dyn Iterator<Item = Ref<'h>>, wanted: Wanted) {
        // The caller begins with the first one itself.
        let number = self.offers.get() + 1;
        let offer = |cell| Offer { cell, wanted, thread: self.thread, number };
        let new: Vec<_> = cells.filter(|cell| is_work(cell, wanted)).skip(1).map(offer).collect();
        if new.is_empty() {
            return;
        }
        self.offers.set(number);
        let mut offers = self.shared.pool.offers();
        if offers.len() < MAX_OFFERS {
            offers.extend(new);
            drop(offers);
            self.shared.pool.wake.notify_one();
        }
    }

    /// While another thread works on `cell`, works on what comes after it instead of waiting.
    #[inline]
    pub(crate) fn meanwhile(&self, cell: Ref<'h>, after: &[Ref<'h>], wanted: Wanted) {
        if self.shared.pool.helpers.load(Ordering::Relaxed) > 0 && is_pending(cell, wanted) {
            self.meanwhile_slow(cell, after, wanted);
        }
    }

    #[cold]
    fn meanwhile_slow(&self, cell: Ref<'h>, after: &[Ref<'h>], wanted: Wanted) {
        for next in after.iter().filter(|next| is_work(next, wanted)) {
            if !is_pending(cell, wanted) {
                break;
            }
            self.work_aside(next, wanted);
        }
    }

    /// Works ahead in the middle of something else. A failure is met again when it is this cell's turn.
    fn work_aside(&self, cell: Ref<'h>, wanted: Wanted) {
        let (was_helper, depth) = (self.is_helper.replace(true), self.depth.get());
        let _ = self.work_on(cell, wanted);
        self.depth.set(depth);
        self.is_helper.set(was_helper);
    }

    /// Helps the thread that evaluates a cell, whose first word is given. Whether there was something to do.
    pub(crate) fn help_owner(&self, pending: u64) -> bool {
        if self.shared.pool.helpers.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let (thread, number) = pending_parts(pending);
        let Some((cell, wanted)) = self.shared.pool.take_from(thread, number) else { return false };
        self.work_aside(cell, wanted);
        true
    }

    /// Runs `f` on cells in order, while helpers work ahead on the later ones: each is forced, and of a derivation also its `outPath`.
    ///
    /// # Errors
    /// The first failure of `f`.
    pub fn in_order<T>(&self, cells: &[Ref<'h>], mut f: impl FnMut(usize, Ref<'h>) -> EvalResult<T>) -> EvalResult<Vec<T>> {
        self.offer(cells.iter().copied(), Wanted::Text);
        let mut results = Vec::with_capacity(cells.len());
        for (i, cell) in cells.iter().enumerate() {
            self.meanwhile(cell, &cells[i + 1..], Wanted::Text);
            results.push(f(i, cell)?);
        }
        Ok(results)
    }

    /// Says something to the user. A helper cannot: it fails, and leaves that to the thread that needs the value.
    pub(crate) fn say(&self, kind: MessageKind, text: &str) -> EvalResult<()> {
        if self.is_helper.get() {
            return Err(EvalError::new("eval::interrupted", "a helper has something to say"));
        }
        self.world().message(kind, text);
        Ok(())
    }
}

/// Whether some thread works on it.
fn is_pending(cell: Ref<'_>, wanted: Wanted) -> bool {
    let v = cell.load();
    match v.tag() {
        TAG_PENDING => true,
        TAG_DONE if wanted == Wanted::Text => {
            v.as_attrs().and_then(|a| a.get(sym::OUT_PATH)).is_some_and(|path| path.value.load().tag() == TAG_PENDING)
        }
        _ => false,
    }
}

/// Whether there is something to do that nobody does yet.
fn is_work(cell: Ref<'_>, wanted: Wanted) -> bool {
    let v = cell.load();
    match v.tag() {
        TAG_PENDING | TAG_LAMBDA => false,
        TAG_DONE => match (wanted, v.as_attrs()) {
            (Wanted::Text, Some(attrs)) => attrs.get(sym::OUT_PATH).is_some_and(|a| is_work(a.value, Wanted::Value)),
            (Wanted::Deep, Some(attrs)) => !attrs.is_empty(),
            (Wanted::Deep, None) => v.as_list().is_some_and(|items| !items.is_empty()),
            _ => false,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::with_evaluator;
    use super::Wanted;
    use crate::value::Ref;

    #[test]
    fn threads_share_thunks_and_agree() {
        with_evaluator(|ev| {
            let text = "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
                            xs = builtins.genList (i: if i == 0 then 1 else builtins.elemAt xs (i - 1) + fib 10) 200;
                        in xs ++ [ (throw \"late\") ]";
            let v = ev.eval_expr(text, std::path::Path::new("/")).unwrap();
            let cells: Vec<Ref<'_>> = v.as_list().unwrap().iter().rev().copied().collect();
            ev.with_helpers(4, || {
                ev.offer(cells.iter().copied(), Wanted::Value);
                while !ev.shared.pool.offers().is_empty() {
                    std::thread::yield_now();
                }
            });
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
            let e = ev.with_helpers(1, || {
                ev.offer(cells.iter().copied(), Wanted::Value);
                ev.force(cells[0]).err()
            });
            assert_eq!(e.unwrap().code(), "eval::infinite-recursion");
            assert_eq!(ev.force(cells[0]).err().unwrap().code(), "eval::infinite-recursion");
        });
    }

    #[test]
    fn messages_keep_their_order_and_failures_their_place() {
        crate::on_big_stack(|| {
            let world = std::sync::Arc::new(crate::testing::Memory::default());
            let heap = crate::Heap::new();
            let ev = crate::Evaluator::new(&heap, world.clone(), crate::Settings::default(), vec![]);
            let text = "let fib = n: if n < 2 then n else fib (n - 1) + fib (n - 2);
                            say = i: builtins.trace (toString i) (toString (fib (18 - i)));
                        in [ (toString (builtins.genList say 8)) (builtins.tryEval (toString [ (throw \"x\") (abort \"y\") ])).success
                             (toString [ (fib 15) (throw \"first\") (throw \"second\") ]) ]";
            let v = ev.eval_expr(text, std::path::Path::new("/")).unwrap();
            let cells = v.as_list().unwrap();
            ev.with_helpers(3, || {
                assert_eq!(ev.force_string(cells[0]).unwrap().bytes(), b"2584 1597 987 610 377 233 144 89");
                assert_eq!(ev.force(cells[1]).unwrap().as_bool(), Some(false));
                assert_eq!(ev.force(cells[2]).err().unwrap().message(), "first");
            });
            assert_eq!(*world.messages.lock().unwrap(), ["0", "1", "2", "3", "4", "5", "6", "7"]);
        });
    }
}
