//! String contexts, looked at and changed.

use std::collections::BTreeMap;

use crate::context::{Context, ContextElem};
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::value::{EvalResult, Ref, Value};

use super::strings::coerced;

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("hasContext", 1, |ev, args| Ok(Value::bool(!ev.force_string(args[0])?.context().is_empty()))),
    PrimOp::new("getContext", 1, get_context),
    PrimOp::new("appendContext", 2, append_context),
    PrimOp::new("unsafeDiscardStringContext", 1, |ev, args| Ok(ev.str(coerced(ev, args[0])?.bytes()))),
    PrimOp::new("unsafeDiscardOutputDependency", 1, |ev, args| {
        let text = coerced(ev, args[0])?;
        let elems: Vec<ContextElem> = text
            .context()
            .elems()
            .iter()
            .map(|e| match *e {
                ContextElem::DrvDeep(drv) => ContextElem::Opaque(drv),
                other => other,
            })
            .collect();
        Ok(ev.str_with(text.bytes(), ev.context(&elems)))
    }),
    PrimOp::new("addDrvOutputDependencies", 1, add_outputs),
];

fn add_outputs<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = coerced(ev, args[0])?;
    let [elem] = text.context().elems() else {
        return Err(EvalError::new(
            "eval::context",
            format!(
                "context of string `{}` must have exactly one element, but has {}",
                text.to_str_lossy(),
                text.context().elems().len()
            ),
        ));
    };
    let elem = match *elem {
        ContextElem::Opaque(path) if path.ends_with(".drv") => ContextElem::DrvDeep(path),
        ContextElem::DrvDeep(path) => ContextElem::DrvDeep(path),
        ContextElem::Opaque(path) => {
            return Err(EvalError::new("eval::context", format!("path `{path}` is not a derivation")));
        }
        ContextElem::Built { output, .. } => {
            return Err(EvalError::new(
                "eval::context",
                format!("`addDrvOutputDependencies` can only act on derivations, not on a derivation output such as `{output}`"),
            ));
        }
    };
    Ok(ev.str_with(text.bytes(), ev.context(&[elem])))
}

#[derive(Default)]
struct Entry<'h> {
    path: bool,
    all_outputs: bool,
    outputs: Vec<&'h str>,
}

fn get_context<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = ev.force_string(args[0])?;
    let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
    for elem in text.context().elems() {
        match *elem {
            ContextElem::Opaque(path) => entries.entry(path).or_default().path = true,
            ContextElem::DrvDeep(drv) => entries.entry(drv).or_default().all_outputs = true,
            ContextElem::Built { drv, output } => entries.entry(drv).or_default().outputs.push(output),
        }
    }
    let attrs = entries
        .into_iter()
        .map(|(path, entry)| {
            let mut attrs = Vec::new();
            if entry.path {
                attrs.push(ev.attr("path", Value::bool(true)));
            }
            if entry.all_outputs {
                attrs.push(ev.attr("allOutputs", Value::bool(true)));
            }
            if !entry.outputs.is_empty() {
                let outputs: Vec<Ref> = entry.outputs.iter().map(|o| ev.cell(ev.str(o))).collect();
                attrs.push(ev.attr("outputs", ev.list(&outputs)));
            }
            ev.attr(path, ev.attrs(attrs))
        })
        .collect();
    Ok(ev.attrs(attrs))
}

fn append_context<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let text = ev.force_string(args[0])?;
    let more = ev.force_attrs(args[1])?;
    let mut context = text.context();
    let mut add = |elem: ContextElem<'_>| context = ev.join_contexts(context, ev.context(&[elem]));
    let fail = |what: String| EvalError::new("eval::context", what);
    for attr in more {
        let path = ev.display(attr.name).into_owned();
        if ev.shared.builtin_state.store(ev).base_name(&path).is_err() {
            return Err(fail(format!("context key `{path}` is not a store path")));
        }
        let is_drv = path.ends_with(".drv");
        let entry = ev.force_attrs(attr.value)?;
        let get = |name: &str| entry.get(ev.intern(name.as_bytes())).map(|a| a.value);
        if let Some(flag) = get("path")
            && ev.force_bool(flag)?
        {
            add(ContextElem::Opaque(&path));
        }
        if let Some(flag) = get("allOutputs")
            && ev.force_bool(flag)?
        {
            if !is_drv {
                return Err(fail(format!("tried to add all-outputs context of `{path}`, which is not a derivation, to a string")));
            }
            add(ContextElem::DrvDeep(&path));
        }
        if let Some(outputs) = get("outputs") {
            let outputs = ev.force_list(outputs)?;
            if !outputs.is_empty() && !is_drv {
                return Err(fail(format!(
                    "tried to add derivation output context of `{path}`, which is not a derivation, to a string"
                )));
            }
            for output in outputs {
                let output = ev.force_plain_string(output)?.to_str_lossy();
                add(ContextElem::Built { drv: &path, output: &output });
            }
        }
    }
    let _: Context = context;
    Ok(ev.str_with(text.bytes(), context))
}
