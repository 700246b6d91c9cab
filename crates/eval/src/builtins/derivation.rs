//! `derivation` and `derivationStrict`: attributes to store derivations, bit for bit.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use nbv_diag::Span;
use nbv_nix_formats::hash::{Algo, Encoding};
use nbv_nix_formats::modulo::{ModuloError, hash_modulo};
use nbv_nix_formats::store_path::{PathError, check_name};
use nbv_nix_formats::{Derivation, Method, Modulo, Output, StoreDir};

use crate::context::{Context, ContextElem};
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Value};
use nbv_syntax::Symbol;

use super::paths::{as_path, world_error};
use super::state::{DrvInfo, lock};

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("derivation", 1, derivation),
    PrimOp::new("derivationStrict", 1, derivation_strict),
    PrimOp::new("outputOf", 2, output_of),
];

/// Selects an attribute of what `derivationStrict` gave.
static SELECT: PrimOp = PrimOp::new("derivation output", 2, |ev, args| {
    let name = ev.force_string(args[0])?.symbol(ev.symbols());
    let attrs = ev.force_attrs(args[1])?;
    match attrs.get(name) {
        Some(attr) => ev.force(attr.value),
        None => Err(ev.missing_attribute(attrs, name)),
    }
});

/// The lazy derivation: all attributes of the argument and one set for each output, each of which leads to the others. Nothing but
/// the names of outputs is evaluated.
fn derivation<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let strict = ev.lazy_call(ev.cell(Value::primop(&TABLE[1])), args[0]);
    let names: Vec<Value<'h>> = match attrs.get(sym::OUTPUTS) {
        None => vec![ev.str("out")],
        Some(outputs) => ev
            .force_list(outputs.value)
            .frame(Span::NONE, || "while evaluating the attribute `outputs` of a derivation".to_owned())?
            .iter()
            .map(|o| ev.force_plain_string(o).map(Value::string))
            .collect::<EvalResult<_>>()?,
    };
    if names.is_empty() {
        return Err(EvalError::new("eval::derivation", "derivation cannot have an empty set of outputs"));
    }
    let select = ev.cell(Value::primop(&SELECT));
    let lazy = |name: Value<'h>| ev.lazy_call(ev.lazy_call(select, ev.cell(name)), strict);
    let drv_path = lazy(ev.symbol_str(sym::DRV_PATH));
    let cells: Vec<Ref<'h>> = names.iter().map(|_| ev.cell(Value::null())).collect();
    let all = ev.cell(ev.list(&cells));
    let kind = ev.cell(ev.str("derivation"));
    let set = |name: Symbol, value: Ref<'h>| Attr { name, pos: 0, value };
    // What every output has: user attributes, then the outputs, then `all` and `drvAttrs`.
    let mut more: Vec<Attr<'h>> = vec![
        set(ev.intern(b"all"), all),
        set(ev.intern(b"drvAttrs"), args[0]),
        set(sym::DRV_PATH, drv_path),
        set(sym::TYPE, kind),
    ];
    for (name, cell) in names.iter().zip(&cells) {
        if let Some(name) = name.as_string() {
            more.push(set(name.symbol(ev.symbols()), cell));
        }
    }
    // Of an output named like one of the four above, the four win; of equal outputs, the first.
    let Some(more) = ev.attrs(more).as_attrs() else { unreachable!("`attrs` makes a set") };
    let common = Attrs::update(ev.arena, attrs, more);
    for (name, cell) in names.iter().zip(&cells) {
        let own = ev.attrs(vec![set(sym::OUT_PATH, lazy(*name)), set(sym::OUTPUT_NAME, ev.cell(*name))]);
        let Some(own) = own.as_attrs() else { unreachable!("`attrs` makes a set") };
        cell.finish(Value::attrs(Attrs::update(ev.arena, common, own)));
    }
    ev.force(cells[0])
}

/// The value of a `.drv` file that is imported: the derivation with its outputs, as `derivation` would give it. Nothing when the path is not
/// one of a derivation in the store.
pub(crate) fn import_drv<'h>(ev: &Evaluator<'h>, path: &[u8]) -> EvalResult<Option<Value<'h>>> {
    let Some(path) = std::str::from_utf8(path).ok().filter(|p| p.ends_with(".drv")) else { return Ok(None) };
    if ev.shared.builtin_state.store(ev).base_name(path).is_err() {
        return Ok(None);
    }
    let text = ev.world().read_file(as_path(path.as_bytes())).map_err(|e| world_error("read the derivation", path.as_bytes(), e))?;
    let drv = Derivation::parse(&text).map_err(|e| fail(format!("cannot read `{path}`: {e}")))?;
    // Compat: the first output by name is the default one, and the name is that of the environment, as in C++ Nix.
    let order: Vec<&String> = drv.outputs.keys().collect();
    let cells: Vec<Ref<'h>> = order.iter().map(|_| ev.cell(Value::null())).collect();
    let mut common = vec![
        ev.attr("drvPath", ev.str_with(path, ev.context(&[ContextElem::DrvDeep(path)]))),
        ev.attr("name", ev.str(drv.var("name").unwrap_or_default())),
        ev.attr("all", ev.list(&cells)),
        ev.attr("type", ev.str("derivation")),
    ];
    common.extend(order.iter().zip(&cells).map(|(n, value)| Attr { name: ev.intern(n.as_bytes()), pos: 0, value }));
    for (name, cell) in order.iter().zip(&cells) {
        let context = ev.context(&[ContextElem::Built { drv: path, output: name }]);
        let mut own = vec![
            ev.attr("outPath", ev.str_with(&drv.outputs[*name].path, context)),
            ev.attr("outputName", ev.str(name.as_bytes())),
        ];
        own.extend(&common);
        cell.finish(ev.attrs(own));
    }
    match cells.first() {
        Some(first) => ev.force(first).map(Some),
        None => Err(fail(format!("`{path}` has no outputs"))),
    }
}

/// What is gathered while the attributes are gone through.
struct Parts<'h> {
    drv: Derivation,
    context: Context<'h>,
    outputs: Vec<String>,
    output_hash: Option<String>,
    output_hash_algo: Option<Algo>,
    method: Option<Method>,
    content_addressed: bool,
    impure: bool,
    json: Option<Vec<u8>>,
}

fn fail(message: impl Into<String>) -> EvalError {
    EvalError::new("eval::derivation", message)
}

fn derivation_strict<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let Some(name_attr) = attrs.get(sym::NAME) else {
        return Err(fail("required attribute `name` missing").hint("every derivation has a `name`, a string"));
    };
    let at = Span::new(name_attr.pos, name_attr.pos);
    let name = ev
        .force_plain_string(name_attr.value)
        .frame(at, || "while evaluating the derivation attribute `name`".to_owned())?
        .to_str_lossy();
    make(ev, &name, attrs).map_err(|e| e.frame(at, format!("while evaluating derivation `{name}`")))
}

fn make<'h>(ev: &Evaluator<'h>, name: &str, attrs: Attrs<'h>) -> EvalResult<Value<'h>> {
    check_name(name).map_err(|e| {
        EvalError::new("eval::store-name", format!("invalid derivation name: {e}. Please pass a different `name`."))
    })?;
    let flag = |symbol| match attrs.get(symbol) {
        Some(attr) => ev.force_bool(attr.value),
        None => Ok(false),
    };
    let structured = flag(sym::STRUCTURED_ATTRS)?;
    let ignore_nulls = flag(sym::IGNORE_NULLS)?;
    let mut parts = Parts {
        drv: Derivation::default(),
        context: Context::empty(),
        outputs: vec!["out".to_owned()],
        output_hash: None,
        output_hash_algo: None,
        method: None,
        content_addressed: false,
        impure: false,
        json: structured.then(|| b"{".to_vec()),
    };
    for attr in attrs.by_name(ev.symbols()) {
        if attr.name == sym::IGNORE_NULLS {
            continue;
        }
        if ignore_nulls && ev.force(attr.value)?.is_null() {
            continue;
        }
        attribute(ev, name, attr, &mut parts).frame(Span::new(attr.pos, attr.pos), || {
            format!("while evaluating attribute `{}` of derivation `{name}`", ev.display(attr.name))
        })?;
    }
    if let Some(mut json) = parts.json.take() {
        json.push(b'}');
        parts.drv.env.insert("__json".into(), json.into());
    }
    finish(ev, name, parts)
}

fn attribute<'h>(ev: &Evaluator<'h>, drv_name: &str, attr: Attr<'h>, parts: &mut Parts<'h>) -> EvalResult<()> {
    let key = ev.name(attr.name);
    let features = &ev.settings().features;
    match key {
        b"args" => {
            for arg in ev.force_list(attr.value)? {
                let text = coerced(ev, arg, parts)
                    .frame(Span::NONE, || "while evaluating an element of the argument list".to_owned())?;
                parts.drv.args.push(text.into());
            }
            return Ok(());
        }
        b"__contentAddressed" if ev.force_bool(attr.value)? => {
            need_feature(features.ca_derivations, "ca-derivations")?;
            parts.content_addressed = true;
            return Ok(());
        }
        b"__impure" if ev.force_bool(attr.value)? => {
            need_feature(features.impure_derivations, "impure-derivations")?;
            parts.impure = true;
            return Ok(());
        }
        b"__contentAddressed" | b"__impure" => return Ok(()),
        _ => {}
    }
    let plain = |r| ev.force_plain_string(r).map(|s| s.to_str_lossy().into_owned());
    let text = if let Some(mut json) = parts.json.take() {
        if attr.name == sym::STRUCTURED_ATTRS {
            parts.json = Some(json);
            return Ok(());
        }
        if json.len() > 1 {
            json.push(b',');
        }
        crate::json::write_string(&mut json, key).map_err(|_| fail("an attribute name that is not UTF-8"))?;
        json.push(b':');
        let mut context = parts.context;
        let written = super::data::write_json(ev, attr.value, true, &mut json, &mut context);
        parts.context = context;
        parts.json = Some(json);
        written?;
        match key {
            b"builder" => {
                let text = ev.force_string(attr.value)?;
                parts.context = ev.join_contexts(parts.context, text.context());
                parts.drv.builder = text.bytes().into();
                return Ok(());
            }
            b"outputs" => {
                let names = ev.force_list(attr.value)?.iter().map(|o| plain(o)).collect::<EvalResult<Vec<_>>>()?;
                return outputs(parts, names);
            }
            b"system" | b"outputHash" | b"outputHashAlgo" | b"outputHashMode" => plain(attr.value)?,
            b"allowedReferences" | b"allowedRequisites" | b"disallowedReferences" | b"disallowedRequisites" | b"maxSize"
            | b"maxClosureSize" => {
                let key = String::from_utf8_lossy(key);
                ev.say(
                    crate::world::MessageKind::Warning,
                    &format!(
                        "In derivation '{drv_name}', 'structuredAttrs' disables the effect of the derivation attribute '{key}'; use \
                         'outputChecks.<output>.{key}' instead"
                    ),
                )?;
                return Ok(());
            }
            _ => return Ok(()),
        }
    } else {
        let bytes = coerced(ev, attr.value, parts)?;
        parts.drv.env.insert(key.into(), bytes.into());
        match key {
            b"builder" => {
                parts.drv.builder = bytes.into();
                return Ok(());
            }
            b"outputs" => {
                let text = String::from_utf8_lossy(bytes);
                let names = text.split([' ', '\t', '\n', '\r']).filter(|n| !n.is_empty()).map(str::to_owned).collect();
                return outputs(parts, names);
            }
            b"system" | b"outputHash" | b"outputHashAlgo" | b"outputHashMode" => String::from_utf8_lossy(bytes).into_owned(),
            _ => return Ok(()),
        }
    };
    match key {
        b"system" => parts.drv.system = text.into(),
        b"outputHash" => parts.output_hash = Some(text),
        // An unknown name counts as none; an SRI hash brings its own.
        b"outputHashAlgo" => parts.output_hash_algo = Algo::parse(&text),
        _ => {
            let method = Method::parse_mode(&text)
                .ok_or_else(|| fail(format!("invalid value `{text}` for `outputHashMode` attribute")).hint("flat, recursive or nar"))?;
            if method == Method::Text {
                need_feature(features.dynamic_derivations, "dynamic-derivations")?;
            }
            if method == Method::Git {
                need_feature(false, "git-hashing")?;
            }
            parts.method = Some(method);
        }
    }
    Ok(())
}

fn need_feature(on: bool, name: &str) -> EvalResult<()> {
    if on {
        return Ok(());
    }
    Err(EvalError::new("eval::feature", format!("experimental feature `{name}` is disabled"))
        .hint(format!("add `--extra-experimental-features {name}` to enable it")))
}

/// An attribute's value as it stands in the environment.
fn coerced<'h>(ev: &Evaluator<'h>, r: Ref<'h>, parts: &mut Parts<'h>) -> EvalResult<&'h [u8]> {
    let v = ev.force(r)?;
    let text = ev.coerce_to_string(v, true, true)?;
    parts.context = ev.join_contexts(parts.context, text.context());
    Ok(text.bytes())
}

fn outputs(parts: &mut Parts<'_>, names: Vec<String>) -> EvalResult<()> {
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name.as_str()) {
            return Err(fail(format!("duplicate derivation output `{name}`")));
        }
        if name == "drvPath" {
            return Err(fail("invalid derivation output name `drvPath`"));
        }
    }
    if names.is_empty() {
        return Err(fail("derivation cannot have an empty set of outputs"));
    }
    parts.outputs = names;
    Ok(())
}

/// Adds what the strings depend on to the derivation's inputs.
fn inputs<'h>(ev: &Evaluator<'h>, drv: &mut Derivation, context: Context<'h>) -> EvalResult<()> {
    let own = |s: &str| s.to_owned();
    for elem in context.elems() {
        match *elem {
            ContextElem::Opaque(path) => {
                drv.input_srcs.insert(own(path));
            }
            ContextElem::Built { drv: path, output } => {
                drv.input_drvs.entry(own(path)).or_default().insert(own(output));
            }
            ContextElem::DrvDeep(path) => {
                for path in closure(ev, path)? {
                    if path.ends_with(".drv") {
                        let info = info(ev, &path)?;
                        drv.input_drvs.entry(path.clone()).or_default().extend(info.outputs.iter().cloned());
                    }
                    drv.input_srcs.insert(path);
                }
            }
        }
    }
    Ok(())
}

/// A store path and everything that it refers to, directly or not.
pub(crate) fn closure(ev: &Evaluator<'_>, path: &str) -> EvalResult<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        if seen.contains(&path) {
            continue;
        }
        if path.ends_with(".drv") {
            todo.extend(info(ev, &path)?.references.iter().cloned());
        } else if let Some(references) = lock(&ev.shared.builtin_state.texts).get(&path) {
            todo.extend(references.iter().cloned());
        }
        seen.insert(path);
    }
    Ok(seen)
}

/// What is known of a derivation; one that this evaluation did not make is read from the store.
pub(crate) fn info(ev: &Evaluator<'_>, path: &str) -> EvalResult<Arc<DrvInfo>> {
    let drvs = &ev.shared.builtin_state.drvs;
    if let Some(info) = lock(drvs).get(path) {
        return Ok(info.clone());
    }
    ev.check_stack()?;
    let text = ev.world().read_file(as_path(path.as_bytes())).map_err(|e| world_error("read the derivation", path.as_bytes(), e))?;
    let drv = Derivation::parse(&text).map_err(|e| fail(format!("cannot read `{path}`: {e}")))?;
    let info = Arc::new(DrvInfo {
        modulo: modulo(ev, &drv, false)?,
        outputs: drv.outputs.keys().cloned().collect(),
        references: drv.references(),
    });
    lock(drvs).insert(path.to_owned(), info.clone());
    Ok(info)
}

fn modulo(ev: &Evaluator<'_>, drv: &Derivation, mask: bool) -> EvalResult<Modulo> {
    hash_modulo(drv, mask, |path| info(ev, path).map(|i| i.modulo.clone())).map_err(|e| match e {
        ModuloError::Input(e) => e,
        ModuloError::NoOutput { drv, output } => fail(format!("derivation `{drv}` does not have an output `{output}`")),
    })
}

fn finish<'h>(ev: &Evaluator<'h>, name: &str, parts: Parts<'h>) -> EvalResult<Value<'h>> {
    let Parts { mut drv, context, outputs, output_hash, output_hash_algo, method, content_addressed, impure, json: _ } = parts;
    let state = &ev.shared.builtin_state;
    let store = state.store(ev);
    let bad_name = |e: PathError| EvalError::new("eval::store-name", e.to_string());
    inputs(ev, &mut drv, context)?;
    if drv.builder.is_empty() {
        return Err(fail("required attribute `builder` missing").hint("it is the program that makes the outputs"));
    }
    if drv.system.is_empty() {
        return Err(fail("required attribute `system` missing").hint("for example \"x86_64-linux\" or builtins.currentSystem"));
    }
    let only_out = outputs.len() == 1 && outputs[0] == "out";
    if name.ends_with(".drv") && !(method == Some(Method::Text) && only_out) {
        return Err(EvalError::new(
            "eval::store-name",
            "derivation names are allowed to end in `.drv` only if they produce a single derivation file",
        ));
    }
    let mut deferred = false;
    if let Some(text) = output_hash {
        if !only_out {
            return Err(fail("multiple outputs are not supported in fixed-output derivations"));
        }
        let hash = super::files::hash_or_zero(ev, &text, output_hash_algo)?;
        let method = method.unwrap_or(Method::Flat);
        let path = Derivation::fixed_output_path(store, name, "out", method, &hash).map_err(bad_name)?;
        drv.env.insert("out".into(), path.as_str().into());
        let output = Output { path, hash_algo: format!("{}{}", method.prefix(), hash.algo), hash: hash.encode(Encoding::Base16) };
        drv.outputs.insert("out".to_owned(), output);
    } else if content_addressed || impure {
        if content_addressed && impure {
            return Err(fail("derivation cannot be both content-addressed and impure"));
        }
        let algo = output_hash_algo.unwrap_or(Algo::Sha256);
        let hash_algo = format!("{}{algo}", method.unwrap_or(Method::Recursive).prefix());
        for name in &outputs {
            drv.env.insert(name.as_str().into(), StoreDir::placeholder(name).into());
            let hash = if impure { "impure" } else { "" }.to_owned();
            drv.outputs.insert(name.clone(), Output { path: String::new(), hash_algo: hash_algo.clone(), hash });
        }
        deferred = true;
    } else {
        for name in &outputs {
            drv.env.insert(name.as_str().into(), "".into());
            drv.outputs.insert(name.clone(), Output::default());
        }
        match modulo(ev, &drv, true)? {
            Modulo::Regular(digest) => drv.fill_outputs(store, name, &digest).map_err(bad_name)?,
            Modulo::Deferred(_) | Modulo::PerOutput(_) => deferred = true,
        }
    }
    let text = drv.to_aterm();
    let drv_path = drv.drv_path(store, name, &text).map_err(bad_name)?;
    let known = lock(&state.drvs).contains_key(&drv_path);
    if !known {
        let references = drv.references();
        let list: Vec<String> = references.iter().cloned().collect();
        ev.world().store_derivation(&drv_path, &text, &list).map_err(|e| world_error("write", drv_path.as_bytes(), e))?;
        let info = DrvInfo { modulo: modulo(ev, &drv, false)?, outputs: drv.outputs.keys().cloned().collect(), references };
        lock(&state.drvs).insert(drv_path.clone(), Arc::new(info));
    }
    let mut result = vec![ev.attr("drvPath", ev.str_with(&drv_path, ev.context(&[ContextElem::DrvDeep(&drv_path)])))];
    for (output, value) in &drv.outputs {
        let context = ev.context(&[ContextElem::Built { drv: &drv_path, output }]);
        let path = if deferred && value.path.is_empty() {
            store.upstream_placeholder(&drv_path, output).map_err(bad_name)?
        } else {
            value.path.clone()
        };
        result.push(ev.attr(output, ev.str_with(path, context)));
    }
    Ok(ev.attrs(result))
}

/// `outputOf drv name`: the output of a derivation that is itself an output, or of one that exists.
fn output_of<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    need_feature(ev.settings().features.dynamic_derivations, "dynamic-derivations")?;
    let drv = ev.force_string(args[0])?;
    let output = ev.force_plain_string(args[1])?.to_str_lossy();
    let [elem] = drv.context().elems() else {
        return Err(EvalError::new(
            "eval::context",
            format!("string `{}` must have exactly one context element to be the derivation of outputOf", drv.to_str_lossy()),
        ));
    };
    let store = ev.shared.builtin_state.store(ev);
    match *elem {
        ContextElem::Opaque(path) | ContextElem::DrvDeep(path) => {
            let placeholder =
                store.upstream_placeholder(path, &output).map_err(|e| EvalError::new("eval::store-name", e.to_string()))?;
            Ok(ev.str_with(placeholder, ev.context(&[ContextElem::Built { drv: path, output: &output }])))
        }
        ContextElem::Built { drv, output: inner } => Err(EvalError::new(
            "eval::feature",
            format!("`outputOf` of `{inner}` of `{drv}`: derivations made by derivations are not supported"),
        )),
    }
}
