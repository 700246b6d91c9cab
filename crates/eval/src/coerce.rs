//! Coercions to string, typed forcing, and deep forcing.

use std::collections::HashSet;

use nbv_syntax::FxBuild;

use crate::context::Context;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::parallel::Wanted;
use crate::sym;
use crate::value::{Attrs, EvalResult, Ref, Str, Value, View};

impl<'h> Evaluator<'h> {
    /// Coerces a finished value to a string with its context.
    ///
    /// `copy_to_store`: paths become store paths (as in `"${./x}"`), otherwise their text. `more`: also null,
    /// Booleans, numbers and lists (as in `toString`).
    pub fn coerce_to_string(&self, v: Value<'h>, copy_to_store: bool, more: bool) -> EvalResult<Str<'h>> {
        match v.view() {
            View::String(s) => Ok(s),
            View::Path(p) if copy_to_store => crate::builtins::copy_to_store(self, p),
            View::Path(p) => Ok(p),
            View::Attrs(attrs) => {
                self.check_stack()?;
                if let Some(f) = attrs.get(sym::TO_STRING) {
                    let this = self.cell(v);
                    let s = self
                        .force(f.value)
                        .and_then(|f| self.call(f, &[this]))
                        .and_then(|s| self.deeper(|| self.coerce_to_string(s, copy_to_store, more)));
                    return s.frame(nbv_diag::Span::NONE, || "while evaluating the result of `__toString`".to_owned());
                }
                match attrs.get(sym::OUT_PATH) {
                    Some(path) => {
                        let path = self.force(path.value)?;
                        self.deeper(|| self.coerce_to_string(path, copy_to_store, more))
                    }
                    None => Err(self.cannot_coerce(v)),
                }
            }
            View::Null if more => Ok(self.common.empty_string),
            View::Bool(b) if more => Ok(self.make_str(if b { b"1" } else { b"" }, Context::empty())),
            View::Int(n) if more => Ok(self.make_str(n.to_string().as_bytes(), Context::empty())),
            View::Float(x) if more => Ok(self.make_str(crate::print::float_fixed(x).as_bytes(), Context::empty())),
            View::List(items) if more => {
                self.check_stack()?;
                self.offer(items.iter().copied(), Wanted::Text);
                let mut out = Vec::new();
                let mut context = Context::empty();
                for (i, item) in items.iter().enumerate() {
                    self.meanwhile(item, &items[i + 1..], Wanted::Text);
                    let v = self.force(item)?;
                    let s = self.deeper(|| self.coerce_to_string(v, copy_to_store, more)).frame(
                        nbv_diag::Span::NONE,
                        || format!("while evaluating element {i} of a list"),
                    )?;
                    out.extend_from_slice(s.bytes());
                    context = self.join_contexts(context, s.context());
                    // Compat: no blank behind an empty list.
                    if i + 1 < items.len() && !v.as_list().is_some_and(|l| l.is_empty()) {
                        out.push(b' ');
                    }
                }
                Ok(self.make_str(&out, context))
            }
            _ => Err(self.cannot_coerce(v)),
        }
    }

    #[cold]
    fn cannot_coerce(&self, v: Value<'h>) -> EvalError {
        EvalError::new(
            "eval::coercion",
            format!("cannot coerce {} to a string{}", v.kind().describe(), self.show_suffix(v)),
        )
    }

    /// Forces a string; its context comes with it.
    #[inline]
    pub fn force_string(&self, r: Ref<'h>) -> EvalResult<Str<'h>> {
        let v = self.force(r)?;
        v.as_string().ok_or_else(|| self.expected("a string", v))
    }

    /// Forces a string that must not depend on store paths.
    #[inline]
    pub fn force_plain_string(&self, r: Ref<'h>) -> EvalResult<Str<'h>> {
        let s = self.force_string(r)?;
        if s.context().is_empty() {
            return Ok(s);
        }
        let text = s.to_str_lossy();
        let first = s.context().elems().first().map(|e| e.encode()).unwrap_or_default();
        Err(EvalError::new("eval::context", format!("the string `{text}` is not allowed to refer to a store path (such as `{first}`)")))
    }

    #[inline]
    pub fn force_int(&self, r: Ref<'h>) -> EvalResult<i64> {
        let v = self.force(r)?;
        v.as_int().ok_or_else(|| self.expected("an integer", v))
    }

    /// Forces an integer or a float.
    #[inline]
    pub fn force_float(&self, r: Ref<'h>) -> EvalResult<f64> {
        let v = self.force(r)?;
        v.as_float().or_else(|| v.as_int().map(|n| n as f64)).ok_or_else(|| self.expected("a float", v))
    }

    #[inline]
    pub fn force_bool(&self, r: Ref<'h>) -> EvalResult<bool> {
        let v = self.force(r)?;
        v.as_bool().ok_or_else(|| self.expected("a Boolean", v))
    }

    #[inline]
    pub fn force_list(&self, r: Ref<'h>) -> EvalResult<&'h [Ref<'h>]> {
        let v = self.force(r)?;
        v.as_list().ok_or_else(|| self.expected("a list", v))
    }

    #[inline]
    pub fn force_attrs(&self, r: Ref<'h>) -> EvalResult<Attrs<'h>> {
        let v = self.force(r)?;
        v.as_attrs().ok_or_else(|| self.expected("a set", v))
    }

    /// Forces a function: a lambda, a built-in, or a set with `__functor`.
    #[inline]
    pub fn force_function(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        let v = self.force(r)?;
        if v.is_function() || v.as_attrs().is_some_and(|a| a.get(sym::FUNCTOR).is_some()) {
            return Ok(v);
        }
        Err(self.expected("a function", v))
    }

    /// The value of an attribute, forced.
    pub fn select(&self, attrs: Attrs<'h>, name: &str) -> EvalResult<Value<'h>> {
        let symbol = self.intern(name.as_bytes());
        match attrs.get(symbol) {
            Some(attr) => self.force(attr.value),
            None => Err(self.missing_attribute(attrs, symbol)),
        }
    }

    /// Forces a value and everything in it. Attributes are forced in symbol order, as in C++ Nix.
    pub fn force_deep(&self, r: Ref<'h>) -> EvalResult<Value<'h>> {
        self.force_deep_seen(r, &mut HashSet::default())
    }

    fn force_deep_seen(&self, r: Ref<'h>, seen: &mut HashSet<usize, FxBuild>) -> EvalResult<Value<'h>> {
        if !seen.insert(std::ptr::from_ref(r) as usize) {
            return self.force(r);
        }
        let v = self.force(r)?;
        // Of the root, what is in it is offered to helpers.
        let offered: Vec<Ref<'h>> = match v.view() {
            View::Attrs(attrs) if seen.len() == 1 => attrs.iter().map(|a| a.value).collect(),
            View::List(items) if seen.len() == 1 => items.to_vec(),
            _ => Vec::new(),
        };
        self.offer(offered.iter().copied(), Wanted::Deep);
        let meanwhile = |i: usize| {
            if let Some((cell, after)) = offered.get(i..).and_then(|rest| rest.split_first()) {
                self.meanwhile(cell, after, Wanted::Deep);
            }
        };
        match v.view() {
            View::Attrs(attrs) => self.deeper(|| {
                for (i, attr) in attrs.iter().enumerate() {
                    meanwhile(i);
                    self.force_deep_seen(attr.value, seen).or_at(nbv_diag::Span::new(attr.pos, attr.pos)).frame(
                        nbv_diag::Span::new(attr.pos, attr.pos),
                        || format!("while evaluating the attribute `{}`", self.display(attr.name)),
                    )?;
                }
                Ok(v)
            }),
            View::List(items) => self.deeper(|| {
                for (i, item) in items.iter().enumerate() {
                    meanwhile(i);
                    self.force_deep_seen(item, seen)
                        .frame(nbv_diag::Span::NONE, || format!("while evaluating element {i} of a list"))?;
                }
                Ok(v)
            }),
            _ => Ok(v),
        }
    }
}
