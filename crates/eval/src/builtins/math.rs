//! Numbers.

use nbv_diag::Span;

use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::ops::Arithmetic;
use crate::primop::PrimOp;
use crate::value::{EvalResult, Ref, Value, View};

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("add", 2, |ev, args| arithmetic(ev, args, Arithmetic::Add)),
    PrimOp::new("sub", 2, |ev, args| arithmetic(ev, args, Arithmetic::Sub)),
    PrimOp::new("mul", 2, |ev, args| arithmetic(ev, args, Arithmetic::Mul)),
    PrimOp::new("div", 2, |ev, args| arithmetic(ev, args, Arithmetic::Div)),
    PrimOp::new("bitAnd", 2, |ev, args| Ok(Value::int(ev.force_int(args[0])? & ev.force_int(args[1])?))),
    PrimOp::new("bitOr", 2, |ev, args| Ok(Value::int(ev.force_int(args[0])? | ev.force_int(args[1])?))),
    PrimOp::new("bitXor", 2, |ev, args| Ok(Value::int(ev.force_int(args[0])? ^ ev.force_int(args[1])?))),
    PrimOp::new("ceil", 1, |ev, args| round(ev, args[0], f64::ceil)),
    PrimOp::new("floor", 1, |ev, args| round(ev, args[0], f64::floor)),
    PrimOp::new("lessThan", 2, |ev, args| {
        let x = ev.force(args[0])?;
        let y = ev.force(args[1])?;
        ev.less(x, y).map(Value::bool)
    }),
];

fn arithmetic<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], op: Arithmetic) -> EvalResult<Value<'h>> {
    let x = ev.force(args[0])?;
    let y = ev.force(args[1])?;
    ev.arithmetic(op, x, y, Span::NONE, Span::NONE)
}

/// Whether a whole float is an integer. The bounds are exact powers of two.
fn in_range(x: f64) -> bool {
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x)
}

fn round<'h>(ev: &Evaluator<'h>, arg: Ref<'h>, f: fn(f64) -> f64) -> EvalResult<Value<'h>> {
    let v = ev.force(arg)?;
    match v.view() {
        // Compat: what has no exact float is refused.
        View::Int(n) if in_range(n as f64) && n as f64 as i64 == n => Ok(Value::int(n)),
        View::Int(n) => Err(EvalError::new("eval::overflow", format!("{n} cannot be rounded, as it is not exact as a float"))
            .hint("it is an integer already: leave the rounding out")),
        View::Float(x) => {
            let y = f(x);
            if in_range(y) {
                return Ok(Value::int(y as i64));
            }
            Err(EvalError::new("eval::overflow", format!("{x} is too large for an integer")))
        }
        _ => Err(ev.expected("a number", v)),
    }
}
