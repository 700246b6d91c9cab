//! Evaluating a network: from its file to the plan and the derivations of its toplevels.
//!
//! Machines are evaluated by several threads of one evaluation. Of several failures that of the first machine (by name)
//! is told.

use crate::error::{Error, Kind};
use crate::world::HostWorld;
use nbv_diag::Diagnostic;
use nbv_eval::{Context, ContextElem, EvalError, Evaluator, Heap, PrimOp, Settings, Value};
use nbv_store::Progress;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a file describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Subject {
    /// A network: machines.
    #[default]
    Network,
    /// NixOS tests: machines and a script. The name chooses one of several.
    Test {
        /// Which one.
        name: Option<String>,
        /// As it is by hand: with the test's option `interactive`.
        is_interactive: bool,
    },
}

impl Subject {
    /// The embedded library's entry, and the names of its arguments for the file and the host's system.
    fn entry(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Network => ("import /nixpkgs/nixos/lib/network.nix", "network", "hostSystem"),
            Self::Test { .. } => ("import /nixpkgs/nixos/lib/testing.nix", "test", "system"),
        }
    }
}

/// What a test adds to its network: `result/test.json`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Its script, Python; empty when it has steps.
    #[serde(default)]
    pub script: String,
    /// Its steps; none when it has a script.
    #[serde(default)]
    pub steps: Option<Vec<nbv_plan::steps::Step>>,
    /// Seconds from the start of the script after which it has failed.
    pub global_timeout: u64,
    /// Whether the script may read text on screens.
    #[serde(default)]
    pub enable_ocr: bool,
    /// Whether the script's names are not looked at.
    #[serde(default)]
    pub skip_lint: bool,
}

/// What to evaluate.
pub struct Request<'a> {
    /// Absolute path of the network file.
    pub network: &'a Path,
    /// What the file describes.
    pub subject: Subject,
    /// The host's system, `x86_64-linux`.
    pub system: &'a str,
    /// Settings of the language; `<nixpkgs>` falls back to the embedded library.
    pub settings: Settings,
    /// Built-ins besides the standard ones.
    pub primops: Vec<PrimOp>,
    /// Evaluating threads.
    pub threads: usize,
}

/// What a network evaluated to.
#[derive(Debug)]
pub struct Instantiated {
    /// The network plan, less what machines boot.
    pub plan: serde_json::Value,
    /// Paths of the toplevels' derivations by machine.
    pub toplevels: BTreeMap<String, String>,
    /// What the configuration warns of.
    pub warnings: Vec<String>,
    /// The test, when the file is one.
    pub test: Option<Test>,
    /// What the test's script names of the store, which the machines then have: derivations with an output, and sources.
    pub script_needs: (Vec<(String, String)>, Vec<String>),
}

/// Evaluates a network in `world`, which then has the derivations.
///
/// # Errors
/// What evaluation says; an interruption.
pub fn instantiate(world: &Arc<HostWorld>, request: Request<'_>, progress: &dyn Progress) -> Result<Instantiated, Error> {
    let Request { network, subject, system, mut settings, primops, threads } = request;
    system.clone_into(&mut settings.system);
    settings.nix_path.push(("nixpkgs".to_owned(), nbv_nixlib::ROOT.to_owned()));
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let ev = Evaluator::new(&heap, world.clone(), settings, primops);
        let done = AtomicBool::new(false);
        let stop = ev.interrupter();
        let result = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    if progress.is_interrupted() {
                        stop();
                        return;
                    }
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            });
            let result = ev.with_helpers(threads.saturating_sub(1), || evaluate(&ev, network, &subject, system));
            done.store(true, Ordering::Release);
            watch.thread().unpark();
            result
        });
        if progress.is_interrupted() {
            return Err(nbv_store::BuildError::Interrupted.into());
        }
        result.map_err(|error| {
            if let Some(mut told) = world.take_build_error() {
                told.diagnostics.push(error.into_diagnostic());
                told.sources = ev.sources().clone();
                return told;
            }
            Error { kind: Kind::Input, diagnostics: vec![error.into_diagnostic()], sources: ev.sources().clone(), tests: Vec::new() }
        })?
        .map_err(|tests| Error {
            tests,
            ..Error::new(Kind::SeveralTests, Diagnostic::error("input::several-tests", format!("{} has several tests", network.display())))
        })
    })
}

/// What the file gives, or the names of its tests when there are several.
fn evaluate<'h>(ev: &Evaluator<'h>, network: &Path, subject: &Subject, system: &str) -> Result<Result<Instantiated, Vec<String>>, EvalError> {
    let (entry, file_name, system_name) = subject.entry();
    let entry = ev.eval_expr(entry, Path::new("/"))?;
    let mut arguments = vec![ev.attr(file_name, ev.path(network.as_os_str().as_bytes())), ev.attr(system_name, ev.str(system))];
    if let Subject::Test { name: Some(name), .. } = subject {
        arguments.push(ev.attr("attribute", ev.str(name)));
    }
    let arguments = ev.attrs(arguments);
    let whole = ev.cell(ev.call(entry, &[ev.cell(arguments)])?);
    let mut whole = ev.force_attrs(whole)?;
    if let Subject::Test { is_interactive: true, .. } = subject
        && let Ok(by_hand) = ev.select(whole, "interactive")
    {
        whole = ev.force_attrs(ev.cell(by_hand))?;
    }
    let texts = |name: &str| -> Result<Vec<String>, EvalError> {
        let list = ev.cell(ev.select(whole, name).unwrap_or_else(|_| Value::list(&[])));
        ev.force_list(list)?.iter().map(|text| Ok(String::from_utf8_lossy(ev.force_string(*text)?.bytes()).into_owned())).collect()
    };
    let several = texts("several")?;
    if !several.is_empty() {
        return Ok(Err(several));
    }
    let toplevels = ev.cell(ev.select(whole, "toplevels")?);
    let toplevels = ev.force_attrs(toplevels)?;
    let machines: Vec<_> = toplevels.by_name(ev.symbols()).into_iter().map(|attr| (ev.display(attr.name).into_owned(), attr.value)).collect();
    let cells: Vec<_> = machines.iter().map(|machine| machine.1).collect();
    let paths = ev.in_order(&cells, |_, toplevel| {
        let path = ev.cell(ev.select(ev.force_attrs(toplevel)?, "drvPath")?);
        Ok(String::from_utf8_lossy(ev.force_string(path)?.bytes()).into_owned())
    })?;
    let drvs: BTreeMap<String, String> = machines.into_iter().map(|machine| machine.0).zip(paths).collect();
    let plan = ev.cell(ev.select(whole, "plan")?);
    let plan = ev.force_string(plan)?;
    check_context(plan.context(), &drvs)?;
    let plan = serde_json::from_slice(plan.bytes())
        .map_err(|error| EvalError::new("eval::plan", format!("the library gave a plan that is not JSON: {error}")))?;
    let warnings = texts("warnings")?;
    let text = |name: &str| -> Result<String, EvalError> {
        Ok(String::from_utf8_lossy(ev.force_string(ev.cell(ev.select(whole, name)?))?.bytes()).into_owned())
    };
    let mut script_needs = (Vec::new(), Vec::new());
    let test = match subject {
        Subject::Network => None,
        Subject::Test { .. } => {
            let limit = ev.cell(ev.select(whole, "globalTimeout")?);
            let global_timeout = u64::try_from(ev.force_int(limit)?).unwrap_or(0);
            let skip_lint = ev.force_bool(ev.cell(ev.select(whole, "skipLint")?))?;
            let script = ev.force_string(ev.cell(ev.select(whole, "testScript")?))?;
            for elem in script.context().elems() {
                match elem {
                    ContextElem::Built { drv, output } => script_needs.0.push(((*drv).to_owned(), (*output).to_owned())),
                    ContextElem::Opaque(path) if !path.ends_with(".drv") => script_needs.1.push((*path).to_owned()),
                    // Machines have no derivations.
                    ContextElem::Opaque(_) | ContextElem::DrvDeep(_) => {}
                }
            }
            let enable_ocr = ev.force_bool(ev.cell(ev.select(whole, "enableOCR")?))?;
            let steps = serde_json::from_str(&text("testSteps")?)
                .map_err(|error| EvalError::new("eval::plan", format!("the library gave steps that are none: {error}")))?;
            Some(Test { name: text("name")?, script: String::from_utf8_lossy(script.bytes()).into_owned(), steps, global_timeout, enable_ocr, skip_lint })
        }
    };
    Ok(Ok(Instantiated { plan, toplevels: drvs, warnings, test, script_needs }))
}

/// What the plan names must be built with it: toplevels only.
fn check_context(context: Context<'_>, drvs: &BTreeMap<String, String>) -> Result<(), EvalError> {
    for elem in context.elems() {
        let is_toplevel = matches!(elem, ContextElem::Built { drv, .. } if drvs.values().any(|known| known == drv));
        if !is_toplevel {
            return Err(Diagnostic::error("eval::plan", format!("the plan refers to `{}`, which is part of no machine", elem.encode()))
                .hint("paths of the store belong into a machine's configuration (environment.etc, systemd units), not into options of the host such as virtualisation.qemu.options")
                .into());
        }
    }
    Ok(())
}
