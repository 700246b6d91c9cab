//! Environments: one frame of slots per function call (and per file, and per nested `let` that may never run).
//!
//! A frame is zeroed memory, so an unset slot reads as absent. Slots are set with release order, because
//! a failed thunk that is forced again may set the same slot again with an equal value.
//!
//! The frame of a call that no thunk and no function captured dies with the call. [`Spare`] keeps it for the
//! next call: less memory, and what is left stays in the processor's cache.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use nbv_syntax::Arena;

use crate::value::{Ref, Slot};

/// Header of a frame; its slots follow.
#[repr(C)]
pub(crate) struct Env<'h> {
    /// The frame above. Bit 0 says that something captured this frame.
    up: AtomicUsize,
    _heap: PhantomData<fn(&'h ()) -> &'h ()>,
}

const CAPTURED: usize = 1;

impl<'h> Env<'h> {
    /// A frame with `slots` unset slots that lives as long as the heap.
    #[inline(always)]
    pub(crate) fn new(arena: &'h Arena, up: *const Env<'h>, slots: usize) -> *const Env<'h> {
        let p = arena.alloc_raw(size_of::<Env>() + slots * size_of::<usize>()).cast::<Env<'h>>();
        // SAFETY: freshly allocated, large enough, zeroed, aligned to 8.
        unsafe { p.write(Env { up: AtomicUsize::new(up as usize), _heap: PhantomData }) };
        p.as_ptr()
    }

    #[inline(always)]
    fn slot(env: *const Env<'h>, index: u32) -> *const AtomicPtr<Slot<'h>> {
        // Slots start right behind the header; the compiler gave an index below the frame's size.
        env.wrapping_add(1).cast::<AtomicPtr<Slot<'h>>>().wrapping_add(index as usize)
    }

    /// The content of a slot, if it was set.
    ///
    /// # Safety
    /// `env` is a frame of this heap with more than `index` slots.
    #[inline(always)]
    pub(crate) unsafe fn get(env: *const Env<'h>, index: u32) -> Option<Ref<'h>> {
        // SAFETY: by contract the slot exists; a non-null pointer was stored by `set`.
        unsafe { (*Self::slot(env, index)).load(Ordering::Acquire).as_ref() }
    }

    /// Sets a slot.
    ///
    /// # Safety
    /// `env` is a frame of this heap with more than `index` slots.
    #[inline(always)]
    pub(crate) unsafe fn set(env: *const Env<'h>, index: u32, value: Ref<'h>) {
        // SAFETY: by contract the slot exists.
        unsafe { (*Self::slot(env, index)).store(std::ptr::from_ref(value).cast_mut(), Ordering::Release) };
    }

    /// The frame `levels` above.
    ///
    /// # Safety
    /// `env` is a frame with that many frames above it.
    #[inline(always)]
    pub(crate) unsafe fn up(mut env: *const Env<'h>, levels: u32) -> *const Env<'h> {
        for _ in 0..levels {
            // SAFETY: by contract.
            env = (unsafe { (*env).up.load(Ordering::Relaxed) } & !CAPTURED) as *const Env<'h>;
        }
        env
    }

    /// Says that a value will point to the frame.
    ///
    /// Only the thread that made a frame knows it before this was said, so no two threads change the word.
    ///
    /// # Safety
    /// `env` is a frame of this heap that is not spare.
    #[inline(always)]
    pub(crate) unsafe fn capture(env: *const Env<'h>) {
        // SAFETY: by contract.
        let word = unsafe { &(*env).up };
        let up = word.load(Ordering::Relaxed);
        if up & CAPTURED == 0 {
            word.store(up | CAPTURED, Ordering::Relaxed);
        }
    }
}

const _: () = assert!(size_of::<AtomicPtr<Slot<'static>>>() == 8);

/// Frames with more slots are not kept.
const KEPT_SLOTS: usize = 16;

/// Frames for use again, by number of slots; the first word of each links to the next. One thread's own.
pub(crate) struct Spare<'h> {
    lists: [Cell<usize>; KEPT_SLOTS + 1],
    _heap: PhantomData<fn(&'h ()) -> &'h ()>,
}

impl Default for Spare<'_> {
    fn default() -> Self {
        Spare { lists: [const { Cell::new(0) }; KEPT_SLOTS + 1], _heap: PhantomData }
    }
}

impl<'h> Spare<'h> {
    /// A frame with `slots` unset slots for a call, below a frame that is captured (or none).
    #[inline(always)]
    pub(crate) fn frame(&self, arena: &'h Arena, up: *const Env<'h>, slots: usize) -> *const Env<'h> {
        if slots <= KEPT_SLOTS {
            let list = &self.lists[slots];
            let p = list.get() as *const Env<'h>;
            if !p.is_null() {
                // SAFETY: frames in the list are of this size, and nothing else points to them.
                unsafe {
                    list.set((*p).up.load(Ordering::Relaxed));
                    (*p).up.store(up as usize, Ordering::Relaxed);
                    for i in 0..slots {
                        (*Env::slot(p, i as u32)).store(std::ptr::null_mut(), Ordering::Relaxed);
                    }
                }
                return p;
            }
        }
        Env::new(arena, up, slots)
    }

    /// Takes back a frame of [`Spare::frame`] at the end of its call, unless it was captured.
    ///
    /// # Safety
    /// `env` came from `frame` with this number of slots, and the caller does not use it again.
    #[inline(always)]
    pub(crate) unsafe fn give_back(&self, env: *const Env<'h>, slots: usize) {
        // SAFETY: by contract.
        let word = unsafe { &(*env).up };
        if slots <= KEPT_SLOTS && word.load(Ordering::Relaxed) & CAPTURED == 0 {
            let list = &self.lists[slots];
            word.store(list.get(), Ordering::Relaxed);
            list.set(env as usize);
        }
    }
}
