//! The interpreter: forcing cells, running code, calling functions.
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
    Attr, Attrs, EvalResult, Kind, Pap, Ref, Slot, TAG_APP, TAG_LAMBDA, TAG_MASK, TAG_PENDING, TAG_THUNK, Value, View,
};

type EnvPtr<'h> = *const Env<'h>;

impl<'h> Evaluator<'h> {
    /// Evaluates a cell to weak head normal form.
    #[inline(always)]
    pub fn force(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        let v = r.load();
        if v.is_finished() { Ok(v) } else { self.force_slow(r) }
    }

    #[inline(never)]
    fn force_slow(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        loop {
            let seen = r.load();
            let w0 = seen.w0.get();
            match w0 & TAG_MASK {
                TAG_THUNK => {
                    let Some(w1) = r.begin(w0, self.thread) else { continue };
                    // SAFETY: we own the cell; as a thunk its words are a frame and a node of this heap.
                    let node: N<'h> = unsafe { &*(w1 as *const _) };
                    let env = (w0 & !TAG_MASK) as EnvPtr<'h>;
                    return match self.eval(env, node) {
                        Ok(v) => {
                            r.finish(v);
                            Ok(v)
                        }
                        Err(e) => {
                            r.finish(Value::raw(w0, w1));
                            Err(self.leave_failed(r, node.span, e))
                        }
                    };
                }
                TAG_APP => {
                    let Some(w1) = r.begin(w0, self.thread) else { continue };
                    // SAFETY: we own the cell; as an application its words are two cells of this heap.
                    let (f, arg): (Ref<'h>, Ref<'h>) =
                        unsafe { (&*((w0 & !TAG_MASK) as *const Slot<'h>), &*(w1 as *const Slot<'h>)) };
                    let result = self.check_stack().and_then(|()| self.force(f)).and_then(|f| self.call(f, &[arg]));
                    return match result {
                        Ok(v) => {
                            r.finish(v);
                            Ok(v)
                        }
                        Err(e) => {
                            r.finish(Value::raw(w0, w1));
                            Err(self.leave_failed(r, Span::NONE, e))
                        }
                    };
                }
                TAG_PENDING => {
                    if w0 >> 3 == self.thread {
                        return Err(self.infinite_recursion(r));
                    }
                    self.wait_for(r, w0)?;
                }
                _ => return Ok(seen),
            }
        }
    }

    #[cold]
    fn infinite_recursion(&self, r: Ref<'h>) -> EvalError {
        EvalError::new("eval::infinite-recursion", "infinite recursion encountered")
            .labelled("this needs its own value")
            .with_cycle(std::ptr::from_ref(r) as usize)
    }

    #[cold]
    fn leave_failed(&self, r: Ref<'h>, span: Span, e: EvalError) -> EvalError {
        if e.cycle() == 0 {
            return e;
        }
        if e.cycle() == std::ptr::from_ref(r) as usize {
            return e.close_cycle(span);
        }
        match self.snippet(span) {
            Some(text) => e.frame(span, format!("while evaluating `{text}`")),
            None => e,
        }
    }

    /// Waits until another thread is done with a cell.
    #[cold]
    fn wait_for(&self, r: Ref<'h>, mut pending: u64) -> EvalResult<()> {
        let waits = || self.shared.waits.lock().unwrap_or_else(|e| e.into_inner());
        for round in 0u32.. {
            if round < 100 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            let now = r.load().w0.get();
            if now & TAG_MASK != TAG_PENDING || now != pending {
                pending = now;
                if now & TAG_MASK != TAG_PENDING {
                    break;
                }
            }
            if round % 64 == 63 {
                self.check_interrupt()?;
                // Two threads may wait for each other: follow who waits for whom.
                let mut table = waits();
                table.insert(self.thread, std::ptr::from_ref(r) as usize);
                let mut owner = pending >> 3;
                let mut steps = 0;
                let is_cycle = loop {
                    if owner == self.thread {
                        break true;
                    }
                    steps += 1;
                    let Some(&cell) = table.get(&owner).filter(|_| steps < 256) else { break false };
                    // SAFETY: cells live as long as the heap, and only cells of this heap are in the table.
                    let next = unsafe { &*(cell as *const Slot<'h>) }.load().w0.get();
                    if next & TAG_MASK != TAG_PENDING {
                        break false;
                    }
                    owner = next >> 3;
                };
                if is_cycle {
                    table.remove(&self.thread);
                    return Err(self.infinite_recursion(r));
                }
            }
        }
        waits().remove(&self.thread);
        Ok(())
    }

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
                            let frame = Env::new(self.arena, lambda.env, lambda.node.frame as usize);
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
                    let y = self.eval(env, b)?;
                    if let (Some(i), Some(j)) = (x.as_int(), y.as_int()) {
                        if let Some(n) = i.checked_add(j) {
                            return Ok(Value::int(n));
                        }
                    }
                    return self.add(x, y, a.span, b.span).or_at(node.span);
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
                    return Ok(Value::attrs(self.update(left, right)));
                }
                Code::Concat(a, b) => return self.concat_chain(env, a, b),
                Code::Interpolate(parts) => return self.interpolate(env, parts, false, node.span),
                Code::PathInterpolate(parts) => return self.interpolate(env, parts, true, node.span),
                Code::CurPos => return Ok(self.position_value(node.span.start)),
            }
        }
    }

    /// The body of a called function, with a trace frame when it fails.
    #[inline(always)]
    fn eval_body(&self, frame: EnvPtr<'h>, lambda: &'h LambdaNode<'h>, call: Span) -> EvalResult<Value<'h>> {
        match self.eval(frame, lambda.body) {
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
    fn peek_attr(&self, env: EnvPtr<'h>, base: N<'h>, name: Symbol) -> Option<&'h Attr<'h>> {
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
        let env = if set.frame != 0 { Env::new(self.arena, env, set.frame as usize) } else { env };
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
        let attrs = Attrs::build(self.arena, set.attrs.len(), |i| {
            let attr = &set.attrs[i];
            Attr { name: attr.name, pos: attr.pos, value: cell(&attr.value) }
        });
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
        let mut all: Vec<Attr<'h>> = attrs.as_slice().to_vec();
        if set.has_overrides {
            let overrides = attrs.get(sym::OVERRIDES).map(|a| self.force(a.value)).transpose()?;
            if let Some(v) = overrides {
                let Some(over) = v.as_attrs() else {
                    return Err(self.expected("a set", v).at(span).frame(span, "while evaluating `__overrides`"));
                };
                for a in over.as_slice() {
                    match all.iter_mut().find(|b| b.name == a.name) {
                        Some(b) => {
                            *b = *a;
                            // Compat: the recursive scope sees the overridden value.
                            for (bind, static_attr) in set.attrs.iter().enumerate() {
                                if let (true, AttrValue::Slot(slot)) = (static_attr.name == a.name, set.attrs[bind].value) {
                                    // SAFETY: the slot is the attribute's own in this frame.
                                    unsafe { Env::set(env, slot, a.value) };
                                }
                            }
                        }
                        None => all.push(*a),
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
        let names: Vec<_> = attrs.as_slice().iter().map(|a| self.display(a.name)).collect();
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
            let attrs = cell.peek().and_then(|v| v.as_attrs()).map_or(&[][..], |a| a.as_slice());
            names.extend(attrs.iter().map(|a| self.display(a.name)));
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

    /// Applies what is left of a call's arguments.
    #[inline(never)]
    fn call_rest(&self, env: EnvPtr<'h>, f: Value<'h>, args: &[N<'h>], span: Span) -> EvalResult<Value<'h>> {
        const INLINE: usize = 8;
        if args.len() <= INLINE {
            let mut cells = [const { MaybeUninit::<Ref<'h>>::uninit() }; INLINE];
            for (cell, arg) in cells.iter_mut().zip(args) {
                cell.write(self.delay(env, arg));
            }
            // SAFETY: the first `args.len()` were written; `MaybeUninit<T>` has the layout of `T`.
            let cells = unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<Ref<'h>>(), args.len()) };
            return self.call_at(f, cells, span);
        }
        let cells: Vec<Ref<'h>> = args.iter().map(|arg| self.delay(env, arg)).collect();
        self.call_at(f, &cells, span)
    }

    /// Calls a function value with arguments.
    #[inline]
    pub fn call(&self, f: Value<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
        self.call_at(f, args, Span::NONE)
    }

    /// Calls a function value; `span` is the call's place.
    pub(crate) fn call_at(&self, mut f: Value<'h>, mut args: &[Ref<'h>], span: Span) -> EvalResult<Value<'h>> {
        let depth = self.depth.get();
        self.check_stack().and_then(|()| self.enter_call()).or_at(span)?;
        let result = loop {
            match f.view() {
                View::Lambda(lambda) => {
                    let arity = lambda.node.arity as usize;
                    if args.len() < arity {
                        break Ok(self.partial(f, &[], args));
                    }
                    match self.enter_lambda(lambda.env, lambda.node, &args[..arity], span) {
                        Ok(v) => f = v,
                        Err(e) => break Err(e),
                    }
                    args = &args[arity..];
                }
                View::PrimOp(p) => {
                    if args.len() < p.arity {
                        break Ok(self.partial(f, &[], args));
                    }
                    match self.call_primop(p, &args[..p.arity], span) {
                        Ok(v) => f = v,
                        Err(e) => break Err(e),
                    }
                    if p.arity == 0 {
                        // A constant: its only argument is a dummy.
                        break Ok(f);
                    }
                    args = &args[p.arity..];
                }
                View::Partial(pap) => {
                    let arity = match pap.function.view() {
                        View::Lambda(lambda) => lambda.node.arity as usize,
                        View::PrimOp(p) => p.arity,
                        _ => unreachable!("only functions of more than one argument wait for arguments"),
                    };
                    let missing = arity - pap.args.len();
                    if args.len() < missing {
                        break Ok(self.partial(pap.function, pap.args, args));
                    }
                    let mut all: Vec<Ref<'h>> = Vec::with_capacity(arity);
                    all.extend_from_slice(pap.args);
                    all.extend_from_slice(&args[..missing]);
                    let result = match pap.function.view() {
                        View::Lambda(lambda) => self.enter_lambda(lambda.env, lambda.node, &all, span),
                        View::PrimOp(p) => self.call_primop(p, &all, span),
                        _ => unreachable!("see above"),
                    };
                    match result {
                        Ok(v) => f = v,
                        Err(e) => break Err(e),
                    }
                    args = &args[missing..];
                }
                View::Attrs(attrs) => {
                    let Some(functor) = attrs.get(sym::FUNCTOR) else { break Err(self.not_a_function(f, span)) };
                    if let Err(e) = self.enter_call() {
                        break Err(e.or_at(span));
                    }
                    let this = self.cell(f);
                    let applied = self.force(functor.value).and_then(|g| self.call_at(g, &[this], span));
                    match applied.frame(span, || "while calling a functor (a set with `__functor`)".to_owned()) {
                        Ok(v) => f = v,
                        Err(e) => break Err(e),
                    }
                    continue;
                }
                _ => break Err(self.not_a_function(f, span)),
            }
            if args.is_empty() {
                break Ok(f);
            }
        };
        self.depth.set(depth);
        result
    }

    #[cold]
    fn not_a_function(&self, f: Value<'h>, span: Span) -> EvalError {
        let kind = f.kind().describe();
        EvalError::new("eval::not-a-function", format!("attempt to call something which is not a function but {kind}: {}", self.show(f)))
            .at(span)
    }

    fn partial(&self, function: Value<'h>, have: &[Ref<'h>], more: &[Ref<'h>]) -> Value<'h> {
        let args = if have.is_empty() {
            self.arena.slice(more)
        } else {
            let mut all = have.to_vec();
            all.extend_from_slice(more);
            self.arena.slice(&all)
        };
        Value::pap(self.arena.alloc(Pap { function, args }))
    }

    #[inline(always)]
    fn enter_lambda(
        &self,
        up: EnvPtr<'h>,
        lambda: &'h LambdaNode<'h>,
        args: &[Ref<'h>],
        span: Span,
    ) -> EvalResult<Value<'h>> {
        let frame = Env::new(self.arena, up, lambda.frame as usize);
        for (i, arg) in args.iter().enumerate() {
            // SAFETY: a lambda's frame begins with its parameters.
            unsafe { Env::set(frame, i as u32, arg) };
        }
        if lambda.pattern.is_some() {
            self.bind_pattern(lambda, frame, span).map_err(|e| self.call_frame(e, lambda, span))?;
        }
        self.eval_body(frame, lambda, span)
    }

    #[inline(always)]
    fn call_primop(&self, p: &'h PrimOp, args: &[Ref<'h>], span: Span) -> EvalResult<Value<'h>> {
        match p.run(self, args) {
            Ok(v) => Ok(v),
            Err(e) => Err(self.primop_frame(e, p, span)),
        }
    }

    #[cold]
    #[inline(never)]
    fn primop_frame(&self, e: EvalError, p: &PrimOp, span: Span) -> EvalError {
        let e = e.or_at(span);
        match p.name {
            "throw" | "abort" | "addErrorContext" | "nbvError" => e,
            name => e.frame(span, format!("while calling `builtins.{name}`")),
        }
    }

    /// Matches the last argument against the lambda's pattern.
    fn bind_pattern(&self, lambda: &'h LambdaNode<'h>, frame: EnvPtr<'h>, call: Span) -> EvalResult<()> {
        let Some(pattern) = lambda.pattern else { return Ok(()) };
        let v = self.force(self.local(frame, lambda.arity - 1)).or_at(call)?;
        let Some(attrs) = v.as_attrs() else {
            return Err(self.expected("a set", v).at(call).frame(lambda.span, "while matching the argument of a function"));
        };
        let given = attrs.as_slice();
        let mut used = 0;
        // Perf: walk both sorted lists together unless the set is much larger than the pattern.
        let walk = given.len() <= pattern.formals.len() * 4 + 8;
        let mut at = 0;
        for (i, formal) in pattern.formals.iter().enumerate() {
            let found = if walk {
                while at < given.len() && given[at].name < formal.name {
                    at += 1;
                }
                given.get(at).filter(|a| a.name == formal.name)
            } else {
                attrs.get(formal.name)
            };
            let slot = pattern.first_slot + i as u32;
            let cell = match (found, formal.default) {
                (Some(attr), _) => {
                    used += 1;
                    attr.value
                }
                (None, Some(default)) => self.delay(frame, default),
                (None, None) => return Err(self.missing_argument(lambda, attrs, formal.name, call)),
            };
            // SAFETY: formals have consecutive slots of the lambda's frame.
            unsafe { Env::set(frame, slot, cell) };
        }
        if used != given.len() && !pattern.has_ellipsis {
            return Err(self.unexpected_argument(lambda, attrs, call));
        }
        Ok(())
    }

    fn function_name(&self, lambda: &LambdaNode<'h>) -> String {
        match lambda.name {
            Some(name) => format!("function `{}`", self.display(name)),
            None => "anonymous function".to_owned(),
        }
    }

    #[cold]
    #[inline(never)]
    fn missing_argument(&self, lambda: &LambdaNode<'h>, attrs: Attrs<'h>, name: Symbol, call: Span) -> EvalError {
        let wanted = self.display(name);
        let e = EvalError::new(
            "eval::missing-argument",
            format!("{} called without required argument `{wanted}`", self.function_name(lambda)),
        );
        let mut e = e.at(if call.is_none() { lambda.span } else { call });
        if !call.is_none() {
            e.diagnostic_mut().labels.push(nbv_diag::Label { span: lambda.span, text: "the function".into() });
        }
        let names: Vec<_> = attrs.as_slice().iter().map(|a| self.display(a.name)).collect();
        match nbv_diag::did_you_mean(&wanted, names.iter().map(|n| &**n)) {
            Some(_) if lambda.pattern.is_some_and(|p| p.has_ellipsis) => e,
            Some(hint) => e.hint(hint.replace("did you mean", "is it given as").replace('?', "?")),
            None => e,
        }
    }

    #[cold]
    #[inline(never)]
    fn unexpected_argument(&self, lambda: &LambdaNode<'h>, attrs: Attrs<'h>, call: Span) -> EvalError {
        let formals = lambda.pattern.map_or(&[][..], |p| p.formals);
        let extra = attrs.by_name(self.symbols()).into_iter().find(|a| !formals.iter().any(|f| f.name == a.name));
        let name = extra.map_or(sym::EMPTY, |a| a.name);
        let given = self.display(name);
        let e = EvalError::new(
            "eval::unexpected-argument",
            format!("{} called with unexpected argument `{given}`", self.function_name(lambda)),
        );
        let mut e = e.at(if call.is_none() { lambda.span } else { call });
        if !call.is_none() {
            e.diagnostic_mut().labels.push(nbv_diag::Label { span: lambda.span, text: "the function".into() });
        }
        let names: Vec<_> = formals.iter().map(|f| self.display(f.name)).collect();
        match nbv_diag::did_you_mean(&given, names.iter().map(|n| &**n)) {
            Some(hint) => e.hint(hint),
            None => e,
        }
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
