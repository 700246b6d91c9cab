//! Types, failure, tracing, forcing.

use nbv_diag::Span;

use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, EvalResult, Kind, Ref, Value};
use crate::world::MessageKind;

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("typeOf", 1, |ev, args| Ok(ev.str(ev.force(args[0])?.type_name()))),
    PrimOp::new("isNull", 1, |ev, args| is_kind(ev, args, &[Kind::Null])),
    PrimOp::new("isBool", 1, |ev, args| is_kind(ev, args, &[Kind::Bool])),
    PrimOp::new("isInt", 1, |ev, args| is_kind(ev, args, &[Kind::Int])),
    PrimOp::new("isFloat", 1, |ev, args| is_kind(ev, args, &[Kind::Float])),
    PrimOp::new("isString", 1, |ev, args| is_kind(ev, args, &[Kind::String])),
    PrimOp::new("isPath", 1, |ev, args| is_kind(ev, args, &[Kind::Path])),
    PrimOp::new("isList", 1, |ev, args| is_kind(ev, args, &[Kind::List])),
    PrimOp::new("isAttrs", 1, |ev, args| is_kind(ev, args, &[Kind::Attrs])),
    PrimOp::new("isFunction", 1, |ev, args| is_kind(ev, args, &[Kind::Lambda, Kind::PrimOp, Kind::Partial])),
    PrimOp::new("throw", 1, throw),
    PrimOp::new("abort", 1, abort),
    PrimOp::new("addErrorContext", 2, add_error_context),
    PrimOp::new("tryEval", 1, try_eval),
    PrimOp::new("seq", 2, |ev, args| {
        ev.force(args[0])?;
        ev.force(args[1])
    }),
    PrimOp::new("deepSeq", 2, |ev, args| {
        ev.force_deep(args[0])?;
        ev.force(args[1])
    }),
    PrimOp::new("trace", 2, trace),
    PrimOp::new("traceVerbose", 2, |ev, args| {
        if ev.settings().trace_verbose { trace(ev, args) } else { ev.force(args[1]) }
    }),
    PrimOp::new("warn", 2, warn),
    PrimOp::new("break", 1, |ev, args| ev.force(args[0])),
    PrimOp::new("functionArgs", 1, function_args),
    PrimOp::new("import", 1, |ev, args| ev.import(args[0])),
    PrimOp::new("scopedImport", 2, |ev, args| ev.scoped_import(args[0], args[1])),
    PrimOp::new("nbvError", 1, nbv_error),
];

fn is_kind<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], kinds: &[Kind]) -> EvalResult<Value<'h>> {
    Ok(Value::bool(kinds.contains(&ev.force(args[0])?.kind())))
}

/// The text of a message argument.
fn message<'h>(ev: &Evaluator<'h>, arg: Ref<'h>) -> EvalResult<String> {
    let v = ev.force(arg)?;
    Ok(ev.coerce_to_string(v, true, false)?.to_str_lossy().into_owned())
}

fn throw<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = message(ev, args[0]).frame(Span::NONE, || "while evaluating the message of `throw`".into())?;
    Err(EvalError::new("eval::throw", text).catchable())
}

fn abort<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = message(ev, args[0]).frame(Span::NONE, || "while evaluating the message of `abort`".into())?;
    Err(EvalError::new("eval::abort", format!("evaluation aborted with the following error message: {text}")))
}

fn add_error_context<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    match ev.force(args[1]) {
        Ok(v) => Ok(v),
        Err(e) => {
            let text = ev.force(args[0]).and_then(|v| ev.coerce_to_string(v, false, false))?;
            Err(e.context(text.to_str_lossy()))
        }
    }
}

fn try_eval<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let (success, value) = match ev.force(args[0]) {
        Ok(_) => (true, args[0]),
        Err(e) if e.is_catchable() => (false, ev.bool_cell(false)),
        Err(e) => return Err(e),
    };
    Ok(ev.attrs(vec![
        Attr { name: sym::SUCCESS, pos: 0, value: ev.bool_cell(success) },
        Attr { name: sym::VALUE, pos: 0, value },
    ]))
}

fn trace<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let v = ev.force(args[0])?;
    let text = match v.as_string() {
        Some(s) => s.to_str_lossy().into_owned(),
        None => ev.show(v),
    };
    ev.say(MessageKind::Trace, &text)?;
    ev.force(args[1])
}

fn warn<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = ev.force_string(args[0])?.to_str_lossy();
    ev.say(MessageKind::Warning, &text)?;
    if ev.settings().abort_on_warn {
        return Err(EvalError::new("eval::abort", "aborting to reveal the stack trace of a warning, as `abort-on-warn` is set"));
    }
    ev.force(args[1])
}

fn function_args<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let v = ev.force(args[0])?;
    if !v.is_function() {
        return Err(ev.expected("a function", v));
    }
    let formals = v.next_parameter().and_then(|p| p.pattern).map_or(&[][..], |p| p.formals);
    let attrs: Vec<Attr<'h>> = formals
        .iter()
        .map(|f| Attr { name: f.name, pos: f.pos, value: ev.bool_cell(f.default.is_some()) })
        .collect();
    Ok(Value::attrs(ev.sorted_attrs(&attrs)))
}

/// Fails with a diagnostic that the Nix library makes; see `docs/architecture.md`.
fn nbv_error<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let string = |name, fallback: &str| -> EvalResult<String> {
        match attrs.get(name).map(|a| ev.force(a.value)).transpose()? {
            None => Ok(fallback.to_owned()),
            Some(v) if v.is_null() => Ok(fallback.to_owned()),
            Some(v) => Ok(ev.coerce_to_string(v, false, true)?.to_str_lossy().into_owned()),
        }
    };
    let code = string(sym::CODE, "eval::throw")?;
    let code = ev.shared.heap.keep_code(&code);
    // Such an error stands for a `throw` of nixpkgs' library, so `tryEval` sees it as one.
    let mut e = EvalError::new(code, string(sym::MESSAGE, "")?).catchable();
    let hint = string(sym::HINT, "")?;
    if !hint.is_empty() {
        e = e.hint(hint);
    }
    if let Some(notes) = attrs.get(sym::NOTES) {
        for note in ev.force_list(notes.value)? {
            let v = ev.force(note)?;
            e = e.note(ev.coerce_to_string(v, false, true)?.to_str_lossy());
        }
    }
    if let Some(pos) = attrs.get(sym::POS).map(|a| ev.force(a.value)).transpose()?.and_then(|v| v.as_attrs()) {
        let get = |name| pos.get(name).map(|a| ev.force(a.value)).transpose();
        if let (Some(file), Some(line), Some(column)) = (get(sym::FILE)?, get(sym::LINE)?, get(sym::COLUMN)?) {
            if let (Some(file), Some(line), Some(column)) = (file.as_string(), line.as_int(), column.as_int()) {
                e = e.at(ev.sources().find(&file.to_str_lossy(), line, column));
            }
        }
    }
    Err(e)
}
