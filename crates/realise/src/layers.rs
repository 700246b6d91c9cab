//! Layers: which packages the derivations of a network need, and the derivations that make them.
//!
//! A layer holds the packages of all store views of its system in the closure of the toplevels, and the base set. Views
//! do not name a layer; that they are made after it is an order of the graph, no input.

use crate::debian::code;
use crate::derive::{Made, Maker};
use crate::error::{Error, Kind};
use nbv_debian::{Archive, DebianError, Lock, Pin, System, SystemLock};
use nbv_diag::Diagnostic;
use nbv_nix_formats::Derivation;
use nbv_nix_formats::hash::{encode_base16, sha256};
use nbv_store::builders::builtin_name;
use nbv_store::{Graph, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Changes when layers of the same packages are made otherwise.
const FORMAT: u32 = 1;

/// What the derivation of a layer says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerArguments {
    pub(crate) format: u32,
    pub(crate) system: String,
    pub(crate) suite: String,
    pub(crate) packages: BTreeMap<String, Pin>,
}

/// What the derivation of a view says, as far as it is needed here.
#[derive(Deserialize)]
struct ViewArguments {
    packages: Vec<String>,
}

/// The layers of a graph.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// By system.
    pub(crate) by_system: BTreeMap<String, Made>,
    /// Their trees, for programs that build, by system.
    pub(crate) trees: BTreeMap<String, Made>,
    /// What they pin.
    pub(crate) lock: Lock,
}

/// The failure of an archive, as a user reads it.
pub(crate) fn archive_error(error: &DebianError) -> Error {
    let kind = match error {
        DebianError::UnknownSystem { .. } | DebianError::Unresolved(_) | DebianError::LockLacks(_) | DebianError::BadMirror { .. } => Kind::Input,
        DebianError::Cancelled => Kind::Interrupted,
        _ => Kind::Build,
    };
    let diagnostic = Diagnostic::error(code(error), crate::world::chain(error));
    Error::new(kind, match error {
        DebianError::Fetch { .. } | DebianError::Status { .. } => diagnostic.hint("check the network, or name another mirror with --option debian-mirror URL"),
        _ => diagnostic,
    })
}

/// Whether a builder is a program.
fn is_program(drv: &Derivation) -> bool {
    builtin_name(&drv.builder).is_none()
}

/// Adds the layers that the derivations `roots` need, and the order of views and programs after them.
///
/// # Errors
/// The archive cannot be read, a package is not there, packages exclude each other.
pub(crate) fn add(
    graph: &mut Graph,
    roots: &[&str],
    systems: &BTreeSet<String>,
    archive: &Archive,
    pins: &BTreeMap<String, SystemLock>,
    store: &Store,
    memory: &Memory,
) -> Result<Layers, Error> {
    let mut names: BTreeMap<String, BTreeSet<String>> = systems.iter().map(|system| (system.clone(), BTreeSet::new())).collect();
    let mut views: Vec<(String, String)> = Vec::new();
    let mut programs: Vec<(String, String)> = Vec::new();
    for path in graph.closure(roots.iter().copied()) {
        let drv = &graph.drvs[path];
        if builtin_name(&drv.builder) == Some("debian-view") {
            let text = drv.var("__json").unwrap_or_default();
            let arguments: ViewArguments = serde_json::from_slice(text)
                .map_err(|error| Error::build("build::arguments", format!("the arguments of the view {path} are not of the right shape: {error}")))?;
            let system = system_of(drv);
            names.entry(system.clone()).or_default().extend(arguments.packages);
            views.push((path.to_owned(), system));
        } else if is_program(drv) && !drv.outputs.values().all(|output| store.is_valid(&output.path)) {
            let system = system_of(drv);
            names.entry(system.clone()).or_default();
            programs.push((path.to_owned(), system));
        }
    }
    let mut layers = Layers { lock: Lock { version: 1, ..Lock::default() }, ..Layers::default() };
    let mut maker = Maker::new(graph);
    for (system, names) in names {
        let known = System::by_name(&system).map_err(|error| archive_error(&error))?;
        let names: Vec<String> = names.into_iter().collect();
        let lock = select(archive, known, &names, pins.get(&system), memory)?;
        let arguments = LayerArguments { format: FORMAT, system: system.clone(), suite: lock.suite.clone(), packages: lock.packages.clone() };
        let made = maker.make(&format!("debian-layer-{}", known.arch), "debian-layer", &system, object(&arguments), &[], &[])?;
        layers.by_system.insert(system.clone(), made);
        layers.lock.systems.insert(system, lock);
    }
    for (_, system) in &programs {
        if !layers.trees.contains_key(system) {
            let layer = &layers.by_system[system];
            let arguments = Map::from_iter([("layer".to_owned(), Value::from(layer.out.as_str()))]);
            let tree = maker.make("debian-layer-tree", "layer-tree", system, arguments, &[&layer.drv], &[])?;
            layers.trees.insert(system.clone(), tree);
        }
    }
    for (view, system) in views {
        graph.after.entry(view).or_default().insert(layers.by_system[&system].drv.clone());
    }
    for (program, system) in programs {
        graph.after.entry(program).or_default().insert(layers.trees[&system].drv.clone());
    }
    Ok(layers)
}

/// Remembers which packages a set of names closed to: the same of the same index, by the same program.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    /// Where.
    pub(crate) folder: PathBuf,
    /// What tells this program from others.
    pub(crate) program: String,
}

/// The packages of a layer, with their pins.
fn select(archive: &Archive, system: &'static System, names: &[String], pinned: Option<&SystemLock>, memory: &Memory) -> Result<SystemLock, Error> {
    let told = |error: DebianError| archive_error(&error);
    let closes = pinned.is_some_and(|lock| !lock.packages.is_empty());
    if closes {
        return Ok(archive.select(system, names, pinned).map_err(told)?.lock);
    }
    // Perf: closing takes 0.2 s a system, reading its result 2 ms.
    let index = archive.index(system).map_err(told)?;
    let mut key = format!("{}\n{}\n{}\n", memory.program, system.nix, index.hash);
    for name in names {
        key.push_str(name);
        key.push('\n');
    }
    let path = memory.folder.join("closures").join(encode_base16(&sha256(key.as_bytes())));
    if let Some(lock) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<SystemLock>(&text).ok()) {
        return Ok(lock);
    }
    let selection = archive.select(system, names, pinned).map_err(told)?;
    // What conflicts is warned of each time.
    if selection.conflicts.is_empty()
        && let Ok(text) = serde_json::to_vec(&selection.lock)
    {
        // Only speed is lost when it cannot be written.
        let _ = crate::cache::write(&path, &text);
    }
    Ok(selection.lock)
}

fn system_of(drv: &Derivation) -> String {
    String::from_utf8_lossy(&drv.system).into_owned()
}

/// A serialisable struct as a JSON object.
pub(crate) fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
