//! String contexts: which store objects a string depends on.
//!
//! A context is an interned, sorted, duplicate-free set, so that equal contexts are the same pointer within
//! one evaluator and the usual unions (with nothing, with itself) cost nothing.

use std::collections::HashMap;
use std::marker::PhantomData;

use nbv_syntax::{Arena, FxBuild};

/// One dependency. Store paths are full paths (`/nix/store/…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContextElem<'h> {
    /// A store path as it is (a source, a `.drv` file without its outputs).
    Opaque(&'h str),
    /// An output of a derivation.
    Built { drv: &'h str, output: &'h str },
    /// A `.drv` file, its closure and all outputs (from `drvPath`).
    DrvDeep(&'h str),
}

impl ContextElem<'_> {
    /// The encoding of C++ Nix: `path`, `!output!drv`, `=drv`.
    pub fn encode(&self) -> String {
        match self {
            ContextElem::Opaque(path) => (*path).to_owned(),
            ContextElem::Built { drv, output } => format!("!{output}!{drv}"),
            ContextElem::DrvDeep(drv) => format!("={drv}"),
        }
    }
}

struct Set<'h> {
    elems: &'h [ContextElem<'h>],
}

/// A set of [`ContextElem`]s; copying is free.
#[derive(Clone, Copy)]
pub struct Context<'h>(*const Set<'h>, PhantomData<&'h ()>);

impl<'h> Context<'h> {
    /// No dependencies.
    pub const fn empty() -> Self {
        Context(std::ptr::null(), PhantomData)
    }

    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0.is_null()
    }

    /// The elements in order.
    pub fn elems(self) -> &'h [ContextElem<'h>] {
        if self.0.is_null() {
            return &[];
        }
        // SAFETY: a non-null context points to a set in the heap `'h`.
        unsafe { (*self.0).elems }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *const () {
        self.0.cast()
    }

    /// # Safety
    /// `p` came from [`Context::as_ptr`] of a context of the same heap.
    #[inline(always)]
    pub(crate) unsafe fn from_ptr(p: *const ()) -> Self {
        Context(p.cast(), PhantomData)
    }

    pub(crate) fn is_same(self, other: Context<'h>) -> bool {
        self.0 == other.0
    }
}

/// The table of interned contexts; an address stands for a set.
#[derive(Default)]
pub(crate) struct ContextTable<'h> {
    sets: HashMap<Vec<ContextElem<'h>>, usize, FxBuild>,
}

impl<'h> ContextTable<'h> {
    /// The context of these elements. Their texts are copied to the arena when the set is new.
    pub(crate) fn intern(&mut self, arena: &'h Arena, elems: &[ContextElem<'_>]) -> Context<'h> {
        if elems.is_empty() {
            return Context::empty();
        }
        let mut sorted = elems.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        // The map's key type has lifetime `'h`; look up by copying only when absent.
        if let Some(&p) = self.find(&sorted) {
            return Context(p as *const Set<'h>, PhantomData);
        }
        let keep = |s: &str| -> &'h str {
            let bytes = arena.slice(s.as_bytes());
            // SAFETY: copied from a `str`.
            unsafe { std::str::from_utf8_unchecked(bytes) }
        };
        let owned: Vec<ContextElem<'h>> = sorted
            .iter()
            .map(|e| match e {
                ContextElem::Opaque(p) => ContextElem::Opaque(keep(p)),
                ContextElem::Built { drv, output } => ContextElem::Built { drv: keep(drv), output: keep(output) },
                ContextElem::DrvDeep(p) => ContextElem::DrvDeep(keep(p)),
            })
            .collect();
        let set: &'h Set<'h> = arena.alloc(Set { elems: arena.slice(&owned) });
        self.sets.insert(owned, std::ptr::from_ref(set) as usize);
        Context(set, PhantomData)
    }

    fn find<'a>(&'a self, key: &[ContextElem<'_>]) -> Option<&'a usize> {
        // SAFETY: only the lifetime is changed, for the duration of a look-up that keeps nothing.
        let key: &[ContextElem<'h>] = unsafe { std::mem::transmute(key) };
        self.sets.get(key)
    }
}

// SAFETY: contexts are immutable and live in the shared heap.
unsafe impl Send for Context<'_> {}
// SAFETY: as above.
unsafe impl Sync for Context<'_> {}
