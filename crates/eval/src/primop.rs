//! Built-in functions.

use std::sync::Arc;

use crate::evaluator::Evaluator;
use crate::value::{EvalResult, Ref, Value};

/// A built-in's code: exactly `arity` unforced arguments in, a finished value out.
pub type PrimFn = for<'h, 'a> fn(&'a Evaluator<'h>, &'a [Ref<'h>]) -> EvalResult<Value<'h>>;

/// A built-in with state of its own (registered by users of the crate).
pub type PrimClosure =
    Arc<dyn for<'h, 'a> Fn(&'a Evaluator<'h>, &'a [Ref<'h>]) -> EvalResult<Value<'h>> + Send + Sync>;

/// A built-in function or constant.
pub struct PrimOp {
    /// As in `builtins.NAME`.
    pub name: &'static str,
    /// Number of arguments; 0 means a constant that is computed when first needed.
    pub arity: usize,
    pub(crate) code: PrimCode,
}

pub(crate) enum PrimCode {
    Fn(PrimFn),
    Closure(PrimClosure),
}

impl PrimOp {
    /// A built-in made of a plain function; `const`, for tables.
    pub const fn new(name: &'static str, arity: usize, code: PrimFn) -> PrimOp {
        PrimOp { name, arity, code: PrimCode::Fn(code) }
    }

    /// A built-in made of a closure.
    pub fn closure(name: &'static str, arity: usize, code: PrimClosure) -> PrimOp {
        PrimOp { name, arity, code: PrimCode::Closure(code) }
    }

    #[inline(always)]
    pub(crate) fn run<'h>(&self, ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
        match &self.code {
            PrimCode::Fn(f) => f(ev, args),
            PrimCode::Closure(f) => f(ev, args),
        }
    }
}
