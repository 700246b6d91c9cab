//! The interpreter: running code. Forcing cells is in [`force`], calling functions in [`call`].
//!
//! Native recursion on a big stack. A body in tail position is run by the same loop; call depth is counted
//! for it as for any other call, so that `max-call-depth` means what it means in C++ Nix.

use std::mem::MaybeUninit;

use nbv_diag::Span;
use nbv_syntax::Symbol;

use crate::env::Env;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::node::{AttrKey, AttrSetNode, AttrValue, Bind, Code, DynamicVar, LambdaNode, N, SelectPath};
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{
    Attr, Attrs, EvalResult, Kind, Pap, Ref, Slot, TAG_APP, TAG_ATTR_APP, TAG_INT_APP, TAG_LAMBDA, TAG_MASK, TAG_PENDING, TAG_THUNK, Value, View,
    pending_by, pending_parts,
};

mod call;
mod force;

type EnvPtr<'h> = *const Env<'h>;

impl<'h> Evaluator<'h> {
    /// Runs code to weak head normal form.
    #[inline]
    pub(crate) fn eval(&self, env: EnvPtr<'h>, node: N<'h>) -> EvalResult<Value<'h>> {
        // The commonest leaves need neither a stack check nor the loop.
        match node.code {
            Code::Const(r) => return self.force(r),
            Code::Local0(slot) => {
                // SAFETY: the compiler resolved the variable to an existing slot.
                if let Some(v) = unsafe { Env::get(env, slot) }.and_then(|r| r.peek()) {
                    return Ok(v);
                }
            }
            _ => {}
        }
        self.check_stack()?;
        let depth = self.depth.get();
        let result = self.run(env, node);
        self.depth.set(depth);
        result
    }

    #[inline(always)]
    fn local(&self, env: EnvPtr<'h>, slot: u32) -> Ref<'h> {
        // SAFETY: the compiler resolved the variable to an existing slot.
        match unsafe { Env::get(env, slot) } {
            Some(r) => r,
            None => unreachable!("a variable is read only after its frame was filled"),
        }
    }

    fn run(&self, mut env: EnvPtr<'h>, mut node: N<'h>) -> EvalResult<Value<'h>> {
        loop {
            match node.code {
                Code::Const(r) => return self.force(r),
                Code::Local0(slot) => return self.force_variable(self.local(env, slot), node),
                Code::Local1(slot) => {
                    // SAFETY: the compiler counted the frames.
                    let env = unsafe { Env::up(env, 1) };
                    return self.force_variable(self.local(env, slot), node);
                }
                Code::Local { up, slot } => {
                    // SAFETY: the compiler counted the frames.
                    let env = unsafe { Env::up(env, up) };
                    return self.force_variable(self.local(env, slot), node);
                }
                Code::Dynamic(var) => {
                    let r = self.lookup_dynamic(env, var, node.span)?;
                    return self.force_variable(r, node);
                }
                Code::Select(base, name) => {
                    let v = self.eval(env, base)?;
                    let Some(attr) = v.as_attrs().and_then(|attrs| attrs.get(name)) else {
                        return Err(self.select_failed(v, name, base, node.span));
                    };
                    if let Some(v) = attr.value.peek() {
                        return Ok(v);
                    }
                    return self.force_slow(attr.value).or_at(node.span).map_err(|e| self.attribute_frame(e, name, node.span));
                }
                Code::SelectPath(select) => match self.select_path(env, select, node.span)? {
                    Some(v) => return Ok(v),
                    None => match select.default {
                        Some(default) => node = default,
                        None => unreachable!("a select without default fails inside"),
                    },
                },
                Code::HasAttr(has) => return self.has_attr(env, has.base, has.path, node.span).map(Value::bool),
                Code::Lambda(lambda) => return Ok(Value::lambda(env, lambda)),
                Code::Call(nodes) => {
                    let f = self.eval(env, nodes[0])?;
                    let args = &nodes[1..];
                    if f.tag() == TAG_LAMBDA {
                        let lambda = f.lambda_parts();
                        let arity = lambda.node.arity as usize;
                        if arity <= args.len() {
                            self.enter_call().or_at(node.span)?;
                            let frame = self.spare.frame(self.arena, lambda.env, lambda.node.frame as usize);
                            for (i, arg) in args[..arity].iter().enumerate() {
                                // SAFETY: a lambda's frame begins with its parameters.
                                unsafe { Env::set(frame, i as u32, self.delay(env, arg)) };
                            }
                            if lambda.node.pattern.is_some() {
                                self.bind_pattern(lambda.node, frame, node.span)
                                    .map_err(|e| self.call_frame(e, lambda.node, node.span))?;
                            }
                            if arity == args.len() {
                                // Perf: a frame text needs the loop to end; only the first call is remembered.
                                return self.eval_body(frame, lambda.node, node.span);
                            }
                            let f = self.eval_body(frame, lambda.node, node.span)?;
                            return self.call_rest(env, f, &args[arity..], node.span);
                        }
                    }
                    return self.call_rest(env, f, args, node.span);
                }
                Code::Let(l) => {
                    let outer = env;
                    if l.frame != 0 {
                        // SAFETY: code runs in a frame that is in use.
                        unsafe { Env::capture(env) };
                        env = Env::new(self.arena, env, l.frame as usize);
                    }
                    self.fill(outer, env, l.binds);
                    node = l.body;
                }
                Code::AttrSet(set) => return self.make_attrs(env, set, node.span),
                Code::List(items) => return Ok(Value::list(self.make_list(env, items))),
                Code::If([cond, yes, no]) => {
                    node = if self.eval_bool(env, cond, "in the condition of `if`")? { yes } else { no };
                }
                Code::Assert(cond, body) => {
                    if !self.eval_bool(env, cond, "in the condition of `assert`")? {
                        return Err(self.assertion_failed(env, cond));
                    }
                    node = body;
                }
                Code::With(with) => {
                    // SAFETY: the compiler gave the `with` a slot of this frame.
                    unsafe { Env::set(env, with.slot, self.delay(env, with.set)) };
                    node = with.body;
                }
                Code::Not(e) => return Ok(Value::bool(!self.eval_bool(env, e, "in the operand of `!`")?)),
                Code::And(a, b) => {
                    if !self.eval_bool(env, a, "in the left operand of `&&`")? {
                        return Ok(Value::bool(false));
                    }
                    return self.eval_bool(env, b, "in the right operand of `&&`").map(Value::bool);
                }
                Code::Or(a, b) => {
                    if self.eval_bool(env, a, "in the left operand of `||`")? {
                        return Ok(Value::bool(true));
                    }
                    return self.eval_bool(env, b, "in the right operand of `||`").map(Value::bool);
                }
                Code::Implies(a, b) => {
                    if !self.eval_bool(env, a, "in the left operand of `->`")? {
                        return Ok(Value::bool(true));
                    }
                    return self.eval_bool(env, b, "in the right operand of `->`").map(Value::bool);
                }
                Code::Equal(a, b) => return self.eval_equal(env, a, b, node.span).map(Value::bool),
                Code::NotEqual(a, b) => return self.eval_equal(env, a, b, node.span).map(|b| Value::bool(!b)),
                Code::Less(a, b) => return self.eval_less(env, a, b, node.span).map(Value::bool),
                Code::GreaterEqual(a, b) => return self.eval_less(env, a, b, node.span).map(|b| Value::bool(!b)),
                Code::Greater(a, b) => return self.eval_greater(env, a, b, node.span).map(Value::bool),
                Code::LessEqual(a, b) => return self.eval_greater(env, a, b, node.span).map(|b| Value::bool(!b)),
                Code::Add(a, b) => {
                    let x = self.eval(env, a)?;
                    let Some(i) = x.as_int() else { return self.add_to(env, x, a.span, b).or_at(node.span) };
                    let y = self.eval(env, b)?;
                    if let Some(n) = y.as_int().and_then(|j| i.checked_add(j)) {
                        return Ok(Value::int(n));
                    }
                    return self.add_numbers(x, y, a.span, b.span).or_at(node.span);
                }
                Code::Sub(a, b) => {
                    let (x, y) = (self.eval(env, a)?, self.eval(env, b)?);
                    if let (Some(i), Some(j)) = (x.as_int(), y.as_int()) {
                        if let Some(n) = i.checked_sub(j) {
                            return Ok(Value::int(n));
                        }
                    }
                    return self.arithmetic(crate::ops::Arithmetic::Sub, x, y, a.span, b.span).or_at(node.span);
                }
                Code::Mul(a, b) => {
                    let (x, y) = (self.eval(env, a)?, self.eval(env, b)?);
                    return self.arithmetic(crate::ops::Arithmetic::Mul, x, y, a.span, b.span).or_at(node.span);
                }
                Code::Div(a, b) => {
                    let (x, y) = (self.eval(env, a)?, self.eval(env, b)?);
                    return self.arithmetic(crate::ops::Arithmetic::Div, x, y, a.span, b.span).or_at(node.span);
                }
                Code::Update(a, b) => {
                    // Compat: the right operand first, since 2.32.
                    let right = self.eval_attrs(env, b, "in the right operand of `//`")?;
                    let left = self.eval_attrs(env, a, "in the left operand of `//`")?;
                    return Ok(Value::attrs(Attrs::update(self.arena, left, right)));
                }
                Code::Concat(a, b) => return self.concat_chain(env, a, b),
                Code::Interpolate(parts) => return self.interpolate(env, parts, false, node.span),
                Code::PathInterpolate(parts) => return self.interpolate(env, parts, true, node.span),
                Code::CurPos => return Ok(self.position_value(node.span.start)),
            }
        }
    }

    /// The body of a called function, with a trace frame when it fails. The frame ends here.
    #[inline(always)]
    fn eval_body(&self, frame: EnvPtr<'h>, lambda: &'h LambdaNode<'h>, call: Span) -> EvalResult<Value<'h>> {
        let result = self.eval(frame, lambda.body);
        // SAFETY: callers make the frame with this size and leave it to this call.
        unsafe { self.spare.give_back(frame, lambda.frame as usize) };
        match result {
            Ok(v) => Ok(v),
            Err(e) => Err(self.call_frame(e, lambda, call)),
        }
    }

    #[cold]
    #[inline(never)]
    fn call_frame(&self, e: EvalError, lambda: &LambdaNode<'h>, call: Span) -> EvalError {
        let text = match lambda.name {
            Some(name) => format!("while calling `{}`", self.display(name)),
            None => "while calling an anonymous function".to_owned(),
        };
        e.frame(if call.is_none() { lambda.span } else { call }, text)
    }

    #[cold]
    #[inline(never)]
    fn attribute_frame(&self, e: EvalError, name: Symbol, span: Span) -> EvalError {
        e.frame(span, format!("while evaluating the attribute `{}`", self.display(name)))
    }

    #[inline(always)]
    fn force_variable(&self, r: Ref<'h>, node: N<'h>) -> EvalResult<Value<'h>> {
        match self.force(r) {
            Ok(v) => Ok(v),
            Err(e) => Err(e.or_at(node.span)),
        }
    }

    /// A cell that holds the value of code, evaluated later unless that costs nothing.
    #[inline]
    pub(crate) fn delay(&self, env: EnvPtr<'h>, node: N<'h>) -> Ref<'h> {
        match node.code {
            Code::Const(r) => return r,
            Code::Local0(slot) => {
                // SAFETY: the compiler resolved the variable to an existing slot.
                if let Some(r) = unsafe { Env::get(env, slot) } {
                    return r;
                }
            }
            Code::Local1(slot) => {
                // SAFETY: as above.
                if let Some(r) = unsafe { Env::get(Env::up(env, 1), slot) } {
                    return r;
                }
            }
            Code::Local { up, slot } => {
                // SAFETY: as above.
                if let Some(r) = unsafe { Env::get(Env::up(env, up), slot) } {
                    return r;
                }
            }
            Code::Lambda(lambda) => return self.cell(Value::lambda(env, lambda)),
            Code::Select(base, name) => {
                // Perf: an attribute of a set that is there already needs no thunk.
                if let Some(attr) = self.peek_attr(env, base, name) {
                    return attr.value;
                }
            }
            _ => {}
        }
        self.cell(Value::thunk(env, node))
    }

    #[inline(always)]
    fn peek_attr(&self, env: EnvPtr<'h>, base: N<'h>, name: Symbol) -> Option<Attr<'h>> {
        let r = match base.code {
            Code::Const(r) => r,
            // SAFETY: the compiler resolved the variables to existing slots.
            Code::Local0(slot) => unsafe { Env::get(env, slot) }?,
            // SAFETY: as above.
            Code::Local1(slot) => unsafe { Env::get(Env::up(env, 1), slot) }?,
            // SAFETY: as above.
            Code::Local { up, slot } => unsafe { Env::get(Env::up(env, up), slot) }?,
            Code::Select(inner, inner_name) => self.peek_attr(env, inner, inner_name)?.value,
            _ => return None,
        };
        r.peek()?.as_attrs()?.get(name)
    }

    #[inline(always)]
    fn fill(&self, outer: EnvPtr<'h>, env: EnvPtr<'h>, binds: &[Bind<'h>]) {
        for bind in binds {
            let from = if bind.is_outer { outer } else { env };
            // SAFETY: the compiler gave the binding a slot of this frame.
            unsafe { Env::set(env, bind.slot, self.delay(from, bind.value)) };
        }
    }

    #[inline(never)]
    fn make_list(&self, env: EnvPtr<'h>, items: &[N<'h>]) -> &'h [Ref<'h>] {
        let p = self.arena.alloc_raw(size_of_val(items)).cast::<Ref<'h>>();
        for (i, item) in items.iter().enumerate() {
            // SAFETY: the allocation has room for one reference per item.
            unsafe { p.add(i).write(self.delay(env, item)) };
        }
        // SAFETY: all were written.
        unsafe { std::slice::from_raw_parts(p.as_ptr(), items.len()) }
    }

    #[inline(never)]
    fn make_attrs(&self, env: EnvPtr<'h>, set: &'h AttrSetNode<'h>, span: Span) -> EvalResult<Value<'h>> {
        let outer = env;
        let env = if set.frame != 0 {
            // SAFETY: code runs in a frame that is in use.
            unsafe { Env::capture(env) };
            Env::new(self.arena, env, set.frame as usize)
        } else {
            env
        };
        if set.has_overrides {
            // Names must not share cells that `__overrides` may replace.
            for bind in set.binds {
                let from = if bind.is_outer { outer } else { env };
                // SAFETY: the compiler gave the binding a slot of this frame.
                unsafe { Env::set(env, bind.slot, self.cell(Value::thunk(from, bind.value))) };
            }
        } else {
            self.fill(outer, env, set.binds);
        }
        let cell = |value: &AttrValue<'h>| match *value {
            AttrValue::Outer(node) => self.delay(outer, node),
            AttrValue::Slot(slot) => self.local(env, slot),
        };
        let attrs = Attrs::shaped(self.arena, &set.shape, |i| cell(&set.values[i]));
        if set.dynamic.is_empty() && !set.has_overrides {
            return Ok(Value::attrs(attrs));
        }
        self.make_attrs_slow(env, set, attrs, span)
    }

    #[cold]
    #[inline(never)]
    fn make_attrs_slow(
        &self,
        env: EnvPtr<'h>,
        set: &'h AttrSetNode<'h>,
        attrs: Attrs<'h>,
        span: Span,
    ) -> EvalResult<Value<'h>> {
        let mut all: Vec<Attr<'h>> = attrs.iter().collect();
        if set.has_overrides {
            let overrides = attrs.get(sym::OVERRIDES).map(|a| self.force(a.value)).transpose()?;
            if let Some(v) = overrides {
                let Some(over) = v.as_attrs() else {
                    return Err(self.expected("a set", v).at(span).frame(span, "while evaluating `__overrides`"));
                };
                for a in over {
                    match all.iter_mut().find(|b| b.name == a.name) {
                        Some(b) => {
                            *b = a;
                            // Compat: the recursive scope sees the overridden value.
                            for (key, value) in set.shape.keys.iter().zip(set.values) {
                                if let (true, &AttrValue::Slot(slot)) = (key.name == a.name, value) {
                                    // SAFETY: the slot is the attribute's own in this frame.
                                    unsafe { Env::set(env, slot, a.value) };
                                }
                            }
                        }
                        None => all.push(a),
                    }
                }
                all.sort_by_key(|a| a.name);
            }
        }
        for d in set.dynamic {
            let name = self.eval(env, d.name)?;
            if name.is_null() {
                continue;
            }
            let name = self.name_of(name, d.name.span)?;
            if let Some(earlier) = all.iter().find(|a| a.name == name) {
                let mut e = EvalError::new("eval::duplicate-attribute", format!("attribute `{}` is defined twice", self.display(name)))
                    .at(d.name.span);
                if earlier.pos != 0 {
                    let label = nbv_diag::Label { span: Span::new(earlier.pos, earlier.pos), text: "defined first here".into() };
                    e.diagnostic_mut().labels.push(label);
                }
                return Err(e);
            }
            let at = all.partition_point(|a| a.name < name);
            all.insert(at, Attr { name, pos: d.pos, value: self.delay(env, d.value) });
        }
        Ok(Value::attrs(self.sorted_attrs(&all)))
    }

    /// The symbol that a dynamic attribute name evaluates to.
    fn name_of(&self, v: Value<'h>, span: Span) -> EvalResult<Symbol> {
        match v.as_string() {
            Some(s) if s.context().is_empty() => Ok(s.symbol(self.symbols())),
            Some(s) => Err(EvalError::new(
                "eval::context",
                format!("the string `{}` refers to a store path and cannot be an attribute name", s.to_str_lossy()),
            )
            .at(span)),
            None => Err(self.expected("a string", v).at(span).frame(span, "while evaluating an attribute name")),
        }
    }

    #[inline(always)]
    fn key(&self, env: EnvPtr<'h>, key: &AttrKey<'h>) -> EvalResult<Symbol> {
        match *key {
            AttrKey::Static(name, _) => Ok(name),
            AttrKey::Dynamic(node) => {
                let v = self.eval(env, node)?;
                self.name_of(v, node.span)
            }
        }
    }

    /// `None` when an attribute is missing and there is a default.
    #[inline(never)]
    fn select_path(&self, env: EnvPtr<'h>, select: &'h SelectPath<'h>, span: Span) -> EvalResult<Option<Value<'h>>> {
        let mut v = self.eval(env, select.base)?;
        let mut cell = None;
        for key in select.path {
            let name = self.key(env, key)?;
            if let Some(r) = cell {
                v = self.force(r).or_at(span)?;
            }
            match v.as_attrs().and_then(|attrs| attrs.get(name)) {
                Some(attr) => cell = Some(attr.value),
                None if select.default.is_some() => return Ok(None),
                None => {
                    let at = match key {
                        AttrKey::Static(_, at) => *at,
                        AttrKey::Dynamic(node) => node.span,
                    };
                    return Err(self.select_failed(v, name, select.base, at));
                }
            }
        }
        match cell {
            Some(r) => self.force(r).or_at(span).map(Some).frame(span, || {
                let text = self.snippet(span).unwrap_or_default();
                format!("while evaluating `{text}`")
            }),
            None => Ok(Some(v)),
        }
    }

    #[inline(never)]
    fn has_attr(&self, env: EnvPtr<'h>, base: N<'h>, path: &[AttrKey<'h>], span: Span) -> EvalResult<bool> {
        let mut v = self.eval(env, base)?;
        for (i, key) in path.iter().enumerate() {
            let name = self.key(env, key)?;
            let Some(attr) = v.as_attrs().and_then(|attrs| attrs.get(name)) else { return Ok(false) };
            if i + 1 < path.len() {
                v = self.force(attr.value).or_at(span)?;
            }
        }
        Ok(true)
    }

    #[cold]
    #[inline(never)]
    fn select_failed(&self, v: Value<'h>, name: Symbol, base: N<'h>, span: Span) -> EvalError {
        let Some(attrs) = v.as_attrs() else {
            return self.expected("a set", v).at(base.span).frame(
                span,
                format!("while selecting the attribute `{}`", self.display(name)),
            );
        };
        let mut e = self.missing_attribute(attrs, name).at(span);
        if let Some(text) = self.snippet(base.span).filter(|t| t.len() < 40) {
            e = e.labelled(format!("`{text}` has no such attribute"));
        }
        e
    }

    /// The error of an attribute that is not there, with suggestions.
    #[cold]
    pub fn missing_attribute(&self, attrs: Attrs<'h>, name: Symbol) -> EvalError {
        let wanted = self.display(name);
        let names: Vec<_> = attrs.iter().map(|a| self.display(a.name)).collect();
        let e = EvalError::new("eval::missing-attribute", format!("attribute `{wanted}` does not exist"));
        match nbv_diag::did_you_mean(&wanted, names.iter().map(|n| &**n)) {
            Some(hint) => e.hint(hint),
            None => e,
        }
    }

    fn lookup_dynamic(&self, env: EnvPtr<'h>, var: &'h DynamicVar<'h>, span: Span) -> EvalResult<Ref<'h>> {
        for &(up, slot) in var.chain {
            // SAFETY: the compiler counted the frames and gave the `with` this slot.
            let cell = self.local(unsafe { Env::up(env, up) }, slot);
            let v = self.force(cell).or_at(span)?;
            match v.as_attrs() {
                Some(attrs) => {
                    if let Some(attr) = attrs.get(var.name) {
                        return Ok(attr.value);
                    }
                }
                None => return Err(self.expected("a set", v).or_at(span).frame(span, "while evaluating the set of a `with`")),
            }
        }
        let wanted = self.display(var.name);
        let mut names = Vec::new();
        for &(up, slot) in var.chain {
            // SAFETY: as above.
            let cell = self.local(unsafe { Env::up(env, up) }, slot);
            let attrs = cell.peek().and_then(|v| v.as_attrs());
            names.extend(attrs.into_iter().flatten().map(|a| self.display(a.name)));
        }
        let e = EvalError::new("eval::undefined-variable", format!("undefined variable `{wanted}`")).at(span);
        Err(match nbv_diag::did_you_mean(&wanted, names.iter().map(|n| &**n)) {
            Some(hint) => e.hint(hint),
            None => e,
        })
    }

    #[inline(always)]
    pub(crate) fn eval_bool(&self, env: EnvPtr<'h>, node: N<'h>, what: &'static str) -> EvalResult<bool> {
        let v = self.eval(env, node)?;
        match v.as_bool() {
            Some(b) => Ok(b),
            None => Err(self.expected("a Boolean", v).at(node.span).frame(node.span, what)),
        }
    }

    fn eval_attrs(&self, env: EnvPtr<'h>, node: N<'h>, what: &'static str) -> EvalResult<Attrs<'h>> {
        let v = self.eval(env, node)?;
        match v.as_attrs() {
            Some(attrs) => Ok(attrs),
            None => Err(self.expected("a set", v).at(node.span).frame(node.span, what)),
        }
    }

    #[cold]
    #[inline(never)]
    fn assertion_failed(&self, env: EnvPtr<'h>, cond: N<'h>) -> EvalError {
        let text = self.snippet(cond.span).unwrap_or_else(|| "condition".to_owned());
        let mut e = EvalError::new("eval::assertion", format!("assertion `{text}` failed")).at(cond.span).catchable();
        if let Code::Equal(a, b) = cond.code {
            if let (Ok(x), Ok(y)) = (self.eval(env, a), self.eval(env, b)) {
                e = e.note(format!("left is {}", self.show(x))).note(format!("right is {}", self.show(y)));
            }
        }
        e
    }

    /// `{ file, line, column }`, or null.
    pub fn position_value(&self, pos: u32) -> Value<'h> {
        let Some(at) = self.shared.sources.locate(nbv_diag::Pos(pos)) else { return Value::null() };
        let Some(path) = at.path() else { return Value::null() };
        let file = path.display().to_string();
        self.attrs(vec![
            Attr { name: sym::FILE, pos: 0, value: self.cell(self.str(file)) },
            Attr { name: sym::LINE, pos: 0, value: self.cell(Value::int(at.line.into())) },
            Attr { name: sym::COLUMN, pos: 0, value: self.cell(Value::int(at.column.into())) },
        ])
    }

    /// The type error of a value: "expected a set but found an integer: 1".
    #[cold]
    pub fn expected(&self, what: &str, found: Value<'h>) -> EvalError {
        let kind = found.kind();
        let text = match kind {
            Kind::Null | Kind::Lambda | Kind::PrimOp | Kind::Partial => String::new(),
            _ => format!(": {}", self.show(found)),
        };
        EvalError::type_error(format!("expected {what} but found {}{text}", kind.describe()))
    }
}
