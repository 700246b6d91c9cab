//! Operators: arithmetic, comparison, equality, update, concatenation, interpolation.

use nbv_diag::Span;

use crate::context::Context;
use crate::env::Env;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::{Evaluator, normalise_path};
use crate::node::{Code, N};
use crate::sym;
use crate::value::{Attrs,  EvalResult, Kind, Ref, Str, Value, View};

type EnvPtr<'h> = *const Env<'h>;

/// The operators on numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

impl Arithmetic {
    fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Sub => "-",
            Arithmetic::Mul => "*",
            Arithmetic::Div => "/",
        }
    }
}

fn as_number(v: Value<'_>) -> Option<f64> {
    v.as_float().or_else(|| v.as_int().map(|n| n as f64))
}

impl<'h> Evaluator<'h> {
    /// `x op y` on numbers; integers stay integers, overflow is an error.
    pub(crate) fn arithmetic(
        &self,
        op: Arithmetic,
        x: Value<'h>,
        y: Value<'h>,
        x_span: Span,
        y_span: Span,
    ) -> EvalResult<Value<'h>> {
        if let (Some(a), Some(b)) = (x.as_int(), y.as_int()) {
            let result = match op {
                Arithmetic::Add => a.checked_add(b),
                Arithmetic::Sub => a.checked_sub(b),
                Arithmetic::Mul => a.checked_mul(b),
                Arithmetic::Div if b == 0 => return Err(division_by_zero()),
                Arithmetic::Div => a.checked_div(b),
            };
            return match result {
                Some(n) => Ok(Value::int(n)),
                None => Err(EvalError::new("eval::overflow", format!("integer overflow in `{a} {} {b}`", op.symbol()))),
            };
        }
        let Some(a) = as_number(x) else { return Err(self.expected("a number", x).at(x_span)) };
        let Some(b) = as_number(y) else { return Err(self.expected("a number", y).at(y_span)) };
        Ok(Value::float(match op {
            Arithmetic::Add => a + b,
            Arithmetic::Sub => a - b,
            Arithmetic::Mul => a * b,
            Arithmetic::Div if b == 0.0 => return Err(division_by_zero()),
            Arithmetic::Div => a / b,
        }))
    }

    /// `+` behind a number.
    #[inline(never)]
    pub(crate) fn add_numbers(&self, x: Value<'h>, y: Value<'h>, x_span: Span, y_span: Span) -> EvalResult<Value<'h>> {
        if as_number(y).is_none() {
            let what = x.kind().describe();
            return Err(EvalError::type_error(format!("cannot add {}{} to {what}", y.kind().describe(), self.show_suffix(y))).at(y_span));
        }
        self.arithmetic(Arithmetic::Add, x, y, x_span, y_span)
    }

    /// The operator `+`: numbers, strings, paths. The left side is looked at before the right side is evaluated.
    #[inline(never)]
    pub(crate) fn add_to(&self, env: EnvPtr<'h>, x: Value<'h>, x_span: Span, b: N<'h>) -> EvalResult<Value<'h>> {
        match x.kind() {
            Kind::Int | Kind::Float => self.add_numbers(x, self.eval(env, b)?, x_span, b.span),
            Kind::Path => {
                let Some(left) = x.as_path() else { unreachable!("the kind was looked at") };
                let right = self.coerce_to_string(self.eval(env, b)?, false, false).or_at(b.span)?;
                if !right.context().is_empty() {
                    return Err(EvalError::new(
                        "eval::context",
                        "a string that refers to a store path cannot be appended to a path",
                    )
                    .at(b.span));
                }
                Ok(self.path(&[left.bytes(), right.bytes()].concat()))
            }
            kind => {
                let left = self.coerce_to_string(x, kind == Kind::String, false).or_at(x_span)?;
                let right = self.coerce_to_string(self.eval(env, b)?, kind == Kind::String, false).or_at(b.span)?;
                let context = self.join_contexts(left.context(), right.context());
                Ok(Value::string(Str::concat(self.arena, &[left.bytes(), right.bytes()], context)))
            }
        }
    }

    #[inline(never)]
    pub(crate) fn interpolate(
        &self,
        env: EnvPtr<'h>,
        parts: &[N<'h>],
        is_path: bool,
        span: Span,
    ) -> EvalResult<Value<'h>> {
        let mut texts: Vec<&'h [u8]> = Vec::with_capacity(parts.len());
        let mut context = Context::empty();
        for (i, part) in parts.iter().enumerate() {
            let v = self.eval(env, part)?;
            let s = self.coerce_to_string(v, !is_path, false).or_at(part.span).frame(part.span, || {
                if is_path { "while evaluating a path segment" } else { "while evaluating a string segment" }.to_owned()
            })?;
            if is_path && i > 0 && !s.context().is_empty() {
                let message = "a string that refers to a store path cannot be appended to a path";
                return Err(EvalError::new("eval::context", message).at(part.span));
            }
            context = self.join_contexts(context, s.context());
            texts.push(s.bytes());
        }
        let _ = span;
        if is_path {
            return Ok(Value::path(self.make_str(&normalise_path(&texts.concat()), Context::empty())));
        }
        if let [only] = texts.as_slice() {
            if only.is_empty() && context.is_empty() {
                return Ok(Value::string(self.common.empty_string));
            }
        }
        Ok(Value::string(Str::concat(self.arena, &texts, context)))
    }

    #[inline(never)]
    pub(crate) fn eval_equal(&self, env: EnvPtr<'h>, a: N<'h>, b: N<'h>, span: Span) -> EvalResult<bool> {
        let x = self.eval(env, a)?;
        let y = self.eval(env, b)?;
        if let (Some(i), Some(j)) = (x.as_int(), y.as_int()) {
            return Ok(i == j);
        }
        self.equal(x, y).or_at(span)
    }

    /// The operator `==` on finished values.
    pub fn equal(&self, x: Value<'h>, y: Value<'h>) -> EvalResult<bool> {
        match (x.view(), y.view()) {
            (View::Int(a), View::Int(b)) => Ok(a == b),
            (View::Int(a), View::Float(b)) | (View::Float(b), View::Int(a)) => Ok(a as f64 == b),
            (View::Float(a), View::Float(b)) => Ok(a == b),
            (View::Null, View::Null) => Ok(true),
            (View::Bool(a), View::Bool(b)) => Ok(a == b),
            (View::String(a), View::String(b)) | (View::Path(a), View::Path(b)) => Ok(a.bytes() == b.bytes()),
            (View::List(a), View::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (x, y) in a.iter().zip(b) {
                    if !self.equal_cells(x, y)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (View::Attrs(a), View::Attrs(b)) => {
                if a.is_same(b) && a.is_empty() {
                    return Ok(true);
                }
                if let (Some(p), Some(q)) = (self.derivation_out_path(a)?, self.derivation_out_path(b)?) {
                    return self.equal_cells(p, q);
                }
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (x, y) in a.iter().zip(b) {
                    if x.name != y.name || !self.equal_cells(x.value, y.value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `==` on cells: a cell equals itself, even when it holds a function.
    pub fn equal_cells(&self, x: Ref<'h>, y: Ref<'h>) -> EvalResult<bool> {
        if std::ptr::eq(x, y) {
            // Compat: the value is forced all the same.
            self.force(x)?;
            return Ok(true);
        }
        self.check_stack()?;
        self.equal(self.force(x)?, self.force(y)?)
    }

    /// The `outPath` cell of a set with `type = "derivation"`.
    fn derivation_out_path(&self, attrs: Attrs<'h>) -> EvalResult<Option<Ref<'h>>> {
        if !self.is_derivation(attrs)? {
            return Ok(None);
        }
        Ok(attrs.get(sym::OUT_PATH).map(|a| a.value))
    }

    /// Whether a set is a derivation (`type = "derivation"`).
    pub fn is_derivation(&self, attrs: Attrs<'h>) -> EvalResult<bool> {
        let Some(kind) = attrs.get(sym::TYPE) else { return Ok(false) };
        let kind = self.force(kind.value)?;
        Ok(kind.as_string().is_some_and(|s| s.bytes() == b"derivation"))
    }

    #[inline(never)]
    pub(crate) fn eval_less(&self, env: EnvPtr<'h>, a: N<'h>, b: N<'h>, span: Span) -> EvalResult<bool> {
        let x = self.eval(env, a)?;
        let y = self.eval(env, b)?;
        if let (Some(i), Some(j)) = (x.as_int(), y.as_int()) {
            return Ok(i < j);
        }
        self.less(x, y).or_at(span)
    }

    /// `a > b` is `b < a`, in that order of evaluation.
    #[inline(never)]
    pub(crate) fn eval_greater(&self, env: EnvPtr<'h>, a: N<'h>, b: N<'h>, span: Span) -> EvalResult<bool> {
        let y = self.eval(env, b)?;
        let x = self.eval(env, a)?;
        if let (Some(i), Some(j)) = (x.as_int(), y.as_int()) {
            return Ok(i > j);
        }
        self.less(y, x).or_at(span)
    }

    /// The operator `<` on finished values: numbers, strings, paths, lists.
    pub fn less(&self, x: Value<'h>, y: Value<'h>) -> EvalResult<bool> {
        match (x.view(), y.view()) {
            (View::Int(a), View::Int(b)) => Ok(a < b),
            (View::Int(a), View::Float(b)) => Ok((a as f64) < b),
            (View::Float(a), View::Int(b)) => Ok(a < b as f64),
            (View::Float(a), View::Float(b)) => Ok(a < b),
            (View::String(a), View::String(b)) | (View::Path(a), View::Path(b)) => Ok(a.bytes() < b.bytes()),
            (View::List(a), View::List(b)) => {
                for (i, y) in b.iter().enumerate() {
                    let Some(x) = a.get(i) else { return Ok(true) };
                    if !self.equal_cells(x, y)? {
                        self.check_stack()?;
                        return self.less(self.force(x)?, self.force(y)?);
                    }
                }
                Ok(false)
            }
            _ => {
                let (a, b) = (x.kind(), y.kind());
                let message = if a == b {
                    format!("cannot compare {} with {}; values of that type are incomparable", a.describe(), b.describe())
                } else {
                    format!("cannot compare {} with {}", a.describe(), b.describe())
                };
                let values = format!("the values are {} and {}", self.show(x), self.show(y));
                Err(EvalError::type_error(message).note(values))
            }
        }
    }

    /// `a ++ (b ++ …)`, copied once.
    #[inline(never)]
    pub(crate) fn concat_chain(&self, env: EnvPtr<'h>, a: N<'h>, mut rest: N<'h>) -> EvalResult<Value<'h>> {
        let list = |node: N<'h>| -> EvalResult<&'h [Ref<'h>]> {
            let v = self.eval(env, node)?;
            v.as_list().ok_or_else(|| self.expected("a list", v).at(node.span).frame(node.span, "in an operand of `++`"))
        };
        let mut parts = vec![list(a)?];
        while let Code::Concat(x, y) = rest.code {
            parts.push(list(x)?);
            rest = y;
        }
        parts.push(list(rest)?);
        Ok(self.concat_lists(&parts))
    }

    /// The concatenation of lists; shares the only one that is not empty.
    pub fn concat_lists(&self, parts: &[&'h [Ref<'h>]]) -> Value<'h> {
        let mut filled = parts.iter().filter(|p| !p.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Value::list(&[]),
            (Some(only), None) => Value::list(only),
            _ => {
                let all: Vec<Ref<'h>> = parts.concat();
                self.list(&all)
            }
        }
    }
}

fn division_by_zero() -> EvalError {
    EvalError::new("eval::division-by-zero", "division by zero")
}
