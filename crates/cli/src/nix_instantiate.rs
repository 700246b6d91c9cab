//! The persona `nix-instantiate`: evaluates expressions, prints values, instantiates derivations, as C++ Nix' program of that name does.
//!
//! Not here: evaluation itself (crate `eval`), the main command's settings and exit codes.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbv_diag::{Diagnostic, Origin, RenderOptions, SourceMap};
use nbv_eval::{Attrs, Evaluator, Features, Heap, Lint, Settings, Value};
use nbv_nix_formats::StoreDir;
use nbv_store::{Graph, Store};

use crate::progress::{Detail, Display};
use crate::world::{Builds, FileWorld};

/// What is done with each expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Instantiate,
    Eval,
    Parse,
    FindFile,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Plain,
    Json,
    Xml,
    Raw,
}

/// A named argument for functions.
enum Argument {
    Expression(String),
    Text(String),
}

struct Options {
    task: Task,
    output: Output,
    strict: bool,
    location: bool,
    /// Words are expressions, not files.
    expressions: bool,
    words: Vec<String>,
    attributes: Vec<String>,
    arguments: Vec<(String, Argument)>,
    search: Vec<String>,
    show_trace: bool,
    /// Whether the store is written; none given: when derivations are instantiated.
    write: Option<bool>,
    root: Option<PathBuf>,
    /// `--store`, else `NIX_REMOTE`.
    store: String,
    settings: Settings,
    /// Threads that evaluate.
    eval_cores: usize,
    /// Settings of the main command, for builds.
    build: Vec<(String, String)>,
}

/// Runs the persona with the words behind its name; gives the exit status.
pub(crate) fn main(words: Vec<std::ffi::OsString>) -> u8 {
    let words: Vec<String> = words.into_iter().map(|w| w.to_string_lossy().into_owned()).collect();
    match parse(words) {
        Ok(Some(options)) => nbv_eval::on_big_stack(|| run(&options)),
        Ok(None) => 0,
        Err(message) => {
            eprintln!("error: {message}");
            eprintln!("Try 'nix-instantiate --help' for more information.");
            1
        }
    }
}

const HELP: &str = "\
Usage: nix-instantiate [--eval | --parse | --find-file] [OPTION]... [FILE | -]...
Evaluates Nix expressions and writes their derivations to the store.

  --eval                   print the value instead
  --parse                  print the syntax tree instead
  --find-file              look the words up in the search path and print the paths
  -E, --expr               the words are expressions, not files
  -A, --attr PATH          select an attribute
  --arg NAME EXPRESSION    argument for functions; --argstr NAME TEXT
  -I [PREFIX=]PATH         add to the search path
  --strict                 evaluate the value deeply
  --json, --xml, --raw     how the value is printed; --no-location: without places
  --add-root PATH          make PATH a link to the derivation
  --read-write-mode        write to the store with --eval too; --readonly-mode: never write
  --show-trace             all steps that led to an error
  --max-call-depth N       how deep functions may call each other
  --option NAME VALUE      a setting; also as --NAME VALUE
  --extra-experimental-features NAMES
";

fn parse(words: Vec<String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        task: Task::Instantiate,
        output: Output::Plain,
        strict: false,
        location: true,
        expressions: false,
        words: Vec::new(),
        attributes: Vec::new(),
        arguments: Vec::new(),
        search: Vec::new(),
        show_trace: false,
        write: None,
        root: None,
        store: std::env::var("NIX_REMOTE").unwrap_or_default(),
        settings: default_settings(),
        eval_cores: all_cores(),
        build: Vec::new(),
    };
    if let Ok(text) = std::env::var("NIX_CONFIG") {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or("");
            if let Some((name, value)) = line.split_once('=') {
                setting(&mut options, name.trim(), value.trim())?;
            }
        }
    }
    if std::env::var("NIX_ABORT_ON_WARN").is_ok_and(|v| matches!(v.as_str(), "1" | "yes" | "true")) {
        options.settings.abort_on_warn = true;
    }
    let mut words = words.into_iter();
    let mut only_words = false;
    while let Some(word) = words.next() {
        if only_words || !word.starts_with('-') || word == "-" {
            options.words.push(word);
            continue;
        }
        let mut next = || words.next().ok_or_else(|| format!("flag '{word}' requires an argument"));
        match word.as_str() {
            "--" => only_words = true,
            "--help" => {
                print!("{HELP}");
                return Ok(None);
            }
            "--version" => {
                println!("nix-instantiate (Nix) 2.34.8 (nixos-build-vms {})", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            "--eval" | "--eval-only" => options.task = Task::Eval,
            "--parse" | "--parse-only" => options.task = Task::Parse,
            "--find-file" => options.task = Task::FindFile,
            "--expr" | "-E" => options.expressions = true,
            "--attr" | "-A" => options.attributes.push(next()?),
            "--arg" => options.arguments.push((next()?, Argument::Expression(next()?))),
            "--argstr" => options.arguments.push((next()?, Argument::Text(next()?))),
            "--include" | "-I" => options.search.push(next()?),
            "--strict" => options.strict = true,
            "--json" => options.output = Output::Json,
            "--xml" => options.output = Output::Xml,
            "--raw" => options.output = Output::Raw,
            "--no-location" => options.location = false,
            "--read-write-mode" => options.write = Some(true),
            "--readonly-mode" | "--dry-run" => options.write = Some(false),
            "--add-root" => options.root = Some(PathBuf::from(next()?)),
            "--indirect" | "--repair" | "--quiet" | "-v" | "--verbose" | "-Q" | "--no-build-output" | "--fallback" => {}
            "--option" => {
                let name = next()?;
                let value = next()?;
                setting(&mut options, &name, &value)?;
            }
            "--impure" => options.settings.is_pure = false,
            other => {
                let Some(name) = other.strip_prefix("--") else { return Err(format!("unrecognised flag '{other}'")) };
                if let Some(name) = name.strip_prefix("no-").filter(|n| is_switch(n)) {
                    setting(&mut options, name, "false")?;
                } else if is_switch(name) {
                    setting(&mut options, name, "true")?;
                } else if VALUED.contains(&name) {
                    let value = next()?;
                    setting(&mut options, name, &value)?;
                } else {
                    return Err(format!("unrecognised flag '{other}'"));
                }
            }
        }
    }
    if options.words.is_empty() && !options.expressions && options.task != Task::FindFile {
        options.words.push("./default.nix".to_owned());
    }
    let path = match std::env::var("NIX_PATH") {
        Ok(path) => path,
        Err(_) => format!("nixpkgs={}", nbv_nixlib::ROOT),
    };
    let entries: Vec<String> = options.search.drain(..).chain(search_path(&path)).collect();
    options.settings.nix_path = entries
        .into_iter()
        .map(|entry| match entry.split_once('=') {
            Some((prefix, path)) => (prefix.to_owned(), path.to_owned()),
            None => (String::new(), entry),
        })
        .collect();
    Ok(Some(options))
}

/// Entries of `NIX_PATH`: parted by colons, but for those of URLs.
fn search_path(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for part in text.split(':') {
        match out.last_mut() {
            Some(last) if part.starts_with("//") || last.ends_with("channel") || last.ends_with("flake") => {
                last.push(':');
                last.push_str(part);
            }
            _ => out.push(part.to_owned()),
        }
    }
    out.retain(|e| !e.is_empty());
    out
}

fn default_settings() -> Settings {
    let arch = match std::env::consts::ARCH {
        "x86" => "i686",
        "arm" => "armv7l",
        other => other,
    };
    Settings {
        system: format!("{arch}-linux"),
        store_dir: std::env::var("NIX_STORE_DIR").ok().filter(|d| d.starts_with('/')).unwrap_or_else(|| "/nix/store".to_owned()),
        // As the language tests of C++ Nix are run.
        features: Features { flakes: true, fetch_tree: true, ..Features::default() },
        ..Settings::default()
    }
}

/// Settings that a flag of their name without value turns on.
fn is_switch(name: &str) -> bool {
    matches!(
        name,
        "show-trace" | "pure-eval" | "restrict-eval" | "abort-on-warn" | "trace-verbose" | "allow-import-from-derivation" | "debugger"
            | "keep-going" | "ignore-try"
    )
}

/// Settings that are flags with a value.
const VALUED: &[&str] = &[
    "max-call-depth", "experimental-features", "extra-experimental-features", "lint-url-literals", "lint-short-path-literals",
    "lint-absolute-path-literals", "store", "system", "eval-system", "cores", "max-jobs", "nix-path", "log-format", "timeout",
    "eval-store", "max-silent-time", "eval-cores", "substituters", "builders",
];

/// Processors that this process may use.
fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn setting(options: &mut Options, name: &str, value: &str) -> Result<(), String> {
    let flag = || match value {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(format!("Boolean setting '{name}' has invalid value '{value}'")),
    };
    let lint = || match value {
        "ignore" => Ok(Lint::Ignore),
        "warn" => Ok(Lint::Warn),
        "fatal" => Ok(Lint::Fatal),
        _ => Err(format!("setting '{name}' has invalid value '{value}', expected 'ignore', 'warn' or 'fatal'")),
    };
    match name {
        "show-trace" => options.show_trace = flag()?,
        "pure-eval" => options.settings.is_pure = flag()?,
        "abort-on-warn" => options.settings.abort_on_warn = flag()?,
        "trace-verbose" => options.settings.trace_verbose = flag()?,
        "allow-import-from-derivation" => options.settings.allow_import_from_derivation = flag()?,
        "lint-url-literals" => options.settings.lint_url_literals = lint()?,
        "lint-short-path-literals" => options.settings.lint_short_path_literals = lint()?,
        "lint-absolute-path-literals" => options.settings.lint_absolute_path_literals = lint()?,
        "system" | "eval-system" if !value.is_empty() => options.settings.system = value.to_owned(),
        "nix-path" => options.search.extend(value.split_whitespace().map(str::to_owned)),
        "store" => value.clone_into(&mut options.store),
        "eval-cores" => {
            let cores = value.parse().map_err(|_| format!("setting 'eval-cores' has invalid value '{value}', expected a number"))?;
            options.eval_cores = if cores == 0 { all_cores() } else { cores };
        }
        "max-call-depth" => {
            options.settings.max_call_depth =
                value.parse().map_err(|_| format!("setting 'max-call-depth' has invalid value '{value}', expected a number"))?;
        }
        "experimental-features" | "extra-experimental-features" => {
            if !name.starts_with("extra-") {
                options.settings.features = Features::default();
            }
            for feature in value.split_whitespace() {
                let features = &mut options.settings.features;
                match feature {
                    "pipe-operators" => features.pipe_operators = true,
                    "flakes" => {
                        features.flakes = true;
                        features.fetch_tree = true;
                    }
                    "fetch-tree" => features.fetch_tree = true,
                    "fetch-closure" => features.fetch_closure = true,
                    "dynamic-derivations" => features.dynamic_derivations = true,
                    "ca-derivations" => features.ca_derivations = true,
                    "impure-derivations" => features.impure_derivations = true,
                    "parse-toml-timestamps" => features.parse_toml_timestamps = true,
                    _ => {}
                }
            }
        }
        // Others of nix.conf say nothing about evaluation.
        _ => options.build.push((name.to_owned(), value.to_owned())),
    }
    Ok(())
}

/// Who builds what evaluation reads.
fn builds(options: &Options, physical: &Path) -> Builds {
    if options.store.starts_with("dummy:") {
        return Builds::Refused("since NIX_REMOTE or `--store` says that there is no store", "leave it out");
    }
    if options.write == Some(false) {
        return Builds::Refused("since `--readonly-mode` forbids it", "leave `--readonly-mode` out");
    }
    let root = physical.parent().and_then(Path::parent).filter(|_| options.settings.store_dir == "/nix/store");
    let Some(root) = root.filter(|_| std::env::var_os("NIX_STORE_DIR").is_none() || options.store.starts_with('/')) else {
        return Builds::Refused("since NIX_STORE_DIR names a store that this program only writes to", "leave NIX_STORE_DIR out");
    };
    let given = options.build.clone();
    let build = move |store: &Arc<Store>, graph: &Graph, drvs: &[&str]| {
        let display = Arc::new(Display::new(Detail::Normal));
        let progress: Arc<dyn nbv_store::Progress> = display.clone();
        let built = crate::build::for_evaluation(&given)
            .and_then(|options| nbv_realise::build_for_evaluation(&options, store, graph, drvs, &progress));
        display.clear();
        built
    };
    Builds::Here(Arc::new(Store::open(root)), Box::new(build))
}

/// Where objects of the store go on disk. A store that is a folder has the store's folder below it, as in C++ Nix.
fn physical_store(options: &Options) -> PathBuf {
    let dir = options.settings.store_dir.as_str();
    if options.store.starts_with('/') {
        return Path::new(&options.store).join(dir.trim_start_matches('/'));
    }
    if std::env::var_os("NIX_STORE_DIR").is_some() {
        return PathBuf::from(dir);
    }
    let root = if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        PathBuf::from("/var/lib/nixos-build-vms")
    } else {
        let data = std::env::var_os("XDG_DATA_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/share");
        data.unwrap_or_else(home).join("nixos-build-vms")
    };
    root.join("nix/store")
}

/// What can fail: evaluation, or the system.
enum Failure {
    Diagnostic(Box<Diagnostic>),
    Message(String),
}

impl From<nbv_eval::EvalError> for Failure {
    fn from(e: nbv_eval::EvalError) -> Self {
        Self::Diagnostic(Box::new(e.into_diagnostic()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Message(e.to_string())
    }
}

fn run(options: &Options) -> u8 {
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(e) => {
            eprintln!("error: cannot tell the current folder: {e}");
            return 1;
        }
    };
    let physical = physical_store(options);
    let builds = builds(options, &physical);
    let world = Arc::new(FileWorld::new(StoreDir::new(&options.settings.store_dir), physical, cwd.clone(), builds));
    let heap = Heap::new();
    let ev = Evaluator::new(&heap, world.clone(), options.settings.clone(), Vec::new());
    let session = Session { ev: &ev, options, cwd: &cwd, world: &world };
    let mut out = std::io::stdout().lock();
    let helpers = options.eval_cores.saturating_sub(1);
    let status = match ev.with_helpers(helpers, || session.all(&mut out)).and_then(|()| out.flush().map_err(Failure::from)) {
        Ok(()) => 0,
        Err(failure) => {
            let _ = out.flush();
            report(&failure, ev.sources(), options.show_trace);
            // As in C++ Nix, a wrong hash has a status of its own.
            match &failure {
                Failure::Diagnostic(d) if d.code == "eval::hash-mismatch" => 102,
                _ => 1,
            }
        }
    };
    // Perf: the heap is left to the system; nothing in it has to be closed.
    std::mem::forget(ev);
    std::mem::forget(heap);
    status
}

fn report(failure: &Failure, sources: &SourceMap, show_trace: bool) {
    match failure {
        Failure::Message(text) => eprintln!("error: {text}"),
        Failure::Diagnostic(d) => {
            let options = RenderOptions { show_trace, ..RenderOptions::default() };
            let text = nbv_diag::render(d, sources, &options);
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                eprint!("{text}");
            } else {
                eprint!("{}", without_escapes(&text));
            }
        }
    }
}

/// The text without the terminal's control sequences that messages of Nix programs may hold.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
        } else if chars.next() == Some('[') {
            // Parameters end with a letter.
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
    }
    out
}

struct Session<'e, 'h> {
    ev: &'e Evaluator<'h>,
    options: &'e Options,
    cwd: &'e Path,
    world: &'e FileWorld,
}

/// One thing to evaluate.
enum Input {
    File(PathBuf),
    Text(Vec<u8>, bool),
}

fn origin(is_stdin: bool) -> Origin {
    if is_stdin { Origin::Stdin } else { Origin::String }
}

impl<'h> Session<'_, 'h> {
    fn inputs(&self) -> Result<Vec<Input>, Failure> {
        self.options
            .words
            .iter()
            .map(|word| {
                if word == "-" {
                    let mut text = Vec::new();
                    std::io::stdin().lock().read_to_end(&mut text)?;
                    Ok(Input::Text(text, true))
                } else if self.options.expressions {
                    Ok(Input::Text(word.clone().into_bytes(), false))
                } else {
                    Ok(Input::File(self.file(word)?))
                }
            })
            .collect()
    }

    /// The file that a word of the command line names.
    fn file(&self, word: &str) -> Result<PathBuf, Failure> {
        if let Some(name) = word.strip_prefix('<').and_then(|w| w.strip_suffix('>')) {
            return self.find_file(name);
        }
        Ok(self.cwd.join(word))
    }

    fn find_file(&self, name: &str) -> Result<PathBuf, Failure> {
        let ev = self.ev;
        let builtins = ev.force_attrs(ev.builtins())?;
        let find = ev.select(builtins, "findFile")?;
        let path = ev.cell(ev.select(builtins, "nixPath")?);
        let found = ev.call(find, &[path, ev.cell(ev.str(name))])?;
        let found = found.as_path().ok_or_else(|| Failure::Message(format!("`{name}` is no path")))?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(found.bytes())))
    }

    fn all(&self, out: &mut impl Write) -> Result<(), Failure> {
        let ev = self.ev;
        if self.options.task == Task::FindFile {
            for word in &self.options.words {
                writeln!(out, "{}", self.find_file(word)?.display())?;
            }
            return Ok(());
        }
        if self.options.task == Task::Parse {
            for input in self.inputs()? {
                let text = match input {
                    Input::File(path) => {
                        let path = ev.resolve_file(&path)?;
                        let text = std::fs::read(&path).map_err(|e| Failure::Message(format!("{}: {e}", path.display())))?;
                        ev.parse_to_text(Origin::File(path.clone()), &text, path.parent().unwrap_or(Path::new("/")))?
                    }
                    Input::Text(text, is_stdin) => ev.parse_to_text(origin(is_stdin), &text, self.cwd)?,
                };
                out.write_all(&text)?;
                out.write_all(b"\n")?;
            }
            return Ok(());
        }
        let mut fields = Vec::new();
        for (name, argument) in &self.options.arguments {
            let cell = match argument {
                Argument::Text(text) => ev.cell(ev.str(text)),
                Argument::Expression(text) => ev.cell(ev.eval_expr(text, self.cwd)?),
            };
            // Of equal names, the last counts.
            fields.insert(0, (name.clone(), cell));
        }
        let args = ev.set_of(&fields);
        let mut roots = 0;
        for input in self.inputs()? {
            let root = match input {
                Input::File(path) => ev.eval_file(&path)?,
                Input::Text(text, is_stdin) => ev.eval_source(origin(is_stdin), &text, self.cwd)?,
            };
            let whole = [String::new()];
            let paths = if self.options.attributes.is_empty() { &whole[..] } else { &self.options.attributes };
            for path in paths {
                let v = ev.find_along_path(root, path, args)?;
                if self.options.task == Task::Eval {
                    self.print(v, args, out)?;
                } else {
                    self.instantiate(v, args, &mut roots, out)?;
                }
            }
        }
        let default = self.options.task == Task::Instantiate;
        if self.options.write.unwrap_or(default) && self.options.task == Task::Eval {
            self.write_store()?;
        }
        Ok(())
    }

    fn write_store(&self) -> Result<(), Failure> {
        if self.options.store.starts_with("dummy:") || self.options.write == Some(false) {
            return Ok(());
        }
        self.world.write_store().map_err(|e| Failure::Message(format!("cannot write to the store: {e}")))
    }

    fn print(&self, v: Value<'h>, args: Attrs<'h>, out: &mut impl Write) -> Result<(), Failure> {
        let ev = self.ev;
        let v = if self.options.arguments.is_empty() { v } else { ev.auto_call(v, args)? };
        match self.options.output {
            Output::Raw => {
                let text = ev.coerce_to_string(v, false, false)?;
                out.write_all(text.bytes())?;
            }
            Output::Xml => {
                let cell = ev.cell(v);
                let (text, _) = ev.to_xml(cell, self.options.strict, self.options.location)?;
                out.write_all(&text)?;
            }
            Output::Json => {
                let text = ev.json_text(ev.cell(v))?;
                out.write_all(&text)?;
                out.write_all(b"\n")?;
            }
            Output::Plain => {
                if self.options.strict {
                    ev.force_deep(ev.cell(v))?;
                }
                let text = ev.print(v)?;
                out.write_all(&text)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn instantiate(&self, v: Value<'h>, args: Attrs<'h>, roots: &mut usize, out: &mut impl Write) -> Result<(), Failure> {
        let ev = self.ev;
        let mut lines = Vec::new();
        for found in ev.derivations(v, args)? {
            let lacks = |what: &str| Failure::Message(format!("derivation `{}` lacks the attribute `{what}`", found.path));
            let path = ev.text_attr(found.attrs, "drvPath")?.ok_or_else(|| lacks("drvPath"))?;
            let output = ev.text_attr(found.attrs, "outputName")?.unwrap_or_default();
            if output.is_empty() {
                return Err(lacks("outputName"));
            }
            lines.push((path, output));
        }
        self.write_store()?;
        for (path, output) in lines {
            let shown = match &self.options.root {
                None => path,
                Some(root) => {
                    *roots += 1;
                    let mut link = root.clone().into_os_string();
                    if *roots > 1 {
                        link.push(format!("-{roots}"));
                    }
                    let link = self.cwd.join(link);
                    let target = nbv_eval::World::physical_path(self.world, Path::new(&path));
                    make_link(&target, &link).map_err(|e| Failure::Message(format!("cannot make the link {}: {e}", link.display())))?;
                    link.display().to_string()
                }
            };
            if output == "out" {
                writeln!(out, "{shown}")?;
            } else {
                writeln!(out, "{shown}!{output}")?;
            }
        }
        Ok(())
    }
}

/// Makes a symbolic link, in the place of an older one.
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    if std::fs::symlink_metadata(link).is_ok_and(|m| !m.is_symlink()) {
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else is there"));
    }
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut part = link.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    std::os::unix::fs::symlink(target, &part)?;
    std::fs::rename(&part, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_left_out() {
        assert_eq!(without_escapes("a \u{1b}[1;31mred\u{1b}[0m b"), "a red b");
    }

    #[test]
    fn search_paths_may_hold_urls() {
        assert_eq!(search_path("a:b=c:d=https://x/y:/e"), ["a", "b=c", "d=https://x/y", "/e"]);
        assert_eq!(search_path("nixpkgs=channel:nixos-24.05::x"), ["nixpkgs=channel:nixos-24.05", "x"]);
    }
}
