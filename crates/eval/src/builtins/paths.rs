//! Paths: what is taken for one, symbolic links on the way, copies in the store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nbv_diag::Span;
use nbv_nix_formats::hash::{Algo, Hash, Hasher};
use nbv_nix_formats::{Method, nar};

use crate::context::{Context, ContextElem};
use crate::error::{EvalError, ResultExt};
use crate::evaluator::{Evaluator, normalise_path};
use crate::sym;
use crate::value::{EvalResult, Ref, Str, Value, View};
use crate::world::{FileKind, WorldError};

use super::state::lock;

pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The failure of the world to do something with a path.
pub(crate) fn world_error(what: &str, path: &[u8], error: WorldError) -> EvalError {
    EvalError::new("eval::file", format!("cannot {what} `{}`: {}", String::from_utf8_lossy(path), error.message)).told(error)
}

/// An absolute, normal path with its context: a path value, an absolute string, or a set with `__toString` or `outPath`.
pub(crate) fn coerce_to_path<'h>(ev: &Evaluator<'h>, r: Ref<'h>) -> EvalResult<(Vec<u8>, Context<'h>)> {
    let v = ev.force(r)?;
    value_to_path(ev, v)
}

fn value_to_path<'h>(ev: &Evaluator<'h>, v: Value<'h>) -> EvalResult<(Vec<u8>, Context<'h>)> {
    let text = match v.view() {
        View::Path(p) => return Ok((p.bytes().to_vec(), Context::empty())),
        View::Attrs(attrs) => {
            let inner = if let Some(f) = attrs.get(sym::TO_STRING) {
                let f = ev.force(f.value)?;
                Some(ev.call(f, &[ev.cell(v)])?)
            } else {
                attrs.get(sym::OUT_PATH).map(|a| ev.force(a.value)).transpose()?
            };
            match inner {
                Some(inner) => return ev.deeper(|| value_to_path(ev, inner)),
                None => ev.coerce_to_string(v, false, false)?,
            }
        }
        _ => ev.coerce_to_string(v, false, false)?,
    };
    if text.bytes().first() != Some(&b'/') {
        return Err(EvalError::new("eval::path", format!("string `{}` doesn't represent an absolute path", text.to_str_lossy())));
    }
    Ok((normalise_path(text.bytes()), text.context()))
}

/// Builds what a context names, so that its paths can be looked at.
pub(crate) fn realise<'h>(ev: &Evaluator<'h>, context: Context<'h>) -> EvalResult<()> {
    let mut drvs: Vec<(&str, Vec<&str>)> = Vec::new();
    for elem in context.elems() {
        if let ContextElem::Built { drv, output } = *elem {
            match drvs.last_mut() {
                Some((last, outputs)) if *last == drv => outputs.push(output),
                _ => drvs.push((drv, vec![output])),
            }
        }
    }
    if drvs.is_empty() {
        return Ok(());
    }
    if !ev.settings().allow_import_from_derivation {
        return Err(EvalError::new(
            "eval::import-from-derivation",
            format!("cannot build `{}` during evaluation because the option `allow-import-from-derivation` is disabled", drvs[0].0),
        ));
    }
    ev.world().realise(&drvs).map_err(|e| {
        EvalError::new("eval::import-from-derivation", format!("cannot build during evaluation: {}", e.message)).told(e)
    })
}

/// As [`realise`], for what a string depends on.
pub(crate) fn realise_context<'h>(ev: &Evaluator<'h>, text: Str<'h>) -> EvalResult<()> {
    realise(ev, text.context())
}

/// How symbolic links are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// In folders on the way, not at the end.
    Ancestors,
    /// Everywhere.
    Full,
}

/// Follows symbolic links. Components that do not exist stay.
pub(crate) fn resolve(ev: &Evaluator<'_>, path: &[u8], links: Links) -> EvalResult<Vec<u8>> {
    let mut todo: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().filter(|c| !c.is_empty()).map(<[u8]>::to_vec).collect();
    let mut done: Vec<u8> = Vec::with_capacity(path.len());
    let mut followed = 0;
    while let Some(component) = todo.pop() {
        match component.as_slice() {
            b"." => continue,
            b".." => {
                let end = done.iter().rposition(|b| *b == b'/').unwrap_or(0);
                done.truncate(end);
                continue;
            }
            _ => {}
        }
        let len = done.len();
        done.push(b'/');
        done.extend_from_slice(&component);
        if todo.is_empty() && links == Links::Ancestors {
            break;
        }
        let kind = ev.world().file_kind(as_path(&done)).map_err(|e| world_error("look at", &done, e))?;
        if kind == Some(FileKind::Symlink) {
            followed += 1;
            if followed > 100 {
                return Err(EvalError::new(
                    "eval::file",
                    format!("cannot look at `{}`: too many levels of symbolic links", String::from_utf8_lossy(path)),
                ));
            }
            let target = ev.world().read_link(as_path(&done)).map_err(|e| world_error("read the link", &done, e))?;
            let target = target.as_os_str().as_bytes();
            done.truncate(if target.starts_with(b"/") { 0 } else { len });
            todo.extend(target.split(|b| *b == b'/').rev().filter(|c| !c.is_empty()).map(<[u8]>::to_vec));
        }
    }
    if done.is_empty() {
        done.push(b'/');
    }
    Ok(done)
}

/// The path of an argument of a builtin that looks at files: what its context names is built first.
pub(crate) fn realise_path<'h>(ev: &Evaluator<'h>, r: Ref<'h>, links: Option<Links>) -> EvalResult<Vec<u8>> {
    let (path, context) = coerce_to_path(ev, r)?;
    realise(ev, context).frame(Span::NONE, || format!("while building the context of path `{}`", String::from_utf8_lossy(&path)))?;
    match links {
        Some(links) => resolve(ev, &path, links),
        None => Ok(path),
    }
}

pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// Copies a path to the store and gives the store path with its context, as `"${./x}"` does.
pub(crate) fn copy_to_store<'h>(ev: &Evaluator<'h>, path: Str<'h>) -> EvalResult<Str<'h>> {
    let state = &ev.shared.builtin_state;
    let known = lock(&state.copied).get(path.bytes()).cloned();
    let store_path = match known {
        Some(known) => known,
        None => {
            let bytes = path.bytes();
            if bytes.ends_with(b".drv") {
                return Err(EvalError::new("eval::store", format!("file names are not allowed to end in `.drv`: `{}`", path.to_str_lossy())));
            }
            let real = resolve(ev, bytes, Links::Ancestors)?;
            let name = String::from_utf8_lossy(base_name(bytes)).into_owned();
            let copy = Copy { name: &name, filter: None, method: Method::Recursive, expected: None };
            let made = add_path(ev, &real, &copy)
                .frame(Span::NONE, || format!("while copying `{}` to the store", path.to_str_lossy()))?;
            lock(&state.copied).insert(bytes.to_vec(), made.clone());
            made
        }
    };
    let context = ev.context(&[ContextElem::Opaque(&store_path)]);
    Ok(ev.make_str(store_path.as_bytes(), context))
}

/// How a path is copied to the store.
pub(crate) struct Copy<'a, 'h> {
    /// Name in the store.
    pub(crate) name: &'a str,
    /// Function of path and type that says what goes along.
    pub(crate) filter: Option<Value<'h>>,
    pub(crate) method: Method,
    pub(crate) expected: Option<Hash>,
}

/// Copies what stands at `path` (links on the way are resolved already) to the store. Gives its path there.
pub(crate) fn add_path<'h>(ev: &Evaluator<'h>, path: &[u8], copy: &Copy<'_, 'h>) -> EvalResult<String> {
    let store = ev.shared.builtin_state.store(ev);
    let invalid = |e: nbv_nix_formats::store_path::PathError| EvalError::new("eval::store-name", format!("{e}"));
    let wanted = match &copy.expected {
        Some(hash) => {
            let wanted = store.fixed_path(copy.method, hash, copy.name).map_err(invalid)?;
            if ev.world().is_valid_path(&wanted) {
                return Ok(wanted);
            }
            Some(wanted)
        }
        None => None,
    };
    let mut archive = Vec::new();
    let hash = match copy.method {
        Method::Flat => {
            let content = ev.world().read_file(as_path(path)).map_err(|e| world_error("read", path, e))?;
            let node = nar::Node::Regular { executable: false, content };
            node.dump(&mut archive).map_err(|e| EvalError::new("eval::store", e.to_string()))?;
            match &node {
                nar::Node::Regular { content, .. } => Hash::of(Algo::Sha256, content),
                _ => Hash::of(Algo::Sha256, b""),
            }
        }
        _ => {
            let mut writer = nar::Writer::new(&mut archive).map_err(archive_error)?;
            let mut at = path.to_vec();
            dump(ev, &mut at, copy.filter, &mut writer)?;
            let mut hasher = Hasher::new(Algo::Sha256);
            hasher.update(&archive);
            hasher.finish()
        }
    };
    let made = store.fixed_path(copy.method, &hash, copy.name).map_err(invalid)?;
    if let Some(wanted) = wanted
        && wanted != made
    {
        return Err(EvalError::new(
            "eval::hash-mismatch",
            format!("store path mismatch in (possibly filtered) path added from `{}`", String::from_utf8_lossy(path)),
        )
        .note(format!("expected {wanted}, got {made}")));
    }
    ev.world().store_archive(&made, &archive).map_err(|e| world_error("write", made.as_bytes(), e))?;
    if copy.method == Method::Recursive {
        lock(&ev.shared.builtin_state.archives).insert(made.clone(), hash);
    }
    Ok(made)
}

fn archive_error(e: std::io::Error) -> EvalError {
    EvalError::new("eval::store", e.to_string())
}

fn dump<'h>(
    ev: &Evaluator<'h>,
    path: &mut Vec<u8>,
    filter: Option<Value<'h>>,
    out: &mut nar::Writer<&mut Vec<u8>>,
) -> EvalResult<()> {
    ev.check_stack()?;
    let world = ev.world();
    let kind = world.file_kind(as_path(path)).map_err(|e| world_error("look at", path, e))?;
    match kind {
        None => Err(EvalError::new("eval::file", format!("path `{}` does not exist", String::from_utf8_lossy(path)))),
        Some(FileKind::Regular { is_executable }) => {
            let content = world.read_file(as_path(path)).map_err(|e| world_error("read", path, e))?;
            out.regular(is_executable, content.len() as u64, &mut content.as_slice()).map_err(archive_error)
        }
        Some(FileKind::Symlink) => {
            let target = world.read_link(as_path(path)).map_err(|e| world_error("read the link", path, e))?;
            out.symlink(target.as_os_str().as_bytes()).map_err(archive_error)
        }
        Some(FileKind::Directory) => {
            let mut entries = world.read_dir(as_path(path)).map_err(|e| world_error("list", path, e))?;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.open_folder().map_err(archive_error)?;
            let len = path.len();
            for (name, kind) in entries {
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                let taken = match filter {
                    None => true,
                    Some(f) => {
                        let args = [ev.cell(ev.str(&path[..])), ev.cell(ev.str(kind.type_name()))];
                        let answer = ev.call(f, &args)?;
                        answer.as_bool().ok_or_else(|| ev.expected("a Boolean", answer)).frame(Span::NONE, || {
                            "while evaluating the return value of the path filter function".to_owned()
                        })?
                    }
                };
                if taken {
                    out.entry(&name).map_err(archive_error)?;
                    dump(ev, path, filter, out)?;
                    out.end_entry().map_err(archive_error)?;
                }
                path.truncate(len);
            }
            out.close_folder().map_err(archive_error)
        }
        Some(FileKind::Other) => {
            Err(EvalError::new("eval::file", format!("file `{}` has an unsupported type", String::from_utf8_lossy(path))))
        }
    }
}
