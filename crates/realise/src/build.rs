//! Building a network: from the file to the linked result.

use crate::builders::NetworkBuilders;
use crate::cache::{Entry, Slot};
use crate::debian::{Bridge, Failed, primops};
use crate::derive::{Made, Maker};
use crate::error::{Error, Kind};
use crate::instantiate::{Instantiated, Request, Subject, instantiate};
use crate::layers::{self, Layers, Memory, archive_error};
use crate::lock::{self, Pins};
use crate::world::{Builder, HostWorld, reason};
use crate::{result, runner};
use nbv_debian::{Archive, Lock, System, SystemLock};
use nbv_eval::Settings;
use nbv_nix_formats::hash::{encode_base16, sha256};
use nbv_plan::{Boot, NetworkPlan};
use nbv_store::{Event, Graph, Progress, Store, realise};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What to build, and how. Paths are absolute.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The network file, or a folder with a default.nix.
    pub network: PathBuf,
    /// What the file describes.
    pub subject: Subject,
    /// Where the link to the result goes; nowhere when absent.
    pub out_link: Option<PathBuf>,
    /// Root of the store; `/nix/store` is below it.
    pub store: PathBuf,
    /// Downloads and memories.
    pub cache: PathBuf,
    /// The running program, which the result gets a copy of.
    pub program: PathBuf,
    /// The host's system, such as `x86_64-linux`.
    pub system: String,
    /// `-I` and `NIX_PATH`: prefix (may be empty) and value, in order.
    pub search_path: Vec<(String, String)>,
    /// The environment that expressions see.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The time that expressions see, seconds since 1970.
    pub time: i64,
    /// A mirror of Debian; found on the host when absent.
    pub mirror: Option<String>,
    /// Parallel connections to it.
    pub connections: Option<usize>,
    /// A file of pins; else NETWORK.lock, else the store's memory.
    pub lock: Option<PathBuf>,
    /// Whether to look for new packages and write the file of pins.
    pub update_lock: bool,
    /// How things are made.
    pub make: nbv_store::Options,
    /// Deepest nesting of calls in expressions.
    pub max_call_depth: Option<u32>,
}

/// A built network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    /// Physical path of the result folder.
    pub path: PathBuf,
    /// What the configuration warns of; also told as events.
    pub warnings: Vec<String>,
    /// Whether nothing had changed since an earlier build.
    pub was_known: bool,
}

/// Builds a network.
///
/// # Errors
/// The user's input, the evaluation, a build, an interruption; each with what to show.
pub fn build(options: &BuildOptions, progress: &Arc<dyn Progress>) -> Result<BuildResult, Error> {
    let network = network_file(&options.network)?;
    if let Some(link) = &options.out_link {
        check_link(link)?;
    }
    let store = Arc::new(Store::open(&options.store));
    let memory = store.var().join("pins.json");
    let pins = if options.update_lock { Pins::default() } else { lock::read(&network, options.lock.as_deref(), &memory)? };
    let slot = Slot::new(&options.cache, &arguments(options, &network)?);
    if options.out_link.is_some() {
        store.begin()?;
    }
    let built = match known(&slot, options, &store, &pins).filter(|_| !options.update_lock) {
        Some(entry) => {
            for warning in &entry.warnings {
                progress.event(Event::Warning(warning));
            }
            (entry, true)
        }
        None => (build_anew(options, &network, &store, &memory, pins, &slot, progress)?, false),
    };
    if progress.is_interrupted() {
        return Err(nbv_store::BuildError::Interrupted.into());
    }
    let (entry, was_known) = built;
    if let Some(link) = &options.out_link {
        store.link_root(link, &entry.result)?;
    }
    Ok(BuildResult { path: store.physical(&entry.result), warnings: entry.warnings, was_known })
}

/// The file that an argument means.
fn network_file(given: &Path) -> Result<PathBuf, Error> {
    let shown = given.display();
    let meta = fs::metadata(given).map_err(|error| {
        let error = Error::input("input::unreadable", format!("cannot read {shown}: {}", reason(&error)));
        match given.with_extension("nix") {
            other if other != given && other.is_file() => error.hint(format!("there is {}", other.display())),
            _ => error,
        }
    })?;
    if !meta.is_dir() {
        return Ok(given.to_path_buf());
    }
    let file = given.join("default.nix");
    if file.is_file() {
        return Ok(file);
    }
    Err(Error::input("input::no-default", format!("{shown} is a folder without a default.nix")).hint("name the network's file itself"))
}

/// Refuses to replace anything but a link, before anything is built.
fn check_link(link: &Path) -> Result<(), Error> {
    let shown = link.display();
    match fs::symlink_metadata(link) {
        Ok(meta) if !meta.is_symlink() => Err(Error::input("output::not-a-link", format!("{shown} is there and is not a symbolic link; it is left alone"))
            .hint("move it away, name another link with -o, or build with --no-out-link")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match link.parent() {
            Some(folder) if !folder.is_dir() => Err(Error::input("output::no-folder", format!("{shown} cannot be made: there is no folder {}", folder.display()))),
            _ => Ok(()),
        },
        Err(error) => Err(Error::input("output::unreadable", format!("cannot look at {shown}: {}", reason(&error)))),
    }
}

/// All that a result depends on but what evaluation asks for, and the pins.
fn arguments(options: &BuildOptions, network: &Path) -> Result<Vec<String>, Error> {
    let mut arguments = vec![
        env!("CARGO_PKG_VERSION").to_owned(),
        nbv_nixlib::HASH.to_owned(),
        runner::identity(&options.program)?,
        network.display().to_string(),
        format!("{:?}", options.subject),
        options.store.display().to_string(),
        options.system.clone(),
        options.mirror.clone().unwrap_or_default(),
        format!("{:?}", options.max_call_depth),
    ];
    for (prefix, value) in &options.search_path {
        arguments.push(format!("{prefix}={value}"));
    }
    Ok(arguments)
}

/// What an earlier build gave, if nothing that it depended on has changed.
fn known(slot: &Slot, options: &BuildOptions, store: &Store, pins: &Pins) -> Option<Entry> {
    let entry = slot.read()?;
    let holds = !entry.accesses.is_volatile && pins.are(&entry.pins) && store.is_valid(&entry.result) && entry.accesses.is_same_in(&options.env);
    holds.then_some(entry)
}

pub(crate) fn archive(options: &BuildOptions, progress: &Arc<dyn Progress>) -> Arc<Archive> {
    let mut config = nbv_debian::Config::new(options.cache.clone());
    config.mirror.clone_from(&options.mirror);
    if let Some(connections) = options.connections {
        config.connections = connections.max(1);
    }
    if options.update_lock {
        config.max_age = Duration::ZERO;
    }
    Arc::new(Archive::new(config, Arc::new(Bridge::new(progress.clone()))))
}

/// Makes the pinned indices be the ones that evaluation sees. An index that the mirror no longer has leaves a set of
/// packages usable as long as it has all that is asked for.
pub(crate) fn pin(archive: &Archive, pins: &mut BTreeMap<String, SystemLock>, is_file: bool) -> Result<(), Error> {
    let mut gone = Vec::new();
    for (system, pinned) in pins.iter() {
        let known = System::by_name(system).map_err(|error| archive_error(&error))?;
        if !archive.pin_index(known, pinned).map_err(|error| archive_error(&error))? {
            gone.push(system.clone());
        }
    }
    if !is_file {
        // Only the store's memory: a new index takes its place.
        for system in gone {
            pins.remove(&system);
        }
    }
    Ok(())
}

/// The plan of a network, less what its machines boot: evaluated, not built.
///
/// # Errors
/// The user's input, the evaluation, an interruption; each with what to show.
pub fn plan(options: &BuildOptions, progress: &Arc<dyn Progress>) -> Result<NetworkPlan, Error> {
    let network = network_file(&options.network)?;
    let store = Arc::new(Store::open(&options.store));
    let memory = store.var().join("pins.json");
    let mut pins = lock::read(&network, options.lock.as_deref(), &memory)?;
    Ok(evaluate(options, &network, &store, &mut pins, progress)?.plan)
}

/// An evaluated network and what its evaluation used.
struct Evaluated {
    world: Arc<HostWorld>,
    archive: Arc<Archive>,
    closures: Memory,
    instantiated: Instantiated,
    plan: NetworkPlan,
}

fn evaluate(options: &BuildOptions, network: &Path, store: &Arc<Store>, pins: &mut Pins, progress: &Arc<dyn Progress>) -> Result<Evaluated, Error> {
    store.begin()?;
    let archive = archive(options, progress);
    pin(&archive, &mut pins.systems, pins.file.is_some())?;
    if let Ok(system) = System::by_name(&options.system) {
        archive.preload(system);
    }
    let world = Arc::new(HostWorld::new(store.clone(), options.env.clone(), options.time, progress.clone()));
    let closures = Memory { folder: options.cache.clone(), program: runner::identity(&options.program)? };
    allow_builds(&world, options, store, &archive, &pins.systems, &closures, progress);
    let failed: Failed = Arc::default();
    progress.event(Event::Step(&format!("evaluating {}", network.display())));
    let mut settings = Settings { nix_path: options.search_path.clone(), ..Settings::default() };
    if let Some(depth) = options.max_call_depth {
        settings.max_call_depth = depth;
    }
    let request = Request { network, subject: options.subject.clone(), system: &options.system, settings, primops: primops(&archive, &failed), threads: options.make.jobs };
    let instantiated = instantiate(&world, request, &**progress).map_err(|mut error| {
        if let Some(cause) = failed.lock().unwrap_or_else(|e| e.into_inner()).take() {
            error.kind = archive_error(&cause).kind;
        }
        error
    })?;
    for warning in &instantiated.warnings {
        progress.event(Event::Warning(warning));
    }
    let plan = NetworkPlan::parse(&instantiated.plan.to_string()).map_err(|error| {
        Error::input("eval::plan", format!("evaluation gave no network plan: {}", crate::world::chain(&error)))
    })?;
    Ok(Evaluated { world, archive, closures, instantiated, plan })
}

fn build_anew(
    options: &BuildOptions,
    network: &Path,
    store: &Arc<Store>,
    memory: &Path,
    mut pins: Pins,
    slot: &Slot,
    progress: &Arc<dyn Progress>,
) -> Result<Entry, Error> {
    let Evaluated { world, archive, closures, instantiated: evaluated, mut plan } = evaluate(options, network, store, &mut pins, progress)?;
    let is_file = pins.file.is_some();

    progress.event(Event::Step("choosing packages"));
    let mut graph = world.graph();
    let systems: BTreeSet<String> = plan.machines.iter().map(|machine| machine.system.clone()).collect();
    let roots: Vec<&str> = evaluated.toplevels.values().chain(evaluated.script_needs.0.iter().map(|(drv, _)| drv)).map(String::as_str).collect();
    let layers = layers::add(&mut graph, &roots, &systems, &archive, &pins.systems, store, &closures)?;
    let runner = runner::copy(store, &options.program, &options.cache)?;
    let made = put_together(&mut graph, &mut plan, &evaluated, &layers, &runner, &options.system)?;

    progress.event(Event::Step("building"));
    make(store, &graph, &[&made.drv], &archive, &layers, &options.make, &**progress)?;

    if options.update_lock {
        let file = options.lock.clone().unwrap_or_else(|| lock::beside(network));
        crate::cache::write(&file, lock::text(&layers.lock).as_bytes())
            .map_err(|error| Error::build("lock::unwritable", format!("cannot write {}: {}", file.display(), reason(&error))))?;
        pins = lock::read(network, options.lock.as_deref(), memory)?;
    } else if !is_file {
        lock::remember(memory, &layers.lock);
    }
    let mut warnings = world.warnings();
    warnings.extend(evaluated.warnings);
    let entry = Entry { accesses: world.accesses(), pins: pins.used(&layers.lock), result: made.out, warnings };
    slot.write(&entry);
    Ok(entry)
}

/// Lets evaluation build what it reads (import from derivation) and download.
fn allow_builds(
    world: &HostWorld,
    options: &BuildOptions,
    store: &Arc<Store>,
    archive: &Arc<Archive>,
    pins: &BTreeMap<String, SystemLock>,
    closures: &Memory,
    progress: &Arc<dyn Progress>,
) {
    world.set_builder(builder(options, store, archive, pins, closures, progress));
    world.set_fetcher(Box::new(|url| {
        nbv_debian::http::Client::new(1).get(url, MAX_FETCH).map_err(|error| crate::world::chain(&error))
    }));
}

/// What builds for an evaluation.
pub(crate) fn builder(
    options: &BuildOptions,
    store: &Arc<Store>,
    archive: &Arc<Archive>,
    pins: &BTreeMap<String, SystemLock>,
    closures: &Memory,
    progress: &Arc<dyn Progress>,
) -> Builder {
    let (store, archive, pins, progress) = (store.clone(), archive.clone(), pins.clone(), progress.clone());
    let (make_options, closures) = (options.make.clone(), closures.clone());
    Box::new(move |graph, drvs| {
        let mut graph = graph.clone();
        let layers = layers::add(&mut graph, drvs, &BTreeSet::new(), &archive, &pins, &store, &closures)?;
        make(&store, &graph, drvs, &archive, &layers, &make_options, &*progress)
    })
}

/// Downloads of evaluation larger than this are refused.
const MAX_FETCH: u64 = 1 << 30;

/// Makes derivations of a graph whose layers are `layers`.
fn make(
    store: &Store,
    graph: &Graph,
    wanted: &[&str],
    archive: &Arc<Archive>,
    layers: &Layers,
    options: &nbv_store::Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let paths = |made: &BTreeMap<String, Made>| made.iter().map(|(system, made)| (system.clone(), made.out.clone())).collect();
    let builders = NetworkBuilders {
        archive: archive.clone(),
        layers: paths(&layers.by_system),
        trees: paths(&layers.trees),
        manifests: Mutex::default(),
    };
    realise(store, graph, wanted, &builders, options, progress).map_err(Error::from)
}

/// Adds what boots the machines, and the result; completes the plan.
fn put_together(
    graph: &mut Graph,
    plan: &mut NetworkPlan,
    evaluated: &Instantiated,
    layers: &Layers,
    runner: &str,
    system: &str,
) -> Result<Made, Error> {
    let mut inputs: BTreeSet<String> = BTreeSet::new();
    let mut initrds: BTreeMap<String, Made> = BTreeMap::new();
    let (drvs, sources) = &evaluated.script_needs;
    let mut needs: Vec<String> = sources.clone();
    for (drv, output) in drvs {
        let path = graph.drvs.get(drv).and_then(|drv| drv.outputs.get(output)).map(|output| output.path.clone()).filter(|path| !path.is_empty());
        needs.push(path.ok_or_else(|| Error::build("build::derivation", format!("the test's script names an output of {drv} that is not known before it is built")))?);
    }
    let mut maker = Maker::new(graph);
    for machine in &mut plan.machines {
        let toplevel = evaluated
            .toplevels
            .get(&machine.name)
            .ok_or_else(|| Error::input("eval::plan", format!("the plan names the machine `{}`, which has no toplevel", machine.name)))?;
        let layer = layers
            .by_system
            .get(&machine.system)
            .ok_or_else(|| Error::input("eval::plan", format!("no layer was made for the system {}", machine.system)))?;
        let initrd = match initrds.get(&machine.system) {
            Some(made) => made.clone(),
            None => {
                let made = initrd(&mut maker, &machine.system, layer)?;
                initrds.insert(machine.system.clone(), made.clone());
                made
            }
        };
        let mut contents = vec![machine.toplevel.clone()];
        contents.extend(needs.iter().filter(|path| **path != machine.toplevel).cloned());
        let arguments = Map::from_iter([("closureOf".to_owned(), Value::from(contents))]);
        let image_inputs: BTreeSet<&str> = std::iter::once(toplevel).chain(drvs.iter().map(|(drv, _)| drv)).map(String::as_str).collect();
        let image_inputs: Vec<&str> = image_inputs.into_iter().collect();
        let image_sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let image = maker.make("store.erofs", "store-image", &machine.system, arguments, &image_inputs, &image_sources)?;
        machine.boot = Some(Boot {
            kernel: format!("{}/kernel", layer.out),
            initrd: initrd.out.clone(),
            layer: format!("{}/layer.erofs", layer.out),
            store: image.out,
        });
        inputs.extend([toplevel.clone(), layer.drv.clone(), initrd.drv, image.drv]);
    }
    let lock = Lock { version: 1, systems: layers.lock.systems.clone() };
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    result::make(&mut maker, plan, evaluated.test.as_ref(), &lock::text(&lock), runner, &inputs, system)
}

fn initrd(maker: &mut Maker<'_>, system: &str, layer: &Made) -> Result<Made, Error> {
    let programs = nbv_guest::programs(system)
        .ok_or_else(|| Error::new(Kind::Input, nbv_diag::Diagnostic::error("guest::unsupported-system", format!("this program has no guest programs for {system}"))))?;
    let digest = |bytes: &[u8]| encode_base16(&sha256(bytes));
    let arguments = Map::from_iter([
        ("layer".to_owned(), Value::from(layer.out.as_str())),
        ("init".to_owned(), digest(programs.init).into()),
        ("control".to_owned(), digest(programs.control).into()),
    ]);
    maker.make("initrd", "initrd", system, arguments, &[&layer.drv], &[])
}
