//! Code: what the compiler makes of a syntax tree.
//!
//! Variables are (frames up, slot); constants are preallocated cells; literal structure is shared by all
//! threads. Nodes live in the heap as long as the values that refer to them.

use nbv_diag::Span;
use nbv_syntax::Symbol;

use crate::attrs::Shape;
use crate::value::Ref;

pub(crate) type N<'h> = &'h Node<'h>;

pub(crate) struct Node<'h> {
    pub(crate) code: Code<'h>,
    pub(crate) span: Span,
}

const _: () = assert!(size_of::<Node<'static>>() == 32);

#[derive(Clone, Copy)]
pub(crate) enum Code<'h> {
    Const(Ref<'h>),
    /// Slot of the innermost frame.
    Local0(u32),
    Local1(u32),
    Local { up: u32, slot: u32 },
    /// A name that only `with` can give.
    Dynamic(&'h DynamicVar<'h>),
    /// `e.name`
    Select(N<'h>, Symbol),
    SelectPath(&'h SelectPath<'h>),
    /// `e ? a.b`
    HasAttr(&'h SelectPath<'h>),
    Lambda(&'h LambdaNode<'h>),
    /// Function, then its arguments.
    Call(&'h [N<'h>]),
    Let(&'h LetNode<'h>),
    AttrSet(&'h AttrSetNode<'h>),
    List(&'h [N<'h>]),
    If(&'h [N<'h>; 3]),
    Assert(N<'h>, N<'h>),
    With(&'h WithNode<'h>),
    Not(N<'h>),
    And(N<'h>, N<'h>),
    Or(N<'h>, N<'h>),
    Implies(N<'h>, N<'h>),
    Equal(N<'h>, N<'h>),
    NotEqual(N<'h>, N<'h>),
    Less(N<'h>, N<'h>),
    LessEqual(N<'h>, N<'h>),
    Greater(N<'h>, N<'h>),
    GreaterEqual(N<'h>, N<'h>),
    Add(N<'h>, N<'h>),
    Sub(N<'h>, N<'h>),
    Mul(N<'h>, N<'h>),
    Div(N<'h>, N<'h>),
    Update(N<'h>, N<'h>),
    Concat(N<'h>, N<'h>),
    /// `"…${e}…"`: the result is a string.
    Interpolate(&'h [N<'h>]),
    /// `./a/${e}`: the result is a path.
    PathInterpolate(&'h [N<'h>]),
    CurPos,
}

pub(crate) struct DynamicVar<'h> {
    pub(crate) name: Symbol,
    /// Where the sets are, innermost first: (frames up, slot).
    pub(crate) chain: &'h [(u32, u32)],
}

#[derive(Clone, Copy)]
pub(crate) enum AttrKey<'h> {
    Static(Symbol, Span),
    Dynamic(N<'h>),
}

pub(crate) struct SelectPath<'h> {
    pub(crate) base: N<'h>,
    pub(crate) path: &'h [AttrKey<'h>],
    pub(crate) default: Option<N<'h>>,
}

pub(crate) struct LambdaNode<'h> {
    /// Parameters taken in one step; the last one may be a pattern.
    pub(crate) arity: u32,
    /// Slots of the frame: parameters, the pattern's names, merged `let`s.
    pub(crate) frame: u32,
    pub(crate) pattern: Option<&'h Pattern<'h>>,
    pub(crate) body: N<'h>,
    pub(crate) span: Span,
    /// Name of the binding that holds the function, if any.
    pub(crate) name: Option<Symbol>,
    /// Names of the parameters; none for a pattern without `@`.
    pub(crate) params: &'h [Option<Symbol>],
}

pub(crate) struct Pattern<'h> {
    /// Sorted by symbol; formal `i` has slot `first_slot + i`.
    pub(crate) formals: &'h [Formal<'h>],
    pub(crate) first_slot: u32,
    pub(crate) has_ellipsis: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Formal<'h> {
    pub(crate) name: Symbol,
    pub(crate) pos: u32,
    pub(crate) default: Option<N<'h>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Bind<'h> {
    pub(crate) slot: u32,
    /// Compiled for the frame outside (`inherit x`), when the binding group has a frame of its own.
    pub(crate) is_outer: bool,
    pub(crate) value: N<'h>,
}

pub(crate) struct LetNode<'h> {
    /// Size of an own frame; 0 when the slots are part of the enclosing one.
    pub(crate) frame: u32,
    pub(crate) binds: &'h [Bind<'h>],
    pub(crate) body: N<'h>,
}

#[derive(Clone, Copy)]
pub(crate) enum AttrValue<'h> {
    /// Plain sets and `inherit` in recursive ones: code for the outer frame.
    Outer(N<'h>),
    /// Recursive sets: the cell is in this slot of the set's frame.
    Slot(u32),
}

pub(crate) struct AttrSetNode<'h> {
    /// Size of an own frame; 0 when none is needed.
    pub(crate) frame: u32,
    /// Cells made first: hidden ones for `inherit (e)` and, in recursive sets, every attribute.
    pub(crate) binds: &'h [Bind<'h>],
    /// Names and places of the attributes.
    pub(crate) shape: Shape<'h>,
    /// One for each key of the shape.
    pub(crate) values: &'h [AttrValue<'h>],
    pub(crate) dynamic: &'h [DynamicBind<'h>],
    /// Recursive with an attribute `__overrides`: its slot.
    pub(crate) has_overrides: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct DynamicBind<'h> {
    pub(crate) name: N<'h>,
    pub(crate) pos: u32,
    pub(crate) value: N<'h>,
}

pub(crate) struct WithNode<'h> {
    pub(crate) slot: u32,
    pub(crate) set: N<'h>,
    pub(crate) body: N<'h>,
}
