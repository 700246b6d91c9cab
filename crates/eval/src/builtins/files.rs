//! Files and folders, the search path, sources in the store.

use std::collections::BTreeSet;

use nbv_diag::Span;
use nbv_nix_formats::hash::{Algo, Encoding, Hash};
use nbv_nix_formats::{Method, StoreDir};

use crate::context::{Context, ContextElem};
use crate::error::{EvalError, ResultExt};
use crate::evaluator::{Evaluator, normalise_path};
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{EvalResult, Ref, Value, View};
use crate::world::FileKind;

use super::paths::{Copy, Links, add_path, as_path, base_name, coerce_to_path, realise, realise_path, resolve, world_error};
use super::state::lock;

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("readFile", 1, read_file),
    PrimOp::new("readDir", 1, read_dir),
    PrimOp::new("readFileType", 1, |ev, args| {
        let path = realise_path(ev, args[0], Some(Links::Ancestors))?;
        match ev.world().file_kind(as_path(&path)).map_err(|e| world_error("look at", &path, e))? {
            Some(kind) => Ok(ev.str(kind.type_name())),
            None => Err(missing(&path)),
        }
    }),
    PrimOp::new("pathExists", 1, path_exists),
    PrimOp::new("hashFile", 2, |ev, args| {
        let algo = super::strings::algorithm(ev, args[0])?;
        let path = realise_path(ev, args[1], Some(Links::Full))?;
        let content = ev.world().read_file(as_path(&path)).map_err(|e| world_error("read", &path, e))?;
        Ok(ev.str(Hash::of(algo, &content).encode(Encoding::Base16)))
    }),
    PrimOp::new("path", 1, path),
    PrimOp::new("filterSource", 2, |ev, args| {
        let (path, context) = coerce_to_path(ev, args[1])?;
        let filter = ev.force_function(args[0])?;
        let name = String::from_utf8_lossy(base_name(&path)).into_owned();
        let copy = Copy { name: &name, filter: Some(filter), method: Method::Recursive, expected: None };
        add(ev, &path, context, &copy)
    }),
    PrimOp::new("toFile", 2, to_file),
    PrimOp::new("toPath", 1, |ev, args| {
        let (path, context) = coerce_to_path(ev, args[0])?;
        Ok(ev.str_with(path, context))
    }),
    PrimOp::new("dirOf", 1, dir_of),
    PrimOp::new("baseNameOf", 1, |ev, args| {
        let v = ev.force(args[0])?;
        let text = ev.coerce_to_string(v, false, false)?;
        let bytes = text.bytes();
        let end = if bytes.len() > 1 && bytes.ends_with(b"/") { bytes.len() - 1 } else { bytes.len() };
        Ok(ev.str_with(base_name(&bytes[..end]), text.context()))
    }),
    PrimOp::new("findFile", 2, find_file),
    PrimOp::new("storePath", 1, store_path),
    PrimOp::new("placeholder", 1, |ev, args| {
        let output = ev.force_plain_string(args[0])?.to_str_lossy();
        Ok(ev.str(StoreDir::placeholder(&output)))
    }),
    PrimOp::new("getEnv", 1, |ev, args| {
        let name = ev.force_plain_string(args[0])?;
        let value = if ev.settings().is_pure { None } else { ev.world().env(name.bytes()) };
        Ok(ev.str(value.unwrap_or_default()))
    }),
];

fn missing(path: &[u8]) -> EvalError {
    EvalError::new("eval::file", format!("path `{}` does not exist", String::from_utf8_lossy(path)))
}

fn read_file<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let path = realise_path(ev, args[0], Some(Links::Full))?;
    let content = ev.world().read_file(as_path(&path)).map_err(|e| world_error("read", &path, e))?;
    if content.contains(&0) {
        return Err(EvalError::new(
            "eval::file",
            format!("the contents of the file `{}` cannot be represented as a Nix string", String::from_utf8_lossy(&path)),
        )
        .note("they contain a null byte"));
    }
    // What a text in the store refers to is what its reader depends on.
    let mut context = Context::empty();
    let state = &ev.shared.builtin_state;
    if let Ok(text) = std::str::from_utf8(&path)
        && let Some((store_path, _)) = state.store(ev).split(text)
    {
        let mut references = lock(&state.texts).get(store_path).cloned().unwrap_or_default();
        references.extend(ev.world().references(store_path));
        for reference in &references {
            let digest = &reference[state.store(ev).as_str().len() + 1..][..32];
            if memchr::memmem::find(&content, digest.as_bytes()).is_some() {
                context = ev.join_contexts(context, ev.context(&[ContextElem::Opaque(reference)]));
            }
        }
    }
    Ok(ev.str_with(content, context))
}

fn read_dir<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let path = realise_path(ev, args[0], Some(Links::Full))?;
    let mut entries = ev.world().read_dir(as_path(&path)).map_err(|e| world_error("list", &path, e))?;
    // Names become symbols in their own order, so that results do not depend on the folder's.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let attrs = entries
        .into_iter()
        .map(|(name, kind)| crate::value::Attr { name: ev.intern(&name), pos: 0, value: ev.cell(ev.str(kind.type_name())) })
        .collect();
    Ok(ev.attrs(attrs))
}

fn path_exists<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let v = ev.force(args[0])?;
    let folder = v.as_string().is_some_and(|s| s.bytes().ends_with(b"/") || s.bytes().ends_with(b"/."));
    let path = realise_path(ev, args[0], Some(if folder { Links::Full } else { Links::Ancestors }))?;
    // A path that cannot be looked at does not exist.
    let kind = ev.world().file_kind(as_path(&path)).unwrap_or(None);
    Ok(Value::bool(kind.is_some_and(|k| !folder || k == FileKind::Directory)))
}

/// Copies to the store, when what `path` refers to was built.
fn add<'h>(ev: &Evaluator<'h>, path: &[u8], context: Context<'h>, copy: &Copy<'_, 'h>) -> EvalResult<Value<'h>> {
    let made = realise(ev, context)
        .and_then(|()| resolve(ev, path, Links::Full))
        .and_then(|real| add_path(ev, &real, copy))
        .frame(Span::NONE, || format!("while adding path `{}` to the store", String::from_utf8_lossy(path)))?;
    let context = ev.context(&[ContextElem::Opaque(&made)]);
    Ok(ev.str_with(&made, context))
}

fn path<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let mut path = None;
    let mut name = String::new();
    let mut copy = Copy { name: "", filter: None, method: Method::Recursive, expected: None };
    for attr in attrs {
        let at = Span::new(attr.pos, attr.pos);
        match ev.name(attr.name) {
            b"path" => path = Some(coerce_to_path(ev, attr.value).or_at(at)?),
            b"name" => name = ev.force_plain_string(attr.value).or_at(at)?.to_str_lossy().into_owned(),
            b"filter" => copy.filter = Some(ev.force_function(attr.value).or_at(at)?),
            b"recursive" => {
                if !ev.force_bool(attr.value).or_at(at)? {
                    copy.method = Method::Flat;
                }
            }
            b"sha256" => {
                let text = ev.force_plain_string(attr.value).or_at(at)?.to_str_lossy();
                copy.expected = Some(hash_or_zero(ev, &text, Some(Algo::Sha256)).or_at(at)?);
            }
            other => {
                return Err(EvalError::invalid(format!(
                    "unsupported argument `{}` to `builtins.path`",
                    String::from_utf8_lossy(other)
                ))
                .at(at)
                .hint("it takes path, name, filter, recursive and sha256"));
            }
        }
    }
    let Some((path, context)) = path else {
        return Err(EvalError::invalid("missing required `path` attribute in the first argument to `builtins.path`"));
    };
    if name.is_empty() {
        name = String::from_utf8_lossy(base_name(&path)).into_owned();
    }
    copy.name = &name;
    add(ev, &path, context, &copy)
}

/// A hash in any spelling; an empty text is the zero hash, with a warning.
pub(super) fn hash_or_zero(ev: &Evaluator<'_>, text: &str, algo: Option<Algo>) -> EvalResult<Hash> {
    if text.is_empty() {
        let Some(algo) = algo else {
            return Err(EvalError::invalid("empty hash requires explicit hash algorithm"));
        };
        let zero = Hash::zero(algo);
        let message = format!("found empty hash, assuming '{}'", zero.encode(Encoding::Sri));
        ev.say(crate::world::MessageKind::Warning, &message)?;
        return Ok(zero);
    }
    Hash::parse(text, algo).map_err(|e| EvalError::new("eval::hash", e.to_string()))
}

fn to_file<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let name = ev.force_plain_string(args[0])?.to_str_lossy();
    let text = ev.force_string(args[1])?;
    let mut references = BTreeSet::new();
    for elem in text.context().elems() {
        match elem {
            ContextElem::Opaque(path) => {
                references.insert((*path).to_owned());
            }
            other => {
                return Err(EvalError::new(
                    "eval::context",
                    format!(
                        "files created by builtins.toFile may not reference derivations, but `{name}` references `{}`",
                        other.encode()
                    ),
                ));
            }
        }
    }
    let state = &ev.shared.builtin_state;
    let path = state
        .store(ev)
        .text_path(&name, text.bytes(), &references)
        .map_err(|e| EvalError::new("eval::store-name", e.to_string()))?;
    let list: Vec<String> = references.iter().cloned().collect();
    ev.world().store_text(&path, text.bytes(), &list).map_err(|e| world_error("write", path.as_bytes(), e))?;
    lock(&state.texts).insert(path.clone(), references);
    let context = ev.context(&[ContextElem::Opaque(&path)]);
    Ok(ev.str_with(&path, context))
}

fn dir_of<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let v = ev.force(args[0])?;
    let parent = |bytes: &'h [u8]| match bytes.iter().rposition(|b| *b == b'/') {
        None => &b"."[..],
        Some(0) => b"/",
        Some(at) => &bytes[..at],
    };
    if let View::Path(p) = v.view() {
        return Ok(ev.path(parent(p.bytes())));
    }
    let text = ev.coerce_to_string(v, false, false)?;
    Ok(ev.str_with(parent(text.bytes()), text.context()))
}

/// The rest of `path` behind the prefix of a search path entry, if the entry can hold it.
fn suffix<'a>(prefix: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix)?;
    if prefix.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

fn find_file<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let mut entries = Vec::new();
    for entry in ev.force_list(args[0])? {
        let attrs = ev.force_attrs(entry)?;
        let prefix = match attrs.get(sym::PREFIX) {
            Some(attr) => ev.force_plain_string(attr.value)?.bytes(),
            None => b"",
        };
        let value = match attrs.get(sym::PATH) {
            Some(attr) => ev.force(attr.value)?,
            None => return Err(ev.missing_attribute(attrs, sym::PATH)),
        };
        let path = ev.coerce_to_string(value, false, false)?;
        realise(ev, path.context())?;
        entries.push((prefix, path.bytes()));
    }
    let wanted = ev.force_plain_string(args[1])?.bytes();
    for (prefix, entry) in entries {
        let Some(rest) = suffix(prefix, wanted) else { continue };
        let Some(mut path) = super::fetch::search_path_entry(ev, entry)? else { continue };
        if !rest.is_empty() {
            path.push(b'/');
            path.extend_from_slice(rest);
        }
        let path = resolve(ev, &normalise_path(&path), Links::Full)?;
        if ev.world().file_kind(as_path(&path)).map_err(|e| world_error("look at", &path, e))?.is_some() {
            return Ok(ev.path(&path));
        }
    }
    if let Some(rest) = wanted.strip_prefix(b"nix/") {
        return Ok(ev.path(&[super::CORE_FILES.as_bytes(), b"/", rest].concat()));
    }
    let text = String::from_utf8_lossy(wanted);
    if ev.settings().is_pure {
        return Err(EvalError::new("eval::search-path", format!("cannot look up `<{text}>` in pure evaluation mode")).catchable());
    }
    Err(EvalError::new("eval::search-path", format!("file `{text}` was not found in the Nix search path"))
        .hint("add it with -I or the variable NIX_PATH")
        .catchable())
}

fn store_path<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    if ev.settings().is_pure {
        return Err(EvalError::new("eval::pure", "`builtins.storePath` is not allowed in pure evaluation mode"));
    }
    let (mut path, context) = coerce_to_path(ev, args[0])?;
    let store = ev.shared.builtin_state.store(ev);
    if std::str::from_utf8(&path).is_ok_and(|p| store.base_name(p).is_err()) {
        path = resolve(ev, &path, Links::Full)?;
    }
    let text = String::from_utf8_lossy(&path).into_owned();
    let Some((object, _)) = store.split(&text) else {
        return Err(EvalError::new("eval::store", format!("path `{text}` is not in the Nix store")));
    };
    let context = ev.join_contexts(context, ev.context(&[ContextElem::Opaque(object)]));
    Ok(ev.str_with(&text, context))
}
