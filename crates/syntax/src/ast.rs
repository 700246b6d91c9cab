//! The tree.
//!
//! Expressions live in an arena and refer to each other by plain references. Attribute sets are kept beside
//! them ([`Parsed::sets`]) because merging changes them while parsing goes on.

use std::collections::HashMap;

use nbv_diag::{Diagnostic, Span};

use crate::{FxBuild, Symbol};

/// One expression and its place.
#[derive(Debug)]
pub struct Expr<'a> {
    pub kind: ExprKind<'a>,
    pub span: Span,
}

/// A reference to an expression.
pub type E<'a> = &'a Expr<'a>;

/// Index of an attribute set in [`Parsed::sets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetId(pub u32);

#[derive(Debug, Clone, Copy)]
pub enum ExprKind<'a> {
    Int(i64),
    Float(f64),
    /// A string without interpolation, or a URI.
    String(&'a [u8]),
    /// An absolute path; it may end with a slash when interpolation follows.
    Path(&'a [u8]),
    /// `~/x`: the text behind the `~`.
    HomePath(&'a [u8]),
    /// `<x>`
    SearchPath(&'a [u8]),
    Var(Symbol),
    CurPos,
    /// `"a${b}"`: literal parts are [`ExprKind::String`].
    Interpolate(&'a [E<'a>]),
    /// `./a/${b}`: the first part is a path.
    PathInterpolate(&'a [E<'a>]),
    Select { base: E<'a>, rest: &'a SelectRest<'a> },
    HasAttr { base: E<'a>, path: &'a [Key<'a>] },
    Lambda(&'a Lambda<'a>),
    /// Function, then its arguments.
    Call(&'a [E<'a>]),
    Let { set: SetId, body: E<'a> },
    /// `let { …; body = …; }`
    LetBody(SetId),
    Set(SetId),
    List(&'a [E<'a>]),
    If(&'a [E<'a>; 3]),
    Assert(E<'a>, E<'a>),
    With(E<'a>, E<'a>),
    Not(E<'a>),
    Negate(E<'a>),
    Binary(Op, E<'a>, E<'a>),
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    Implies,
    Update,
    Add,
    Sub,
    Mul,
    Div,
    Concat,
}

/// What follows the base of a select.
#[derive(Debug)]
pub struct SelectRest<'a> {
    pub path: &'a [Key<'a>],
    pub default: Option<E<'a>>,
}

/// One component of an attribute path.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    Static(Symbol, Span),
    Dynamic(E<'a>),
}

impl Key<'_> {
    pub fn span(&self) -> Span {
        match self {
            Key::Static(_, span) => *span,
            Key::Dynamic(e) => e.span,
        }
    }
}

#[derive(Debug)]
pub struct Lambda<'a> {
    /// `x:` or the name at the `@`.
    pub arg: Option<(Symbol, Span)>,
    pub formals: Option<Formals<'a>>,
    pub body: E<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct Formals<'a> {
    /// Sorted by symbol.
    pub list: &'a [Formal<'a>],
    pub has_ellipsis: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Formal<'a> {
    pub name: Symbol,
    pub span: Span,
    pub default: Option<E<'a>>,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum AttrValue<'a> {
    Plain(E<'a>),
    /// `inherit x;`
    Inherited,
    /// `inherit (e) x;`: index in [`AttrSet::inherit_from`].
    InheritedFrom(u32),
}

#[derive(Debug, Clone, Copy)]
pub struct AttrDef<'a> {
    pub name: Symbol,
    /// The attribute path of the definition.
    pub span: Span,
    pub value: AttrValue<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct DynamicDef<'a> {
    pub name: E<'a>,
    pub span: Span,
    pub value: E<'a>,
}

/// The bindings of `{ }`, `rec { }` or `let`, merged, without duplicates, in the order of first definition.
#[derive(Debug, Default)]
pub struct AttrSet<'a> {
    pub is_recursive: bool,
    pub attrs: Vec<AttrDef<'a>>,
    pub inherit_from: Vec<E<'a>>,
    pub dynamic: Vec<DynamicDef<'a>>,
    index: HashMap<Symbol, u32, FxBuild>,
}

impl<'a> AttrSet<'a> {
    pub fn find(&self, name: Symbol) -> Option<usize> {
        if self.attrs.len() <= 12 {
            return self.attrs.iter().position(|a| a.name == name);
        }
        self.index.get(&name).map(|&i| i as usize)
    }

    pub(crate) fn push(&mut self, def: AttrDef<'a>) {
        if self.attrs.len() == 12 {
            self.index.extend(self.attrs.iter().enumerate().map(|(i, a)| (a.name, i as u32)));
        }
        if self.attrs.len() >= 12 {
            self.index.insert(def.name, self.attrs.len() as u32);
        }
        self.attrs.push(def);
    }

    pub(crate) fn clear_index(&mut self) {
        self.index.clear();
    }
}

/// A parsed text.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub root: E<'a>,
    pub sets: Vec<AttrSet<'a>>,
    /// Lints.
    pub warnings: Vec<Diagnostic>,
}

impl<'a> Parsed<'a> {
    pub fn set(&self, id: SetId) -> &AttrSet<'a> {
        &self.sets[id.0 as usize]
    }
}
