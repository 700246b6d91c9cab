//! Environments: one frame of slots per function call (and per file, and per nested `let` that may never run).
//!
//! A frame is fresh zeroed memory, so an unset slot reads as absent. Slots are set with release order, because
//! a failed thunk that is forced again may set the same slot again with an equal value.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};

use nbv_syntax::Arena;

use crate::value::{Ref, Slot};

/// Header of a frame; its slots follow.
#[repr(C)]
pub(crate) struct Env<'h> {
    up: *const Env<'h>,
    _heap: PhantomData<fn(&'h ()) -> &'h ()>,
}

impl<'h> Env<'h> {
    /// A frame with `slots` unset slots.
    #[inline(always)]
    pub(crate) fn new(arena: &'h Arena, up: *const Env<'h>, slots: usize) -> *const Env<'h> {
        let p = arena.alloc_raw(size_of::<Env>() + slots * size_of::<usize>()).cast::<Env<'h>>();
        // SAFETY: freshly allocated, large enough, zeroed, aligned to 8.
        unsafe { p.write(Env { up, _heap: PhantomData }) };
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
            env = unsafe { (*env).up };
        }
        env
    }
}

const _: () = assert!(size_of::<AtomicPtr<Slot<'static>>>() == 8);
