//! From the syntax tree to code: resolves variables to slots and chooses specialised nodes.
//!
//! One frame of slots belongs to a function call. A `let` or recursive set that is evaluated as part of the
//! call (not inside a thunk) gets its slots in the call's frame; so do all of a file's top level. Every site
//! runs at most once per frame (again only after a failure, with an equal result), so the slots are private.

use std::collections::HashMap;

use nbv_diag::Span;
use nbv_syntax::ast::{AttrSet, AttrValue as AstValue, E, ExprKind, Key as AstKey, Lambda, Op, Parsed, SetId};
use nbv_syntax::{FxBuild, Symbol};

use crate::attrs::{Key, Shape};
use crate::context::Context;
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::node::{
    AttrKey, AttrSetNode, AttrValue, Bind, Code, DynamicBind, DynamicVar, Formal, LambdaNode, LetNode, N, Node,
    Pattern, SelectPath, WithNode,
};
use crate::sym;
use crate::value::{EvalResult, Ref, Value};

/// Names that an expression sees besides the global ones (`scopedImport`).
pub(crate) type ExtraScope<'h> = HashMap<Symbol, Ref<'h>, FxBuild>;

/// The code of a text and the size of its frame.
pub(crate) struct Compiled<'h> {
    pub(crate) root: N<'h>,
    pub(crate) frame: u32,
}

enum Scope<'h, 'p> {
    /// Names with slots in a frame (index in `frames`); sorted when there are more than [`LINEAR`].
    Names { frame: u32, names: Vec<(Symbol, u32)> },
    With { frame: u32, slot: u32 },
    Extra(&'p ExtraScope<'h>),
}

/// Scopes up to this size are searched one by one, from the end.
const LINEAR: usize = 8;

struct Compiler<'h, 'p, 'a> {
    ev: &'p Evaluator<'h>,
    parsed: &'p Parsed<'a>,
    /// Slots used so far of each frame.
    frames: Vec<u32>,
    scopes: Vec<Scope<'h, 'p>>,
    /// How many scopes bind a name that operators are made of (`__sub`, …).
    operator_scopes: u32,
}

/// Compiles a parsed text.
pub(crate) fn compile<'h>(
    ev: &Evaluator<'h>,
    parsed: &Parsed<'_>,
    extra: Option<&ExtraScope<'h>>,
) -> EvalResult<Compiled<'h>> {
    let mut c = Compiler { ev, parsed, frames: vec![0], scopes: Vec::new(), operator_scopes: 0 };
    if let Some(extra) = extra {
        c.operator_scopes += u32::from(extra.keys().any(|s| sym::is_operator(*s)));
        c.scopes.push(Scope::Extra(extra));
    }
    let root = c.expr(parsed.root, true)?;
    Ok(Compiled { root, frame: c.frames[0] })
}

enum Found<'h> {
    Slot { up: u32, slot: u32 },
    Const(Ref<'h>),
}

impl<'h, 'p, 'a> Compiler<'h, 'p, 'a> {
    fn mk(&self, code: Code<'h>, span: Span) -> N<'h> {
        self.ev.arena.alloc(Node { code, span })
    }

    fn constant(&self, v: Value<'h>, span: Span) -> N<'h> {
        self.mk(Code::Const(self.ev.cell(v)), span)
    }

    fn frame(&self) -> u32 {
        self.frames.len() as u32 - 1
    }

    fn new_slots(&mut self, n: u32) -> u32 {
        let frame = self.frame() as usize;
        let first = self.frames[frame];
        self.frames[frame] += n;
        first
    }

    fn find(&self, name: Symbol) -> Option<Found<'h>> {
        for scope in self.scopes.iter().rev() {
            match scope {
                Scope::Names { frame, names } => {
                    let found = if names.len() <= LINEAR {
                        names.iter().rev().find(|n| n.0 == name).map(|n| n.1)
                    } else {
                        names.binary_search_by_key(&name, |n| n.0).ok().map(|i| names[i].1)
                    };
                    if let Some(slot) = found {
                        return Some(Found::Slot { up: self.frame() - frame, slot });
                    }
                }
                Scope::With { .. } => {}
                Scope::Extra(extra) => {
                    if let Some(r) = extra.get(&name) {
                        return Some(Found::Const(r));
                    }
                }
            }
        }
        None
    }

    fn push_names(&mut self, mut names: Vec<(Symbol, u32)>) {
        if names.len() > LINEAR {
            names.sort_unstable_by_key(|n| n.0);
        }
        self.operator_scopes += u32::from(names.iter().any(|n| sym::is_operator(n.0)));
        self.scopes.push(Scope::Names { frame: self.frame(), names });
    }

    fn pop_names(&mut self) {
        if let Some(Scope::Names { names, .. }) = self.scopes.pop() {
            self.operator_scopes -= u32::from(names.iter().any(|n| sym::is_operator(n.0)));
        }
    }

    fn local(&self, up: u32, slot: u32, span: Span) -> N<'h> {
        let code = match up {
            0 => Code::Local0(slot),
            1 => Code::Local1(slot),
            up => Code::Local { up, slot },
        };
        self.mk(code, span)
    }

    fn var(&self, name: Symbol, span: Span) -> EvalResult<N<'h>> {
        match self.find(name) {
            Some(Found::Slot { up, slot }) => return Ok(self.local(up, slot, span)),
            Some(Found::Const(r)) => return Ok(self.mk(Code::Const(r), span)),
            None => {}
        }
        if let Some(&r) = self.ev.globals().names.get(&name) {
            return Ok(self.mk(Code::Const(r), span));
        }
        let chain: Vec<(u32, u32)> = self
            .scopes
            .iter()
            .rev()
            .filter_map(|s| match s {
                Scope::With { frame, slot } => Some((self.frame() - frame, *slot)),
                _ => None,
            })
            .collect();
        if chain.is_empty() {
            return Err(self.undefined(name, span));
        }
        let var = self.ev.arena.alloc(DynamicVar { name, chain: self.ev.arena.slice(&chain) });
        Ok(self.mk(Code::Dynamic(var), span))
    }

    #[cold]
    fn undefined(&self, name: Symbol, span: Span) -> EvalError {
        let wanted = self.ev.display(name);
        let mut names = Vec::new();
        for scope in &self.scopes {
            match scope {
                Scope::Names { names: list, .. } => names.extend(list.iter().map(|n| self.ev.display(n.0))),
                Scope::With { .. } => {}
                Scope::Extra(extra) => names.extend(extra.keys().map(|s| self.ev.display(*s))),
            }
        }
        let visible = |s: &Symbol| !self.ev.name(*s).starts_with(b"__");
        names.extend(self.ev.globals().names.keys().filter(|s| visible(s)).map(|s| self.ev.display(*s)));
        let e = EvalError::new("eval::undefined-variable", format!("undefined variable `{wanted}`")).at(span);
        match nbv_diag::did_you_mean(&wanted, names.iter().map(|n| &**n)) {
            Some(hint) => e.hint(hint),
            None => e,
        }
    }

    /// The node of a global function that an operator stands for, when its name is bound by the program.
    fn shadowed(&self, name: Symbol, span: Span) -> Option<N<'h>> {
        if self.operator_scopes == 0 {
            return None;
        }
        match self.find(name)? {
            Found::Slot { up, slot } => Some(self.local(up, slot, span)),
            Found::Const(r) => Some(self.mk(Code::Const(r), span)),
        }
    }

    fn list(&mut self, items: &[E<'a>]) -> EvalResult<&'h [N<'h>]> {
        let nodes = items.iter().map(|e| self.expr(e, false)).collect::<EvalResult<Vec<_>>>()?;
        Ok(self.ev.arena.slice(&nodes))
    }

    /// `is_direct`: evaluated as part of the frame's own code, not inside a thunk.
    fn expr(&mut self, e: E<'a>, is_direct: bool) -> EvalResult<N<'h>> {
        self.ev.check_stack().map_err(|_| EvalError::new("syntax::error", "expressions are nested too deeply").at(e.span))?;
        let span = e.span;
        let ev = self.ev;
        Ok(match e.kind {
            ExprKind::Int(n) => self.constant(Value::int(n), span),
            ExprKind::Float(x) => self.constant(Value::float(x), span),
            ExprKind::String(s) => self.constant(ev.str(s), span),
            ExprKind::Path(p) => self.constant(Value::path(ev.make_str(p, Context::empty())), span),
            ExprKind::HomePath(rest) => {
                let Some(home) = ev.world().env(b"HOME").filter(|h| h.first() == Some(&b'/')) else {
                    return Err(EvalError::new("eval::home", "`~` cannot be resolved: HOME is not set").at(span));
                };
                let mut path = crate::evaluator::normalise_path(&[&home[..], rest].concat());
                if rest.last() == Some(&b'/') {
                    path.push(b'/');
                }
                self.constant(Value::path(ev.make_str(&path, Context::empty())), span)
            }
            ExprKind::SearchPath(text) => {
                let find = self.var(sym::FIND_FILE, span)?;
                let path = self.var(sym::NIX_PATH, span)?;
                let text = self.constant(ev.str(text), span);
                self.mk(Code::Call(ev.arena.slice(&[find, path, text])), span)
            }
            ExprKind::Var(name) => self.var(name, span)?,
            ExprKind::CurPos => self.mk(Code::CurPos, span),
            ExprKind::Interpolate(parts) => {
                let nodes = parts.iter().map(|e| self.expr(e, is_direct)).collect::<EvalResult<Vec<_>>>()?;
                self.mk(Code::Interpolate(ev.arena.slice(&nodes)), span)
            }
            ExprKind::PathInterpolate(parts) => {
                let nodes = parts.iter().map(|e| self.expr(e, is_direct)).collect::<EvalResult<Vec<_>>>()?;
                self.mk(Code::PathInterpolate(ev.arena.slice(&nodes)), span)
            }
            ExprKind::Select { base, rest } => {
                let mut base = self.expr(base, is_direct)?;
                let is_static = rest.default.is_none() && rest.path.iter().all(|k| matches!(k, AstKey::Static(..)));
                if is_static {
                    for key in rest.path {
                        if let AstKey::Static(name, at) = *key {
                            let span = if rest.path.len() == 1 { span } else { base.span.to(at) };
                            base = self.mk(Code::Select(base, name), span);
                        }
                    }
                    return Ok(base);
                }
                let path = self.keys(rest.path, is_direct)?;
                let default = rest.default.map(|d| self.expr(d, is_direct)).transpose()?;
                self.mk(Code::SelectPath(ev.arena.alloc(SelectPath { base, path, default })), span)
            }
            ExprKind::HasAttr { base, path } => {
                let base = self.expr(base, is_direct)?;
                let path = self.keys(path, is_direct)?;
                self.mk(Code::HasAttr(ev.arena.alloc(SelectPath { base, path, default: None })), span)
            }
            ExprKind::Lambda(lambda) => self.lambda(lambda, span, None)?,
            ExprKind::Call([f, args @ ..]) => {
                let mut nodes = vec![self.expr(f, is_direct)?];
                for arg in args {
                    nodes.push(self.expr(arg, false)?);
                }
                self.mk(Code::Call(ev.arena.slice(&nodes)), span)
            }
            ExprKind::Call([]) => unreachable!("a call has a function"),
            ExprKind::Let { set, body } => {
                let group = self.open_group(set, is_direct)?;
                let body = self.expr(body, true)?;
                let frame = self.close_group(group.has_frame);
                let code = Code::Let(ev.arena.alloc(LetNode { frame, binds: group.binds, body }));
                self.mk(code, span)
            }
            ExprKind::LetBody(set) => {
                let set = self.recursive_set(set, span, is_direct)?;
                self.mk(Code::Select(set, sym::BODY), span)
            }
            ExprKind::Set(set) if self.parsed.set(set).is_recursive => self.recursive_set(set, span, is_direct)?,
            ExprKind::Set(set) => self.plain_set(set, span)?,
            ExprKind::List([]) => self.mk(Code::Const(ev.common.empty_list), span),
            ExprKind::List(items) => {
                let items = self.list(items)?;
                self.mk(Code::List(items), span)
            }
            ExprKind::If([cond, yes, no]) => {
                let parts =
                    [self.expr(cond, is_direct)?, self.expr(yes, is_direct)?, self.expr(no, is_direct)?];
                self.mk(Code::If(ev.arena.alloc(parts)), span)
            }
            ExprKind::Assert(cond, body) => {
                let (cond, body) = (self.expr(cond, is_direct)?, self.expr(body, is_direct)?);
                self.mk(Code::Assert(cond, body), span)
            }
            ExprKind::With(set, body) => {
                let set = self.expr(set, false)?;
                let slot = self.new_slots(1);
                self.scopes.push(Scope::With { frame: self.frame(), slot });
                let body = self.expr(body, is_direct);
                self.scopes.pop();
                self.mk(Code::With(ev.arena.alloc(WithNode { slot, set, body: body? })), span)
            }
            ExprKind::Not(e) => {
                let e = self.expr(e, is_direct)?;
                self.mk(Code::Not(e), span)
            }
            ExprKind::Negate(e) => {
                if let Some(f) = self.shadowed(sym::SUB, span) {
                    let zero = self.constant(Value::int(0), span);
                    let e = self.expr(e, false)?;
                    return Ok(self.mk(Code::Call(ev.arena.slice(&[f, zero, e])), span));
                }
                match e.kind {
                    ExprKind::Int(n) => self.constant(Value::int(-n), span),
                    ExprKind::Float(x) => self.constant(Value::float(0.0 - x), span),
                    _ => {
                        let zero = self.constant(Value::int(0), span);
                        let e = self.expr(e, is_direct)?;
                        self.mk(Code::Sub(zero, e), span)
                    }
                }
            }
            ExprKind::Binary(op, a, b) => self.binary(op, a, b, span, is_direct)?,
        })
    }

    fn binary(&mut self, op: Op, a: E<'a>, b: E<'a>, span: Span, is_direct: bool) -> EvalResult<N<'h>> {
        let function = match op {
            Op::Sub => self.shadowed(sym::SUB, span),
            Op::Mul => self.shadowed(sym::MUL, span),
            Op::Div => self.shadowed(sym::DIV, span),
            Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => self.shadowed(sym::LESS_THAN, span),
            _ => None,
        };
        if let Some(f) = function {
            let (x, y) = if matches!(op, Op::Greater | Op::LessEqual) { (b, a) } else { (a, b) };
            let nodes = [f, self.expr(x, false)?, self.expr(y, false)?];
            let call = self.mk(Code::Call(self.ev.arena.slice(&nodes)), span);
            let is_negated = matches!(op, Op::LessEqual | Op::GreaterEqual);
            return Ok(if is_negated { self.mk(Code::Not(call), span) } else { call });
        }
        let x = self.expr(a, is_direct)?;
        let y = self.expr(b, is_direct)?;
        let code = match op {
            Op::Equal => Code::Equal(x, y),
            Op::NotEqual => Code::NotEqual(x, y),
            Op::Less => Code::Less(x, y),
            Op::LessEqual => Code::LessEqual(x, y),
            Op::Greater => Code::Greater(x, y),
            Op::GreaterEqual => Code::GreaterEqual(x, y),
            Op::And => Code::And(x, y),
            Op::Or => Code::Or(x, y),
            Op::Implies => Code::Implies(x, y),
            Op::Update => Code::Update(x, y),
            Op::Add => Code::Add(x, y),
            Op::Sub => Code::Sub(x, y),
            Op::Mul => Code::Mul(x, y),
            Op::Div => Code::Div(x, y),
            Op::Concat => Code::Concat(x, y),
        };
        Ok(self.mk(code, span))
    }

    fn keys(&mut self, path: &[AstKey<'a>], is_direct: bool) -> EvalResult<&'h [AttrKey<'h>]> {
        let keys = path
            .iter()
            .map(|key| {
                Ok(match *key {
                    AstKey::Static(name, span) => AttrKey::Static(name, span),
                    AstKey::Dynamic(e) => AttrKey::Dynamic(self.expr(e, is_direct)?),
                })
            })
            .collect::<EvalResult<Vec<_>>>()?;
        Ok(self.ev.arena.slice(&keys))
    }

    /// An expression that a name is given to.
    fn named(&mut self, name: Symbol, e: E<'a>) -> EvalResult<N<'h>> {
        match e.kind {
            ExprKind::Lambda(lambda) => self.lambda(lambda, e.span, Some(name)),
            _ => self.expr(e, false),
        }
    }

    fn lambda(&mut self, first: &Lambda<'a>, span: Span, name: Option<Symbol>) -> EvalResult<N<'h>> {
        let mut params: Vec<Option<Symbol>> = Vec::new();
        let mut lambda = first;
        loop {
            params.push(lambda.arg.map(|a| a.0));
            if lambda.formals.is_some() {
                break;
            }
            match &lambda.body.kind {
                ExprKind::Lambda(inner) => lambda = inner,
                _ => break,
            }
        }
        let arity = params.len() as u32;
        let formals = lambda.formals;
        let body = lambda.body;
        self.frames.push(arity);
        let mut names: Vec<(Symbol, u32)> = Vec::with_capacity(params.len());
        for (i, param) in params.iter().enumerate() {
            if let Some(p) = param {
                names.retain(|n| n.0 != *p);
                names.push((*p, i as u32));
            }
        }
        let first_slot = self.new_slots(formals.map_or(0, |f| f.list.len() as u32));
        if let Some(formals) = formals {
            for (i, f) in formals.list.iter().enumerate() {
                names.retain(|n| n.0 != f.name);
                names.push((f.name, first_slot + i as u32));
            }
        }
        self.push_names(names);
        let result = self.lambda_parts(formals, first_slot, body);
        self.pop_names();
        let frame = self.frames.pop().unwrap_or(0);
        let (pattern, body) = result?;
        // The place of a function is its head, not its body.
        let head = Span::new(span.start, body.span.start.clamp(span.start, span.end));
        let node = LambdaNode { arity, frame, pattern, body, span: head, name, params: self.ev.arena.slice(&params) };
        Ok(self.mk(Code::Lambda(self.ev.arena.alloc(node)), span))
    }

    #[allow(clippy::type_complexity, reason = "two results of one step")]
    fn lambda_parts(
        &mut self,
        formals: Option<nbv_syntax::ast::Formals<'a>>,
        first_slot: u32,
        body: E<'a>,
    ) -> EvalResult<(Option<&'h Pattern<'h>>, N<'h>)> {
        let pattern = match formals {
            None => None,
            Some(formals) => {
                let mut list = Vec::with_capacity(formals.list.len());
                for f in formals.list {
                    let default = f.default.map(|d| self.named(f.name, d)).transpose()?;
                    list.push(Formal { name: f.name, pos: f.span.start, default });
                }
                let formals_list = self.ev.arena.slice(&list);
                Some(&*self.ev.arena.alloc(Pattern { formals: formals_list, first_slot, has_ellipsis: formals.has_ellipsis }))
            }
        };
        Ok((pattern, self.expr(body, true)?))
    }

    /// Opens the scope of `let` or `rec` bindings and compiles them. Ends with [`Self::close_group`].
    fn open_group(&mut self, id: SetId, is_direct: bool) -> EvalResult<Group<'h>> {
        let parsed = self.parsed;
        let set: &AttrSet<'a> = parsed.set(id);
        // `inherit x` looks outside.
        let mut inherited = HashMap::<Symbol, N<'h>, FxBuild>::default();
        for attr in &set.attrs {
            if matches!(attr.value, AstValue::Inherited) {
                inherited.insert(attr.name, self.var(attr.name, attr.span)?);
            }
        }
        let has_frame = !is_direct && self.frames.len() > 1;
        if has_frame {
            self.frames.push(0);
        }
        let count = set.attrs.len() as u32;
        let first = self.new_slots(count + set.inherit_from.len() as u32);
        let names = set.attrs.iter().enumerate().map(|(i, a)| (a.name, first + i as u32)).collect();
        self.push_names(names);
        let hidden = first + count;
        let mut binds = Vec::with_capacity(set.attrs.len() + set.inherit_from.len());
        for (i, from) in set.inherit_from.iter().enumerate() {
            binds.push(Bind { slot: hidden + i as u32, is_outer: false, value: self.expr(from, false)? });
        }
        for (i, attr) in set.attrs.iter().enumerate() {
            let slot = first + i as u32;
            let (value, is_outer) = match attr.value {
                AstValue::Plain(e) => (self.named(attr.name, e)?, false),
                AstValue::Inherited => (inherited[&attr.name], has_frame),
                AstValue::InheritedFrom(n) => {
                    let from = self.local(0, hidden + n, set.inherit_from[n as usize].span);
                    (self.mk(Code::Select(from, attr.name), attr.span), false)
                }
            };
            binds.push(Bind { slot, is_outer, value });
        }
        // Functions and constants first, so that names for them need no thunk.
        binds.sort_by_key(|b| !matches!(b.value.code, Code::Lambda(_) | Code::Const(_)));
        Ok(Group { has_frame, first, binds: self.ev.arena.slice(&binds) })
    }

    fn close_group(&mut self, has_frame: bool) -> u32 {
        self.pop_names();
        // An own frame has at least one slot, so that 0 can mean "none".
        if has_frame { self.frames.pop().unwrap_or(0).max(1) } else { 0 }
    }

    /// Sorts attributes into their shape and their values.
    fn shape(&self, mut attrs: Vec<(Key, AttrValue<'h>)>) -> (Shape<'h>, &'h [AttrValue<'h>]) {
        attrs.sort_unstable_by_key(|a| a.0.name);
        let (keys, values): (Vec<_>, Vec<_>) = attrs.into_iter().unzip();
        (Shape { keys: self.ev.arena.slice(&keys) }, self.ev.arena.slice(&values))
    }

    fn recursive_set(&mut self, id: SetId, span: Span, is_direct: bool) -> EvalResult<N<'h>> {
        let group = self.open_group(id, is_direct)?;
        let parsed = self.parsed;
        let set = parsed.set(id);
        let attrs = set.attrs.iter().enumerate();
        let attrs = attrs.map(|(i, a)| (Key { name: a.name, pos: a.span.start }, AttrValue::Slot(group.first + i as u32)));
        let (shape, values) = self.shape(attrs.collect());
        let dynamic = self.dynamic(set)?;
        let has_overrides = set.find(sym::OVERRIDES).is_some();
        let frame = self.close_group(group.has_frame);
        let node = AttrSetNode { frame, binds: group.binds, shape, values, dynamic, has_overrides };
        Ok(self.mk(Code::AttrSet(self.ev.arena.alloc(node)), span))
    }

    fn dynamic(&mut self, set: &AttrSet<'a>) -> EvalResult<&'h [DynamicBind<'h>]> {
        let mut dynamic = Vec::with_capacity(set.dynamic.len());
        for d in &set.dynamic {
            let bind = DynamicBind { name: self.expr(d.name, true)?, pos: d.span.start, value: self.expr(d.value, false)? };
            dynamic.push(bind);
        }
        Ok(self.ev.arena.slice(&dynamic))
    }

    fn plain_set(&mut self, id: SetId, span: Span) -> EvalResult<N<'h>> {
        let parsed = self.parsed;
        let set = parsed.set(id);
        if set.attrs.is_empty() && set.dynamic.is_empty() {
            return Ok(self.mk(Code::Const(self.ev.common.empty_attrs_ref), span));
        }
        let hidden = self.new_slots(set.inherit_from.len() as u32);
        let mut binds = Vec::with_capacity(set.inherit_from.len());
        for (i, from) in set.inherit_from.iter().enumerate() {
            binds.push(Bind { slot: hidden + i as u32, is_outer: false, value: self.expr(from, false)? });
        }
        let mut attrs = Vec::with_capacity(set.attrs.len());
        for attr in &set.attrs {
            let value = match attr.value {
                AstValue::Plain(e) => self.named(attr.name, e)?,
                AstValue::Inherited => self.var(attr.name, attr.span)?,
                AstValue::InheritedFrom(n) => {
                    let from = self.local(0, hidden + n, set.inherit_from[n as usize].span);
                    self.mk(Code::Select(from, attr.name), attr.span)
                }
            };
            attrs.push((Key { name: attr.name, pos: attr.span.start }, AttrValue::Outer(value)));
        }
        let (shape, values) = self.shape(attrs);
        let dynamic = self.dynamic(set)?;
        let node = AttrSetNode {
            frame: 0,
            binds: self.ev.arena.slice(&binds),
            shape,
            values,
            dynamic,
            has_overrides: false,
        };
        Ok(self.mk(Code::AttrSet(self.ev.arena.alloc(node)), span))
    }
}

/// Compiled bindings whose scope is still open.
struct Group<'h> {
    has_frame: bool,
    /// Slot of the first attribute; attribute `i` of the set has slot `first + i`.
    first: u32,
    binds: &'h [Bind<'h>],
}
