//! Values: 16 bytes each, in cells that are updated in place when a thunk is forced.
//!
//! A [`Value`] is two words. The low three bits of the first say what it is:
//!
//! | tag | first word | second word |
//! | --- | --- | --- |
//! | 0 finished | kind in bits 3 to 7, list length in the upper half | number or pointer |
//! | 1 thunk | environment | code |
//! | 2 lambda | environment | lambda node |
//! | 3 application | function cell | argument cell |
//! | 4 pending | thread id, above it the number of offers that it had made | what was there |
//! | 5 application to an attribute | function cell, upper half of the name's symbol above it | cell of the attribute, lower half above it |
//! | 6 application to an integer | function cell | integer |
//!
//! A [`Slot`] is the cell that holds a value: environments, lists and attribute sets point to slots and never
//! copy values. States: `thunk | an application -> pending -> finished`, or back to the thunk when it fails.
//! The winner of the compare-exchange to pending owns the cell until it stores the result.
//!
//! Everything lives in arenas with lifetime `'h` and has no destructor.

use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nbv_syntax::{Arena, Symbol, Symbols};

pub(crate) use crate::attrs::{Attr, Attrs};
use crate::context::Context;
use crate::env::Env;
use crate::error::EvalError;
use crate::node::{LambdaNode, Node, Pattern};
use crate::primop::PrimOp;

/// A cell in the heap. Cheap to copy; this is what builtins get and give.
pub type Ref<'h> = &'h Slot<'h>;

/// What evaluation gives.
pub type EvalResult<T> = Result<T, EvalError>;

pub(crate) const TAG_MASK: u64 = 7;
pub(crate) const TAG_DONE: u64 = 0;
pub(crate) const TAG_THUNK: u64 = 1;
pub(crate) const TAG_LAMBDA: u64 = 2;
pub(crate) const TAG_APP: u64 = 3;
pub(crate) const TAG_PENDING: u64 = 4;
pub(crate) const TAG_ATTR_APP: u64 = 5;
pub(crate) const TAG_INT_APP: u64 = 6;

/// Bits of an address; the system gives programs no larger ones unless they ask.
const ADDRESS_BITS: u32 = 48;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

const K_NULL: u64 = 1 << 3;
const K_BOOL: u64 = 2 << 3;
const K_INT: u64 = 3 << 3;
const K_FLOAT: u64 = 4 << 3;
const K_STRING: u64 = 5 << 3;
const K_PATH: u64 = 6 << 3;
const K_LIST: u64 = 7 << 3;
const K_ATTRS: u64 = 8 << 3;
const K_PRIMOP: u64 = 9 << 3;
const K_PAP: u64 = 10 << 3;

const THREAD_BITS: u32 = 21;

/// The first word of a cell that a thread evaluates, which had made so many offers (see [`crate::parallel`]).
#[inline(always)]
pub(crate) fn pending_by(thread: u64, offers: u64) -> u64 {
    offers << (3 + THREAD_BITS) | thread << 3 | TAG_PENDING
}

/// Thread and offers of a pending cell's first word.
#[inline(always)]
pub(crate) fn pending_parts(w0: u64) -> (u64, u64) {
    (w0 >> 3 & ((1 << THREAD_BITS) - 1), w0 >> (3 + THREAD_BITS))
}

/// Two words; see the module. A `Value` that [`crate::Evaluator::force`] returned is finished.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Value<'h> {
    pub(crate) w0: NonZeroU64,
    pub(crate) w1: u64,
    _heap: PhantomData<fn(&'h ()) -> &'h ()>,
}

const _: () = assert!(size_of::<EvalResult<Value<'static>>>() == 16);

/// The types of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Int,
    Float,
    String,
    Path,
    List,
    Attrs,
    Lambda,
    PrimOp,
    /// A function that waits for more arguments.
    Partial,
    /// Not forced yet.
    Thunk,
}

impl Kind {
    /// With article, as messages say it.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a Boolean",
            Kind::Int => "an integer",
            Kind::Float => "a float",
            Kind::String => "a string",
            Kind::Path => "a path",
            Kind::List => "a list",
            Kind::Attrs => "a set",
            Kind::Lambda => "a function",
            Kind::PrimOp => "a built-in function",
            Kind::Partial => "a partially applied function",
            Kind::Thunk => "a thunk",
        }
    }
}

/// A finished value, taken apart.
#[derive(Clone, Copy)]
pub enum View<'h> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Str<'h>),
    Path(Str<'h>),
    List(&'h [Ref<'h>]),
    Attrs(Attrs<'h>),
    Lambda(Lambda<'h>),
    PrimOp(&'h PrimOp),
    Partial(&'h Pap<'h>),
    Thunk,
}

impl<'h> Value<'h> {
    #[inline(always)]
    pub(crate) fn raw(w0: u64, w1: u64) -> Value<'h> {
        debug_assert!(w0 != 0);
        // SAFETY: every caller passes a tagged word: kinds start at `1 << 3`, other tags are not zero.
        let w0 = unsafe { NonZeroU64::new_unchecked(w0) };
        Value { w0, w1, _heap: PhantomData }
    }

    pub const NULL: Value<'static> = Value { w0: NonZeroU64::new(K_NULL).unwrap(), w1: 0, _heap: PhantomData };

    #[inline(always)]
    pub fn null() -> Self {
        Value::raw(K_NULL, 0)
    }

    #[inline(always)]
    pub fn bool(b: bool) -> Self {
        Value::raw(K_BOOL, b as u64)
    }

    #[inline(always)]
    pub fn int(n: i64) -> Self {
        Value::raw(K_INT, n as u64)
    }

    #[inline(always)]
    pub fn float(x: f64) -> Self {
        Value::raw(K_FLOAT, x.to_bits())
    }

    #[inline(always)]
    pub fn string(s: Str<'h>) -> Self {
        Value::raw(K_STRING, s.0 as *const StrHeader as u64)
    }

    /// A path value; `s` holds an absolute, normalised path.
    #[inline(always)]
    pub fn path(s: Str<'h>) -> Self {
        Value::raw(K_PATH, s.0 as *const StrHeader as u64)
    }

    #[inline(always)]
    pub fn list(items: &'h [Ref<'h>]) -> Self {
        Value::raw(K_LIST | (items.len() as u64) << 32, items.as_ptr() as u64)
    }

    #[inline(always)]
    pub fn attrs(a: Attrs<'h>) -> Self {
        Value::raw(K_ATTRS, a.address() as u64)
    }

    #[inline(always)]
    pub(crate) fn lambda(env: *const Env<'h>, node: &'h LambdaNode<'h>) -> Self {
        // SAFETY: code runs in a frame that is in use.
        unsafe { Env::capture(env) };
        Value::raw(env as u64 | TAG_LAMBDA, node as *const LambdaNode as u64)
    }

    #[inline(always)]
    pub fn primop(p: &'h PrimOp) -> Self {
        Value::raw(K_PRIMOP, p as *const PrimOp as u64)
    }

    #[inline(always)]
    pub(crate) fn pap(p: &'h Pap<'h>) -> Self {
        Value::raw(K_PAP, p as *const Pap as u64)
    }

    #[inline(always)]
    pub(crate) fn thunk(env: *const Env<'h>, node: &'h Node<'h>) -> Self {
        // SAFETY: code runs in a frame that is in use.
        unsafe { Env::capture(env) };
        Value::raw(env as u64 | TAG_THUNK, node as *const Node as u64)
    }

    #[inline(always)]
    pub(crate) fn app(f: Ref<'h>, arg: Ref<'h>) -> Self {
        Value::raw(f as *const Slot as u64 | TAG_APP, arg as *const Slot as u64)
    }

    /// `f name value`: what `mapAttrs` puts in an attribute, in one cell.
    #[inline(always)]
    pub(crate) fn attr_app(f: Ref<'h>, name: Symbol, value: Ref<'h>) -> Self {
        let high = u64::from(name.0 >> 16) << ADDRESS_BITS;
        let low = u64::from(name.0 & 0xffff) << ADDRESS_BITS;
        Value::raw(f as *const Slot as u64 | TAG_ATTR_APP | high, value as *const Slot as u64 | low)
    }

    /// Takes apart the words of [`Value::attr_app`].
    ///
    /// # Safety
    /// The words are those of such a value of this heap.
    #[inline(always)]
    pub(crate) unsafe fn attr_app_parts(w0: u64, w1: u64) -> (Ref<'h>, Symbol, Ref<'h>) {
        let name = Symbol((w0 >> ADDRESS_BITS << 16 | w1 >> ADDRESS_BITS) as u32);
        // SAFETY: by contract the addresses are those of cells.
        unsafe { (&*((w0 & ADDRESS & !TAG_MASK) as *const Slot<'h>), name, &*((w1 & ADDRESS) as *const Slot<'h>)) }
    }

    /// `f n`: what `genList` puts in a list.
    #[inline(always)]
    pub(crate) fn int_app(f: Ref<'h>, n: i64) -> Self {
        Value::raw(f as *const Slot as u64 | TAG_INT_APP, n as u64)
    }

    #[inline(always)]
    pub(crate) fn tag(self) -> u64 {
        self.w0.get() & TAG_MASK
    }

    /// Whether this is in weak head normal form.
    #[inline(always)]
    pub fn is_finished(self) -> bool {
        matches!(self.tag(), TAG_DONE | TAG_LAMBDA)
    }

    #[inline(always)]
    fn low(self) -> u64 {
        // Lambdas have arbitrary address bits here, so only kinds with tag 0 may be compared with this.
        self.w0.get() & 0xffff_ffff
    }

    #[inline(always)]
    fn has_kind(self, kind: u64) -> bool {
        self.w0.get() == kind
    }

    /// The type; [`Kind::Thunk`] when the value is not finished.
    #[inline]
    pub fn kind(self) -> Kind {
        match self.tag() {
            TAG_DONE => match self.low() {
                K_NULL => Kind::Null,
                K_BOOL => Kind::Bool,
                K_INT => Kind::Int,
                K_FLOAT => Kind::Float,
                K_STRING => Kind::String,
                K_PATH => Kind::Path,
                K_LIST => Kind::List,
                K_ATTRS => Kind::Attrs,
                K_PRIMOP => Kind::PrimOp,
                _ => Kind::Partial,
            },
            TAG_LAMBDA => Kind::Lambda,
            _ => Kind::Thunk,
        }
    }

    /// The value taken apart.
    #[inline]
    pub fn view(self) -> View<'h> {
        match self.kind() {
            Kind::Null => View::Null,
            Kind::Bool => View::Bool(self.w1 != 0),
            Kind::Int => View::Int(self.w1 as i64),
            Kind::Float => View::Float(f64::from_bits(self.w1)),
            // SAFETY: the kind says what the second word points to; heap objects live for `'h`.
            Kind::String => View::String(Str(unsafe { &*(self.w1 as *const StrHeader) })),
            // SAFETY: as above.
            Kind::Path => View::Path(Str(unsafe { &*(self.w1 as *const StrHeader) })),
            Kind::List => View::List(self.list_items()),
            // SAFETY: as above.
            Kind::Attrs => View::Attrs(unsafe { Attrs::from_address(self.w1) }),
            // SAFETY: as above.
            Kind::PrimOp => View::PrimOp(unsafe { &*(self.w1 as *const PrimOp) }),
            // SAFETY: as above.
            Kind::Partial => View::Partial(unsafe { &*(self.w1 as *const Pap) }),
            Kind::Lambda => View::Lambda(self.lambda_parts()),
            Kind::Thunk => View::Thunk,
        }
    }

    #[inline(always)]
    pub(crate) fn lambda_parts(self) -> Lambda<'h> {
        debug_assert_eq!(self.tag(), TAG_LAMBDA);
        Lambda {
            env: (self.w0.get() & !TAG_MASK) as *const Env<'h>,
            // SAFETY: a lambda's second word is its node.
            node: unsafe { &*(self.w1 as *const LambdaNode<'h>) },
        }
    }

    #[inline(always)]
    fn list_items(self) -> &'h [Ref<'h>] {
        let len = (self.w0.get() >> 32) as usize;
        // SAFETY: `Value::list` stored pointer and length of a slice that lives for `'h`.
        unsafe { std::slice::from_raw_parts(self.w1 as *const Ref<'h>, len) }
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.has_kind(K_NULL)
    }

    #[inline(always)]
    pub fn as_bool(self) -> Option<bool> {
        self.has_kind(K_BOOL).then_some(self.w1 != 0)
    }

    #[inline(always)]
    pub fn as_int(self) -> Option<i64> {
        self.has_kind(K_INT).then_some(self.w1 as i64)
    }

    #[inline(always)]
    pub fn as_float(self) -> Option<f64> {
        self.has_kind(K_FLOAT).then_some(f64::from_bits(self.w1))
    }

    #[inline(always)]
    pub fn as_string(self) -> Option<Str<'h>> {
        // SAFETY: the kind says what the second word points to.
        self.has_kind(K_STRING).then(|| Str(unsafe { &*(self.w1 as *const StrHeader) }))
    }

    #[inline(always)]
    pub fn as_path(self) -> Option<Str<'h>> {
        // SAFETY: the kind says what the second word points to.
        self.has_kind(K_PATH).then(|| Str(unsafe { &*(self.w1 as *const StrHeader) }))
    }

    #[inline(always)]
    pub fn as_list(self) -> Option<&'h [Ref<'h>]> {
        (self.tag() == TAG_DONE && self.low() == K_LIST).then(|| self.list_items())
    }

    #[inline(always)]
    pub fn as_attrs(self) -> Option<Attrs<'h>> {
        // SAFETY: the kind says what the second word points to.
        self.has_kind(K_ATTRS).then(|| unsafe { Attrs::from_address(self.w1) })
    }

    /// Whether this is a lambda, a built-in or a partial application (not a functor).
    #[inline]
    pub fn is_function(self) -> bool {
        matches!(self.kind(), Kind::Lambda | Kind::PrimOp | Kind::Partial)
    }

    /// The name that `builtins.typeOf` gives.
    pub fn type_name(self) -> &'static str {
        match self.kind() {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::String => "string",
            Kind::Path => "path",
            Kind::List => "list",
            Kind::Attrs => "set",
            Kind::Lambda | Kind::PrimOp | Kind::Partial => "lambda",
            Kind::Thunk => "thunk",
        }
    }

    /// What the next argument of a function must look like; `None` for built-ins and other values.
    pub(crate) fn next_parameter(self) -> Option<Parameter<'h>> {
        let (lambda, have) = match self.view() {
            View::Lambda(lambda) => (lambda, 0),
            View::Partial(pap) => match pap.function.view() {
                View::Lambda(lambda) => (lambda, pap.args.len()),
                _ => return None,
            },
            _ => return None,
        };
        let is_last = have + 1 == lambda.node.arity as usize;
        Some(Parameter {
            name: lambda.node.params[have],
            pattern: lambda.node.pattern.filter(|_| is_last),
            span: lambda.node.span,
        })
    }
}

/// A cell that holds a value; see the module.
#[repr(C)]
pub struct Slot<'h> {
    w0: AtomicU64,
    w1: AtomicU64,
    _heap: PhantomData<fn(&'h ()) -> &'h ()>,
}

impl<'h> Slot<'h> {
    pub fn new(v: Value<'h>) -> Slot<'h> {
        Slot { w0: AtomicU64::new(v.w0.get()), w1: AtomicU64::new(v.w1), _heap: PhantomData }
    }

    /// The words now. When the first word is not finished the second may already be another's.
    #[inline(always)]
    pub(crate) fn load(&self) -> Value<'h> {
        let w0 = self.w0.load(Ordering::Acquire);
        Value::raw(w0, self.w1.load(Ordering::Relaxed))
    }

    /// The value if it is finished already; never evaluates.
    #[inline(always)]
    pub fn peek(&self) -> Option<Value<'h>> {
        let v = self.load();
        v.is_finished().then_some(v)
    }

    /// Takes the cell for evaluation; `pending` is a word of [`pending_by`]. Gives the second word of what was there.
    #[inline(always)]
    pub(crate) fn begin(&self, seen: u64, pending: u64) -> Option<u64> {
        self.w0.compare_exchange(seen, pending, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(self.w1.load(Ordering::Relaxed))
    }

    /// Stores the result; the caller owns the cell (it won `begin`, or nobody else has the cell yet).
    #[inline(always)]
    pub(crate) fn finish(&self, v: Value<'h>) {
        self.w1.store(v.w1, Ordering::Relaxed);
        self.w0.store(v.w0.get(), Ordering::Release);
    }
}

/// Header of a string; the bytes follow. A context, if it has one, is in the word before.
#[repr(C, align(8))]
pub(crate) struct StrHeader {
    len: u32,
    /// Symbol id + 1 of this text, once somebody asked for it; the highest bit says that there is a context.
    symbol: AtomicU32,
}

const HAS_CONTEXT: u32 = 1 << 31;

/// A string in the heap: bytes (not necessarily UTF-8) and context.
#[derive(Clone, Copy)]
pub struct Str<'h>(&'h StrHeader);

// SAFETY: strings are immutable but for the symbol cache, which is atomic; the context is shared and immutable.
unsafe impl Send for Str<'_> {}
// SAFETY: as above.
unsafe impl Sync for Str<'_> {}

impl<'h> Str<'h> {
    /// Copies the concatenation of `parts` into the arena.
    pub fn concat(arena: &'h Arena, parts: &[&[u8]], context: Context<'h>) -> Str<'h> {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        assert!(len < u32::MAX as usize, "strings are shorter than 4 GiB");
        let before = if context.is_empty() { 0 } else { size_of::<usize>() };
        let p = arena.alloc_raw(before + size_of::<StrHeader>() + len);
        // SAFETY: the allocation has room for the context's word if there is one, the header and `len` bytes, and
        // belongs to nobody else.
        unsafe {
            if before > 0 {
                p.cast::<*const ()>().write(context.as_ptr());
            }
            let header = p.add(before).cast::<StrHeader>();
            let flag = if before > 0 { HAS_CONTEXT } else { 0 };
            header.write(StrHeader { len: len as u32, symbol: AtomicU32::new(flag) });
            let mut to = header.add(1).cast::<u8>().as_ptr();
            for part in parts {
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
            Str(header.as_ref())
        }
    }

    #[inline(always)]
    pub fn bytes(self) -> &'h [u8] {
        let start = std::ptr::from_ref(self.0).wrapping_add(1).cast::<u8>();
        // SAFETY: `concat` wrote `len` bytes behind the header.
        unsafe { std::slice::from_raw_parts(start, self.0.len as usize) }
    }

    #[inline(always)]
    pub fn context(self) -> Context<'h> {
        if self.0.symbol.load(Ordering::Relaxed) & HAS_CONTEXT == 0 {
            return Context::empty();
        }
        let word = std::ptr::from_ref(self.0).cast::<*const ()>().wrapping_sub(1);
        // SAFETY: the flag says that `concat` wrote the word before the header, with a pointer from
        // `Context::as_ptr` of the same heap lifetime.
        unsafe { Context::from_ptr(*word) }
    }

    /// The text for messages.
    pub fn to_str_lossy(self) -> std::borrow::Cow<'h, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// The symbol of this text; remembered in the string.
    #[inline]
    pub fn symbol(self, symbols: &Symbols) -> Symbol {
        match self.0.symbol.load(Ordering::Relaxed) & !HAS_CONTEXT {
            0 => {
                let symbol = symbols.intern(self.bytes());
                self.set_symbol(symbol);
                symbol
            }
            id => Symbol(id - 1),
        }
    }

    pub(crate) fn set_symbol(self, symbol: Symbol) {
        let flag = self.0.symbol.load(Ordering::Relaxed) & HAS_CONTEXT;
        self.0.symbol.store(symbol.0 + 1 | flag, Ordering::Relaxed);
    }
}

/// A lambda with the environment that it was made in.
#[derive(Clone, Copy)]
pub struct Lambda<'h> {
    pub(crate) env: *const Env<'h>,
    pub(crate) node: &'h LambdaNode<'h>,
}

/// See [`Value::next_parameter`].
pub(crate) struct Parameter<'h> {
    pub(crate) name: Option<Symbol>,
    pub(crate) pattern: Option<&'h Pattern<'h>>,
    pub(crate) span: nbv_diag::Span,
}

/// A function and the arguments that it has so far.
pub struct Pap<'h> {
    pub(crate) function: Value<'h>,
    pub(crate) args: &'h [Ref<'h>],
}

impl<'h> Pap<'h> {
    /// The function that waits.
    pub fn function(&self) -> Value<'h> {
        self.function
    }

    /// The arguments that it has.
    pub fn args(&self) -> &'h [Ref<'h>] {
        self.args
    }
}
