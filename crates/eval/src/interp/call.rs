//! Calling functions: lambdas, their patterns, primops, functors, partial applications.

use super::*;

impl<'h> Evaluator<'h> {
    /// Applies what is left of a call's arguments.
    #[inline(never)]
    pub(super) fn call_rest(&self, env: EnvPtr<'h>, f: Value<'h>, args: &[N<'h>], span: Span) -> EvalResult<Value<'h>> {
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
    pub(super) fn not_a_function(&self, f: Value<'h>, span: Span) -> EvalError {
        let kind = f.kind().describe();
        EvalError::new("eval::not-a-function", format!("attempt to call something which is not a function but {kind}: {}", self.show(f)))
            .at(span)
    }

    pub(super) fn partial(&self, function: Value<'h>, have: &[Ref<'h>], more: &[Ref<'h>]) -> Value<'h> {
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
    pub(super) fn enter_lambda(
        &self,
        up: EnvPtr<'h>,
        lambda: &'h LambdaNode<'h>,
        args: &[Ref<'h>],
        span: Span,
    ) -> EvalResult<Value<'h>> {
        let frame = self.spare.frame(self.arena, up, lambda.frame as usize);
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
    pub(super) fn call_primop(&self, p: &'h PrimOp, args: &[Ref<'h>], span: Span) -> EvalResult<Value<'h>> {
        match p.run(self, args) {
            Ok(v) => Ok(v),
            Err(e) => Err(self.primop_frame(e, p, span)),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn primop_frame(&self, e: EvalError, p: &PrimOp, span: Span) -> EvalError {
        let e = e.or_at(span);
        match p.name {
            "throw" | "abort" | "addErrorContext" | "nbvError" => e,
            name => e.frame(span, format!("while calling `builtins.{name}`")),
        }
    }

    /// Matches the last argument against the lambda's pattern.
    pub(super) fn bind_pattern(&self, lambda: &'h LambdaNode<'h>, frame: EnvPtr<'h>, call: Span) -> EvalResult<()> {
        let Some(pattern) = lambda.pattern else { return Ok(()) };
        let v = self.force(self.local(frame, lambda.arity - 1)).or_at(call)?;
        let Some(attrs) = v.as_attrs() else {
            return Err(self.expected("a set", v).at(call).frame(lambda.span, "while matching the argument of a function"));
        };
        let mut used = 0;
        // Perf: walk both sorted lists together unless the set is much larger than the pattern.
        let walk = attrs.bound() <= pattern.formals.len() * 4 + 8;
        let mut rest = attrs.iter();
        let mut head = if walk { rest.next() } else { None };
        for (i, formal) in pattern.formals.iter().enumerate() {
            let found = if walk {
                while head.is_some_and(|a| a.name < formal.name) {
                    head = rest.next();
                }
                head.filter(|a| a.name == formal.name)
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
        if !pattern.has_ellipsis && used != attrs.len() {
            return Err(self.unexpected_argument(lambda, attrs, call));
        }
        Ok(())
    }

    pub(super) fn function_name(&self, lambda: &LambdaNode<'h>) -> String {
        match lambda.name {
            Some(name) => format!("function `{}`", self.display(name)),
            None => "anonymous function".to_owned(),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn missing_argument(&self, lambda: &LambdaNode<'h>, attrs: Attrs<'h>, name: Symbol, call: Span) -> EvalError {
        let wanted = self.display(name);
        let e = EvalError::new(
            "eval::missing-argument",
            format!("{} called without required argument `{wanted}`", self.function_name(lambda)),
        );
        let mut e = e.at(if call.is_none() { lambda.span } else { call });
        if !call.is_none() {
            e.diagnostic_mut().labels.push(nbv_diag::Label { span: lambda.span, text: "the function".into() });
        }
        let names: Vec<_> = attrs.iter().map(|a| self.display(a.name)).collect();
        match nbv_diag::did_you_mean(&wanted, names.iter().map(|n| &**n)) {
            Some(_) if lambda.pattern.is_some_and(|p| p.has_ellipsis) => e,
            Some(hint) => e.hint(hint.replace("did you mean", "is it given as").replace('?', "?")),
            None => e,
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn unexpected_argument(&self, lambda: &LambdaNode<'h>, attrs: Attrs<'h>, call: Span) -> EvalError {
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
}
