//! The built-in functions, one file a family.
//!
//! [`TABLES`] lists them; `builtins` and the global names are made from it once per evaluation.

mod attrs;
mod contexts;
mod control;
mod data;
mod derivation;
mod fetch;
mod files;
mod flakes;
mod lists;
mod math;
mod paths;
mod sort;
mod state;
mod strings;

use std::collections::HashMap;

use crate::evaluator::{Evaluator, Globals};
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Ref, Value};

/// All families.
const TABLES: &[&[PrimOp]] = &[
    control::TABLE, lists::TABLE, attrs::TABLE, math::TABLE, strings::TABLE, contexts::TABLE, data::TABLE, files::TABLE,
    derivation::TABLE, fetch::TABLE, flakes::TABLE,
];

/// Built-ins that are also global under their own name; all others are global as `__name`.
const UNPREFIXED: &[&str] = &[
    "abort", "baseNameOf", "break", "derivation", "derivationStrict", "dirOf", "fetchGit", "fetchMercurial",
    "fetchTarball", "fetchTree", "fromTOML", "import", "isNull", "map", "placeholder", "removeAttrs", "scopedImport",
    "throw", "toString",
];

pub(crate) use derivation::import_drv;
pub(crate) use paths::{copy_to_store, realise_context};
pub(crate) use state::State;
use state::lock;

/// Folder that the files of `<nix/...>` seem to be in; they are part of the program.
const CORE_FILES: &str = "/__corepkgs__";

/// Content of a file of `<nix/...>`.
pub(crate) fn core_file(path: &std::path::Path) -> Option<&'static [u8]> {
    (path.strip_prefix(CORE_FILES).ok()?.to_str()? == "fetchurl.nix").then_some(include_bytes!("nix/fetchurl.nix"))
}

/// Constants that are values, not functions.
fn constants<'h>(ev: &Evaluator<'h>) -> Vec<(&'static str, Value<'h>)> {
    let nix_path: Vec<Ref<'h>> = ev
        .settings()
        .nix_path
        .iter()
        .map(|(prefix, path)| ev.cell(ev.attrs(vec![ev.attr("path", ev.str(path)), ev.attr("prefix", ev.str(prefix))])))
        .collect();
    vec![
        ("true", Value::bool(true)),
        ("false", Value::bool(false)),
        ("null", Value::null()),
        ("nixPath", ev.list(&nix_path)),
        ("nixVersion", ev.str("2.34.8")),
        ("langVersion", Value::int(6)),
        ("storeDir", ev.str(&ev.settings().store_dir)),
        ("currentSystem", ev.str(&ev.settings().system)),
    ]
}

/// Builds the global scope.
pub(crate) fn make_globals<'h>(ev: &Evaluator<'h>, extra: Vec<&'h PrimOp>) -> Globals<'h> {
    let mut all: Vec<Attr<'h>> = Vec::new();
    let mut names = HashMap::default();
    let mut add = |name: &str, value: Ref<'h>, is_unprefixed: bool| {
        all.push(Attr { name: ev.intern(name.as_bytes()), pos: 0, value });
        if is_unprefixed {
            names.insert(ev.intern(name.as_bytes()), value);
        } else {
            names.insert(ev.intern(format!("__{name}").as_bytes()), value);
        }
    };
    for (name, value) in constants(ev) {
        let is_pure_null = ev.settings().is_pure && name == "currentSystem";
        if !is_pure_null {
            add(name, ev.cell(value), matches!(name, "true" | "false" | "null"));
        }
    }
    for primop in TABLES.iter().flat_map(|table| table.iter()).chain(extra) {
        let function = ev.cell(Value::primop(primop));
        let cell = if primop.arity == 0 { ev.lazy_call(function, ev.null_cell()) } else { function };
        add(primop.name, cell, UNPREFIXED.contains(&primop.name));
    }
    let builtins_name = ev.intern(b"builtins");
    let itself = ev.cell(Value::null());
    all.push(Attr { name: builtins_name, pos: 0, value: itself });
    let set = ev.attrs(all);
    itself.finish(set);
    names.insert(builtins_name, itself);
    let _ = sym::EMPTY;
    Globals { builtins: itself, names }
}
