//! Derivations in memory, and making what is missing of them.
//!
//! [`realise()`] looks from the wanted derivations downwards, only as far as outputs are missing, then lets workers take
//! what is ready. One derivation is made in this order: lock its outputs, look again, run its builder into temporary
//! places, canonicalise, find references, rename, register, unlock.
//!
//! Not here: what builders do ([`Builders`]).

use crate::error::{BuildError, Result, StoreError};
use crate::lock::{Lock, Wait};
use crate::store::{References, Store};
use crate::tree;
use nbv_nix_formats::{Derivation, StoreDir};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a path that no derivation makes holds.
#[derive(Debug, Clone)]
pub enum Source {
    /// A text file, and the store paths that it names.
    Text(Arc<[u8]>, BTreeSet<String>),
    /// A copy of a file or folder of the host.
    Copy(PathBuf),
    /// A tree, as its archive (NAR).
    Archive(Arc<[u8]>),
}

/// Derivations and sources by logical path.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Derivations by the path of their `.drv` file (which need not exist).
    pub drvs: HashMap<String, Arc<Derivation>>,
    /// Sources that may not be in the store yet.
    pub sources: HashMap<String, Source>,
    /// Derivations that must be made before another though they are no input of it.
    pub after: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The output path of a derivation of this graph.
    #[must_use]
    pub fn output(&self, drv: &str, output: &str) -> Option<&str> {
        self.drvs.get(drv)?.outputs.get(output).map(|o| o.path.as_str()).filter(|path| !path.is_empty())
    }

    /// All derivations that `roots` need to be built, themselves included.
    #[must_use]
    pub fn closure<'a>(&'a self, roots: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&str> = roots.into_iter().collect();
        while let Some(path) = todo.pop() {
            if let Some((path, drv)) = self.drvs.get_key_value(path)
                && seen.insert(path.as_str())
            {
                todo.extend(drv.input_drvs.keys().map(String::as_str));
            }
        }
        seen
    }
}

/// How things are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Derivations that are made at the same time.
    pub jobs: usize,
    /// What `NIX_BUILD_CORES` says; 0 is "all".
    pub cores: usize,
    /// Longest time for one program that builds.
    pub timeout: Option<Duration>,
    /// Whether the folder of a failed program is kept.
    pub keep_failed: bool,
    /// Lines of output that an error holds.
    pub log_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self { jobs, cores: 0, timeout: None, keep_failed: false, log_lines: 25 }
    }
}

/// What happens while something is made or fetched.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// So many derivations will be made.
    Planned(usize),
    /// A derivation's builder starts.
    Started {
        /// The derivation's path.
        drv: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A derivation was made.
    Finished {
        /// The derivation's path.
        drv: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A line of a builder's output.
    Log {
        /// The derivation's name.
        name: &'a str,
        /// The line.
        line: &'a str,
    },
    /// Another process makes the same thing; it is waited for.
    Waiting {
        /// What is waited for.
        path: &'a str,
    },
    /// Bytes came from elsewhere; absolute numbers of the whole transfer.
    Fetched {
        /// What is fetched.
        what: &'a str,
        /// Bytes so far.
        done: u64,
        /// All bytes; 0 while not known.
        total: u64,
    },
    /// A step begins, in words: `evaluating network.nix`.
    Step(&'a str),
    /// The expression warns.
    Warning(&'a str),
    /// The expression traces (`builtins.trace`).
    Trace(&'a str),
}

/// Who is told of progress, and who may stop it.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, _event: Event<'_>) {}
    /// Whether to stop.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}

/// Why a builder failed.
#[derive(Debug)]
pub enum Failure {
    /// The store failed.
    Store(StoreError),
    /// The user stopped it.
    Interrupted,
    /// What it was asked for cannot be made.
    Other {
        /// Why, one line.
        reason: String,
        /// The last lines of its output.
        log: Vec<String>,
        /// Its folder, when kept.
        kept: Option<PathBuf>,
        /// What can be done.
        hint: Option<String>,
    },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// A failure with a reason only.
    pub fn because(reason: impl Into<String>) -> Self {
        Self::Other { reason: reason.into(), log: Vec::new(), kept: None, hint: None }
    }

    /// Adds what can be done.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Other { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

/// What a builder made.
#[derive(Debug, Default)]
pub struct Built {
    /// The references of its outputs, when it knows them; else they are looked for.
    pub references: Option<BTreeSet<String>>,
}

impl Built {
    /// What names no store path (or names them for no use).
    #[must_use]
    pub fn without_references() -> Self {
        Self { references: Some(BTreeSet::new()) }
    }
}

/// One output that a builder makes.
#[derive(Debug, Clone)]
pub struct JobOutput {
    /// Its path in the logical store.
    pub path: String,
    /// Where it is made; nothing is there yet.
    pub place: PathBuf,
}

/// One derivation for a builder.
pub struct Job<'a> {
    /// The store.
    pub store: &'a Store,
    /// Path of the derivation.
    pub drv_path: &'a str,
    /// The derivation.
    pub drv: &'a Derivation,
    /// Its name.
    pub name: &'a str,
    /// Its outputs by name.
    pub outputs: BTreeMap<String, JobOutput>,
    /// Closure of its inputs.
    pub inputs: &'a BTreeSet<String>,
    /// How to make it.
    pub options: &'a Options,
    /// Who hears of it.
    pub progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Where the output `out` is made.
    ///
    /// # Errors
    /// The derivation has other outputs.
    pub fn out(&self) -> Result<&Path, Failure> {
        match self.outputs.get("out") {
            Some(output) if self.outputs.len() == 1 => Ok(&output.place),
            _ => Err(Failure::because("this builder makes one output, `out`")),
        }
    }

    /// The structured attributes, with placeholders of outputs replaced by their paths.
    ///
    /// # Errors
    /// There are none, or of another shape.
    pub fn attrs<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = self.drv.var("__json").ok_or_else(|| Failure::because("the derivation has no structured attributes"))?;
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (name, output) in &self.outputs {
            let placeholder = StoreDir::placeholder(name);
            if text.contains(&placeholder) {
                text = text.replace(&placeholder, &output.path);
            }
        }
        serde_json::from_str(&text).map_err(|error| Failure::because(format!("its arguments are not of the right shape: {error}")))
    }
}

/// What runs builders.
pub trait Builders: Sync {
    /// Makes the outputs of a derivation at their temporary places.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn build(&self, job: &Job<'_>) -> Result<Built, Failure>;

    /// Derivations of a higher rank are begun first.
    fn rank(&self, _drv: &Derivation) -> u32 {
        0
    }
}

struct Node<'a> {
    path: &'a str,
    drv: &'a Derivation,
    name: String,
    waits_for: usize,
    then: Vec<usize>,
    rank: u32,
}

/// Makes all outputs of the derivations `wanted` valid.
///
/// # Errors
/// The first failure; what runs beside it is ended or finished.
pub fn realise(
    store: &Store,
    graph: &Graph,
    wanted: &[&str],
    builders: &dyn Builders,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), BuildError> {
    let mut nodes = plan(store, graph, wanted, builders)?;
    if nodes.is_empty() {
        return Ok(());
    }
    store.begin()?;
    progress.event(Event::Planned(nodes.len()));
    let ready: BinaryHeap<(u32, std::cmp::Reverse<usize>)> =
        nodes.iter().enumerate().filter(|(_, n)| n.waits_for == 0).map(|(i, n)| (n.rank, std::cmp::Reverse(i))).collect();
    let waits: Vec<usize> = nodes.iter_mut().map(|node| node.waits_for).collect();
    let left = nodes.len();
    let work = Work {
        store,
        graph,
        builders,
        options,
        progress,
        nodes: &nodes,
        state: Mutex::new(State { ready, waits, left, error: None }),
        changed: Condvar::new(),
    };
    let workers = options.jobs.clamp(1, left);
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| work.run());
        }
        work.run();
    });
    match work.state.into_inner().unwrap_or_else(|e| e.into_inner()).error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The derivations that must be made, with who waits for whom.
fn plan<'a>(store: &Store, graph: &'a Graph, wanted: &[&'a str], builders: &dyn Builders) -> Result<Vec<Node<'a>>, BuildError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Valid,
        Node(usize),
    }
    let mut marks: HashMap<&str, Mark> = HashMap::new();
    let mut nodes: Vec<Node<'a>> = Vec::new();
    // Each entry is looked at twice: before and after what it needs.
    let mut stack: Vec<(&str, &str, bool)> = wanted.iter().map(|path| (*path, "", false)).collect();
    while let Some((path, needed_by, after)) = stack.pop() {
        let Some((path, drv)) = graph.drvs.get_key_value(path) else {
            return Err(BuildError::NoInput { drv: needed_by.to_owned(), input: path.to_owned() });
        };
        let needs = || drv.input_drvs.keys().chain(graph.after.get(path).into_iter().flatten());
        if !after {
            match marks.get(path.as_str()) {
                Some(Mark::Open) => return Err(BuildError::Cycle(path.clone())),
                Some(_) => continue,
                None => {}
            }
            if !drv.outputs.is_empty() && drv.outputs.values().all(|output| store.is_valid(&output.path)) {
                marks.insert(path, Mark::Valid);
                continue;
            }
            marks.insert(path, Mark::Open);
            stack.push((path, needed_by, true));
            for need in needs() {
                match marks.get(need.as_str()) {
                    Some(Mark::Open) => return Err(BuildError::Cycle(need.clone())),
                    Some(_) => {}
                    None => stack.push((need, path, false)),
                }
            }
            continue;
        }
        let index = nodes.len();
        let mut waits_for = 0;
        for need in needs() {
            if let Some(Mark::Node(other)) = marks.get(need.as_str()) {
                nodes[*other].then.push(index);
                waits_for += 1;
            }
        }
        let name = drv.name().unwrap_or_else(|| name_of(path).to_owned());
        nodes.push(Node { path, drv, name, waits_for, then: Vec::new(), rank: builders.rank(drv) });
        marks.insert(path, Mark::Node(index));
    }
    Ok(nodes)
}

fn name_of(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.get(33..).unwrap_or(base).trim_end_matches(".drv")
}

struct State {
    ready: BinaryHeap<(u32, std::cmp::Reverse<usize>)>,
    waits: Vec<usize>,
    left: usize,
    error: Option<BuildError>,
}

struct Work<'a> {
    store: &'a Store,
    graph: &'a Graph,
    builders: &'a dyn Builders,
    options: &'a Options,
    progress: &'a dyn Progress,
    nodes: &'a [Node<'a>],
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends the others when a worker panics, so that nobody waits for it for ever.
struct Bell<'a>(&'a Work<'a>, bool);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        if !self.1 {
            let mut state = self.0.state.lock().unwrap_or_else(|e| e.into_inner());
            state.error.get_or_insert(BuildError::Interrupted);
            self.0.changed.notify_all();
        }
    }
}

impl Work<'_> {
    fn run(&self) {
        let mut bell = Bell(self, false);
        loop {
            let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
            let index = loop {
                if state.error.is_some() || state.left == 0 {
                    bell.1 = true;
                    return;
                }
                if let Some((_, std::cmp::Reverse(index))) = state.ready.pop() {
                    break index;
                }
                state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
            };
            drop(state);
            let made = self.make(&self.nodes[index]);
            let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
            match made {
                Ok(()) => {
                    state.left -= 1;
                    let mut woken = 0;
                    for &next in &self.nodes[index].then {
                        state.waits[next] -= 1;
                        if state.waits[next] == 0 {
                            state.ready.push((self.nodes[next].rank, std::cmp::Reverse(next)));
                            woken += 1;
                        }
                    }
                    if woken > 1 || state.left == 0 {
                        self.changed.notify_all();
                    }
                }
                Err(error) => {
                    state.error.get_or_insert(error);
                    self.changed.notify_all();
                }
            }
        }
    }

    /// Makes one derivation.
    fn make(&self, node: &Node<'_>) -> Result<(), BuildError> {
        let outputs = &node.drv.outputs;
        if let Some(name) = outputs.iter().find(|(_, o)| o.path.is_empty()).map(|(name, _)| name) {
            return Err(self.failed(node, Failure::because(format!("the path of its output `{name}` is not known before it is built"))
                .hint("content-addressed and impure derivations are not supported")));
        }
        let _locks = self.lock_all(outputs.values().map(|o| o.path.as_str()))?;
        if outputs.values().all(|output| self.store.is_valid(&output.path)) {
            return Ok(());
        }
        if self.progress.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        let inputs = self.inputs(node)?;
        let mut places = BTreeMap::new();
        for (name, output) in outputs {
            let base = self.store.dir().base_name(&output.path).map_err(|_| StoreError::NotStorePath(output.path.clone()))?;
            places.insert(name.clone(), JobOutput { path: output.path.clone(), place: self.store.session()?.fresh(base) });
        }
        self.progress.event(Event::Started { drv: node.path, name: &node.name });
        let job = Job {
            store: self.store,
            drv_path: node.path,
            drv: node.drv,
            name: &node.name,
            outputs: places,
            inputs: &inputs,
            options: self.options,
            progress: self.progress,
        };
        let done = self.builders.build(&job).and_then(|built| self.commit_all(node, &job, built));
        if done.is_err() {
            for output in job.outputs.values() {
                let _ = tree::remove_tree(&output.place);
            }
        }
        done.map_err(|failure| self.failed(node, failure))?;
        self.progress.event(Event::Finished { drv: node.path, name: &node.name });
        Ok(())
    }

    fn commit_all(&self, node: &Node<'_>, job: &Job<'_>, built: Built) -> Result<(), Failure> {
        let mut candidates = job.inputs.clone();
        candidates.extend(job.outputs.values().map(|output| output.path.clone()));
        for (name, output) in &job.outputs {
            if output.place.symlink_metadata().is_err() {
                return Err(Failure::because(format!("the builder made no output `{name}` ({})", output.path)));
            }
            check_fixed(node.drv, name, &output.place)?;
        }
        for output in job.outputs.values() {
            if self.store.is_valid(&output.path) {
                tree::remove_tree(&output.place)?;
                continue;
            }
            let references = match &built.references {
                Some(references) => References::Known(references.clone()),
                None => References::Among(&candidates),
            };
            self.store.commit(&output.path, &output.place, references, Some(node.path))?;
        }
        Ok(())
    }

    /// Locks in the order of paths, so that two processes cannot wait for each other.
    fn lock_all<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Result<Vec<Lock>, BuildError> {
        let mut locks = Vec::new();
        for path in paths.collect::<BTreeSet<_>>() {
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(lock) = self.store.lock(path, Wait::No)? {
                    locks.push(lock);
                    break;
                }
                if pause > Duration::from_millis(30) && pause < Duration::from_millis(60) {
                    self.progress.event(Event::Waiting { path });
                }
                if self.progress.is_interrupted() {
                    return Err(BuildError::Interrupted);
                }
                // A blocking flock could not be interrupted.
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(64));
            }
        }
        Ok(locks)
    }

    /// Adds missing sources; gives the closure of all inputs.
    fn inputs(&self, node: &Node<'_>) -> Result<BTreeSet<String>, BuildError> {
        let mut direct: Vec<&str> = Vec::new();
        for (drv, names) in &node.drv.input_drvs {
            for name in names {
                let path = self
                    .graph
                    .output(drv, name)
                    .ok_or_else(|| BuildError::NoInput { drv: node.path.to_owned(), input: format!("{drv}!{name}") })?;
                direct.push(path);
            }
        }
        for source in &node.drv.input_srcs {
            add_source(self.store, self.graph, source, node.path)?;
            direct.push(source);
        }
        Ok(self.store.closure(direct)?)
    }

    fn failed(&self, node: &Node<'_>, failure: Failure) -> BuildError {
        match failure {
            Failure::Store(error) => BuildError::Store(error),
            Failure::Interrupted => BuildError::Interrupted,
            Failure::Other { reason, log, kept, hint } => {
                let mut needed_by = Vec::new();
                let mut at = node;
                while let Some(next) = at.then.first().filter(|_| needed_by.len() < 12) {
                    at = &self.nodes[*next];
                    needed_by.push(at.name.clone());
                }
                BuildError::Failed { name: node.name.clone(), drv: node.path.to_owned(), reason, log, kept, hint, needed_by }
            }
        }
    }
}

/// Makes a source of the graph valid, with the sources that it names. `needed_by` is for the error.
///
/// # Errors
/// It is not in the graph; it cannot be read, or the store not written.
pub fn add_source(store: &Store, graph: &Graph, path: &str, needed_by: &str) -> Result<(), BuildError> {
    if store.is_valid(path) {
        return Ok(());
    }
    match graph.sources.get(path) {
        Some(Source::Text(text, references)) => {
            for reference in references {
                // A text may also name a derivation's output, which is made when that is an input.
                if graph.sources.contains_key(reference) {
                    add_source(store, graph, reference, path)?;
                }
            }
            store.add_text(path, text, references)?;
        }
        Some(Source::Copy(from)) => store.add_copy(path, from)?,
        Some(Source::Archive(nar)) => store.add_with(path, &BTreeSet::new(), |to| {
            nbv_nix_formats::nar::unpack(&mut &nar[..], to).map_err(StoreError::io("unpack", to))
        })?,
        None => return Err(BuildError::NoInput { drv: needed_by.to_owned(), input: path.to_owned() }),
    }
    Ok(())
}

/// Checks a fixed output against the hash that its derivation promises.
fn check_fixed(drv: &Derivation, name: &str, place: &Path) -> Result<(), Failure> {
    use nbv_nix_formats::{Encoding, Hash, Method};
    let Some(output) = drv.outputs.get(name).filter(|output| output.is_fixed()) else { return Ok(()) };
    let (method, algo) = Method::split(&output.hash_algo)
        .ok_or_else(|| Failure::because(format!("hash algorithm `{}` is not known", output.hash_algo)))?;
    let found = match method {
        Method::Flat | Method::Text => {
            Hash::of(algo, &std::fs::read(place).map_err(StoreError::io("read", place))?)
        }
        Method::Recursive => {
            let mut hasher = nbv_nix_formats::hash::Hasher::new(algo);
            nbv_nix_formats::nar::dump_path(place, &mut hasher).map_err(StoreError::io("read", place))?;
            hasher.finish()
        }
        Method::Git => return Err(Failure::because("outputs by git hash are not supported")),
    };
    if found.encode(Encoding::Base16) == output.hash {
        return Ok(());
    }
    let wanted = Hash::parse(&output.hash, Some(algo)).map_or_else(|_| output.hash.clone(), |h| h.encode_typed(Encoding::Sri));
    Err(Failure::because(format!("its content has the hash {}, not {wanted}", found.encode_typed(Encoding::Sri)))
        .hint("if the new content is right, write its hash in the expression"))
}

#[cfg(test)]
mod tests;
