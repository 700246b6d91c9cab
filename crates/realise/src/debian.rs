//! Debian's archive for evaluation and for progress: the built-in `nbvDebianIndex`, and events in the store's words.
//!
//! The set of an index is made at its first look; what an attribute holds is made when it is looked at.

use nbv_debian::{Archive, DebianError, System};
use nbv_eval::{Attr, EvalError, EvalResult, Evaluator, PrimOp, Ref, Value};
use nbv_store::{Event, Progress};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Passes Debian's events on.
pub(crate) struct Bridge {
    progress: Arc<dyn Progress>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Bridge {
    pub(crate) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, done: AtomicU64::new(0), total: AtomicU64::new(0) }
    }
}

/// What the bytes of a transfer are.
const PACKAGES: &str = "Debian packages";

impl nbv_debian::Progress for Bridge {
    fn event(&self, event: nbv_debian::Event<'_>) {
        match event {
            nbv_debian::Event::Mirror { url } => self.progress.event(Event::Step(&format!("packages come from {url}"))),
            nbv_debian::Event::Index { system, .. } => self.progress.event(Event::Step(&format!("fetching the index of Debian's packages for {system}"))),
            nbv_debian::Event::FetchBegin { files, bytes } => {
                let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if files > 0 {
                    self.progress.event(Event::Fetched { what: PACKAGES, done: self.done.load(Ordering::Relaxed), total });
                }
            }
            nbv_debian::Event::FetchBytes { bytes } => {
                let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                self.progress.event(Event::Fetched { what: PACKAGES, done, total: self.total.load(Ordering::Relaxed) });
            }
            nbv_debian::Event::Warning { text } => self.progress.event(Event::Warning(text)),
            nbv_debian::Event::FetchDone { .. } | nbv_debian::Event::Unpacked { .. } | nbv_debian::Event::LayerDone { .. } => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.progress.is_interrupted()
    }
}

/// Where a failure of the archive waits until evaluation, which it ended, has told.
pub(crate) type Failed = Arc<Mutex<Option<DebianError>>>;

/// The built-ins that look into Debian's archive.
pub(crate) fn primops(archive: &Arc<Archive>, failed: &Failed) -> Vec<PrimOp> {
    let op = |name: &'static str, arity, code: Code| {
        let (archive, failed) = (archive.clone(), failed.clone());
        PrimOp::closure(name, arity, Arc::new(move |ev, args| code(ev, args, &archive, &failed)))
    };
    vec![
        op("nbvDebianIndex", 1, index),
        op("__nbvDebianPackage", 2, package),
        op("__nbvDebianDescription", 2, description),
        op("__nbvDebianProvides", 1, provides),
    ]
}

type Code = for<'h, 'a> fn(&'a Evaluator<'h>, &'a [Ref<'h>], &Archive, &Failed) -> EvalResult<Value<'h>>;

/// The index of the system that a value names.
fn find<'h>(ev: &Evaluator<'h>, system: Ref<'h>, archive: &Archive, failed: &Failed) -> EvalResult<Arc<nbv_debian::Index>> {
    let name = ev.force_plain_string(system)?;
    let name = String::from_utf8_lossy(name.bytes()).into_owned();
    System::by_name(&name).and_then(|system| archive.index(system)).map_err(|error| {
        let told = EvalError::new(code(&error), error.to_string());
        failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
        told
    })
}

/// The stable name of a failure of the archive.
pub(crate) fn code(error: &DebianError) -> &'static str {
    match error {
        DebianError::NoMirror | DebianError::BadMirror { .. } => "debian::no-mirror",
        DebianError::UnknownSystem { .. } => "debian::unsupported-system",
        DebianError::Fetch { .. } | DebianError::Status { .. } | DebianError::Short { .. } => "debian::fetch",
        DebianError::BadHash { .. } => "debian::hash",
        DebianError::DiskFull { .. } => "store::disk-full",
        DebianError::Signature { .. } => "debian::signature",
        DebianError::Unresolved(_) => "debian::unresolved",
        DebianError::LockMoved(_) | DebianError::LockLacks(_) => "debian::lock",
        _ => "debian::failed",
    }
}

/// A cell that applies one of the built-ins here to the system, and to what follows.
fn partial<'h>(ev: &Evaluator<'h>, name: &str, system: Ref<'h>) -> EvalResult<Ref<'h>> {
    let builtins = ev.force_attrs(ev.builtins())?;
    let function = ev.select(builtins, name)?;
    Ok(ev.cell(ev.call(function, &[system])?))
}

fn index<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], archive: &Archive, failed: &Failed) -> EvalResult<Value<'h>> {
    let index = find(ev, args[0], archive, failed)?;
    let package = partial(ev, "__nbvDebianPackage", args[0])?;
    let mut attrs: Vec<Attr<'h>> = Vec::with_capacity(index.len() + 1);
    for (name, _) in index.packages() {
        let name = ev.intern(name.as_bytes());
        attrs.push(Attr { name, pos: 0, value: ev.lazy_call(package, ev.cell(ev.symbol_str(name))) });
    }
    let builtins = ev.force_attrs(ev.builtins())?;
    let provides = ev.cell(ev.select(builtins, "__nbvDebianProvides")?);
    attrs.push(Attr { name: ev.intern(b"_provides"), pos: 0, value: ev.lazy_call(provides, args[0]) });
    Ok(ev.attrs(attrs))
}

/// The package that the arguments name.
fn look_up<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], archive: &Archive, failed: &Failed) -> EvalResult<(Arc<nbv_debian::Index>, nbv_debian::PackageId)> {
    let index = find(ev, args[0], archive, failed)?;
    let name = ev.force_string(args[1])?;
    let name = String::from_utf8_lossy(name.bytes()).into_owned();
    let id = index.find(&name).ok_or_else(|| EvalError::new("debian::no-package", format!("Debian has no package `{name}`")))?;
    Ok((index, id))
}

fn package<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], archive: &Archive, failed: &Failed) -> EvalResult<Value<'h>> {
    let (index, id) = look_up(ev, args, archive, failed)?;
    let description = partial(ev, "__nbvDebianDescription", args[0])?;
    Ok(ev.attrs(vec![
        ev.attr("version", ev.str(index.version(id))),
        Attr { name: ev.intern(b"description"), pos: 0, value: ev.lazy_call(description, args[1]) },
    ]))
}

fn description<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], archive: &Archive, failed: &Failed) -> EvalResult<Value<'h>> {
    let (index, id) = look_up(ev, args, archive, failed)?;
    let stanza = index.stanza(id).map_err(|error| EvalError::new(code(&error), error.to_string()))?;
    Ok(ev.str(stanza.get("Description").unwrap_or_default().lines().next().unwrap_or_default().trim()))
}

fn provides<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], archive: &Archive, failed: &Failed) -> EvalResult<Value<'h>> {
    let index = find(ev, args[0], archive, failed)?;
    let mut by_name: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, provider) in index.provided() {
        by_name.entry(name).or_default().push(provider);
    }
    let attrs = by_name
        .into_iter()
        .map(|(name, mut providers)| {
            providers.dedup();
            let providers: Vec<Ref<'h>> = providers.into_iter().map(|provider| ev.cell(ev.str(provider))).collect();
            ev.attr(name, ev.list(&providers))
        })
        .collect();
    Ok(ev.attrs(attrs))
}
