//! `nixos-build-vms network.nix`: from flags and settings to the realiser, and back to what a user reads.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nbv_diag::RenderOptions;
use nbv_realise::{BuildOptions, BuildResult, Kind, Subject};

use crate::args::Build;
use crate::exit::Exit;
use crate::progress::{Detail, Display, INTERRUPTED};
use crate::settings::{Origin, Settings};

/// Builds the network of the flags; prints nothing on standard output.
pub(crate) fn build(flags: &Build) -> Result<BuildResult, Exit> {
    build_subject(flags, Subject::Network)
}

/// Builds what a file describes.
pub(crate) fn build_subject(flags: &Build, subject: Subject) -> Result<BuildResult, Exit> {
    try_build(flags, subject)?.map_err(|error| {
        let is_asked = flags.show_trace || settings(flags).is_ok_and(|settings| settings.flag("show-trace") == Some(true));
        show(&error, &style(is_asked))
    })
}

/// Builds what a file describes; the inner error is not told yet.
pub(crate) fn try_build(flags: &Build, subject: Subject) -> Result<Result<BuildResult, nbv_realise::Error>, Exit> {
    let settings = settings(flags)?;
    let detail = Detail::from_flags(flags.verbosity);
    if detail > Detail::Quiet {
        settings.warnings.iter().for_each(|warning| warn(warning));
    }
    let options = options(flags, subject, &settings).map_err(|message| fail(&message, Exit::Input))?;
    if detail > Detail::Quiet {
        let here = std::env::current_dir().unwrap_or_default();
        for path in missing_entries(&options.search_path, &here) {
            warn(&format!("entry `{path}` of the search path does not exist; it is ignored"));
        }
    }
    watch_signals();
    let display = Arc::new(Display::new(detail));
    let progress: Arc<dyn nbv_store::Progress> = display.clone();
    let built = nbv_realise::build(&options, &progress);
    display.clear();
    Ok(built)
}

/// How diagnostics are written on this terminal.
pub(crate) fn style(show_trace: bool) -> RenderOptions {
    RenderOptions { colour: has_colour(), show_trace, relative_to: std::env::current_dir().ok(), library: Some(nbv_nixlib::ROOT.into()) }
}

/// Writes the diagnostics of a failure; gives its exit.
pub(crate) fn show(error: &nbv_realise::Error, style: &RenderOptions) -> Exit {
    for diagnostic in &error.diagnostics {
        let _closed = write!(std::io::stderr(), "{}", nbv_diag::render(diagnostic, &error.sources, style));
    }
    match error.kind {
        Kind::Input | Kind::SeveralTests => Exit::Input,
        Kind::Build => Exit::Build,
        Kind::Interrupted => {
            let _closed = writeln!(std::io::stderr(), "interrupted");
            Exit::Interrupted
        }
    }
}

/// The settings of files, environment and flags.
pub(crate) fn settings(flags: &Build) -> Result<Settings, Exit> {
    let refuse = |error: crate::settings::SettingError| fail(&error.to_string(), Exit::Input);
    let mut settings = Settings::load(&|name| std::env::var(name).ok()).map_err(refuse)?;
    for (name, value) in &flags.options {
        settings.set(name, value, &Origin::CommandLine).map_err(refuse)?;
    }
    Ok(settings)
}

/// What the realiser is asked, from flags, settings and environment.
pub(crate) fn options(flags: &Build, subject: Subject, settings: &Settings) -> Result<BuildOptions, String> {
    let here = std::env::current_dir().map_err(|error| format!("the current folder is not known: {error}"))?;
    if let Some(base) = settings.text("base")
        && base != "debian"
    {
        return Err(format!("setting `base` has the value `{base}`; this version knows only `debian`"));
    }
    let limit = |name: &str| settings.number(name).and_then(|value| usize::try_from(value).ok());
    let mut make = nbv_store::Options::default();
    if let Some(jobs) = limit("max-jobs").filter(|jobs| *jobs > 0) {
        make.jobs = jobs;
    }
    make.cores = limit("cores").unwrap_or(make.cores);
    make.log_lines = limit("log-lines").unwrap_or(make.log_lines);
    make.keep_failed = settings.flag("keep-failed").unwrap_or(make.keep_failed);
    make.timeout = settings.number("timeout").filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let mut search_path: Vec<(String, String)> = flags.search_path.iter().map(|entry| search_entry(entry)).collect();
    match std::env::var("NIX_PATH") {
        Ok(path) => search_path.extend(split_search_path(&path).map(search_entry)),
        Err(_) => search_path.extend(settings.list("nix-path").iter().map(|entry| search_entry(entry))),
    }
    if settings.text("base").is_none()
        && let Some(tree) = nixpkgs_tree(&search_path, &here)
    {
        return Err(format!(
            "the search path has a nixpkgs at {tree}; this version makes machines of its embedded library only: \
             --base debian does so (<nixpkgs> in your files still means that tree), or take it from NIX_PATH and -I"
        ));
    }
    Ok(BuildOptions {
        network: here.join(&flags.network),
        subject,
        out_link: flags.out_link.as_ref().map(|link| here.join(link)),
        store: settings.text("store").map_or_else(default_store, |store| here.join(store)),
        cache: cache_dir(),
        program: std::env::current_exe().map_err(|error| format!("this program's own file is not known: {error}"))?,
        system: host_system(),
        search_path,
        env: nbv_realise::environment(std::env::vars_os()),
        time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0)),
        mirror: settings.text("debian-mirror").map(str::to_owned),
        connections: limit("http-connections").filter(|count| *count > 0),
        lock: flags.lock.as_ref().map(|lock| here.join(lock)),
        update_lock: flags.update_lock,
        make,
        max_call_depth: settings.number("max-call-depth").and_then(|depth| u32::try_from(depth).ok()),
    })
}

/// How the persona `nix-instantiate` builds what an expression reads: settings of files and environment, and those given.
pub(crate) fn for_evaluation(given: &[(String, String)]) -> Result<BuildOptions, nbv_realise::Error> {
    let refuse = |message: String| nbv_realise::Error::settings(message);
    let mut settings = Settings::load(&|name| std::env::var(name).ok()).map_err(|e| refuse(e.to_string()))?;
    let base = ("base".to_owned(), "debian".to_owned());
    for (name, value) in given.iter().chain([&base]) {
        settings.set(name, value, &Origin::CommandLine).map_err(|e| refuse(e.to_string()))?;
    }
    options(&Build::default(), Subject::Network, &settings).map_err(refuse)
}

/// `prefix=path`, or a path.
fn search_entry(entry: &str) -> (String, String) {
    match entry.split_once('=') {
        Some((prefix, path)) => (prefix.to_owned(), path.to_owned()),
        None => (String::new(), entry.to_owned()),
    }
}

/// The nixpkgs tree (a folder with nixos/) on this host that `<nixpkgs>` means, if any.
fn nixpkgs_tree(search_path: &[(String, String)], here: &Path) -> Option<String> {
    let mut candidates = search_path.iter().filter_map(|(prefix, value)| match prefix.as_str() {
        "nixpkgs" => Some(here.join(value)),
        "" => Some(here.join(value).join("nixpkgs")),
        _ => None,
    });
    let found = candidates.find(|path| path.exists())?;
    found.join("nixos").is_dir().then(|| found.display().to_string())
}

/// Entries that are paths of this host and not there; Nix warns of these too.
fn missing_entries(search_path: &[(String, String)], here: &Path) -> Vec<String> {
    let is_path = |value: &str| !value.contains("://") && !value.starts_with("flake:") && !value.starts_with("channel:");
    search_path.iter().filter(|(_, value)| is_path(value) && !here.join(value).exists()).map(|(_, value)| value.clone()).collect()
}

/// Splits NIX_PATH at colons that are not part of an address (`https://`).
fn split_search_path(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .char_indices()
            .find(|(at, c)| *c == ':' && !rest[at + 1..].starts_with("//"))
            .map_or(rest.len(), |(at, _)| at);
        let entry = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(entry)
    })
    .filter(|entry| !entry.is_empty())
}

/// The host's system in Nix' words.
pub(crate) fn host_system() -> String {
    let arch = match std::env::consts::ARCH {
        "x86" => "i686",
        other => other,
    };
    format!("{arch}-linux")
}

fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

fn absolute_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn home() -> PathBuf {
    absolute_env("HOME").unwrap_or_else(|| "/".into())
}

/// The store's root: docs/architecture.md, 'Store on disk'.
pub(crate) fn default_store() -> PathBuf {
    if is_root() {
        return Path::new("/var/lib").join("nixos-build-vms");
    }
    absolute_env("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share")).join("nixos-build-vms")
}

/// Downloads and memories. A set XDG_CACHE_HOME wins, for root too.
pub(crate) fn cache_dir() -> PathBuf {
    let parent = absolute_env("XDG_CACHE_HOME").unwrap_or_else(|| if is_root() { "/var/cache".into() } else { home().join(".cache") });
    parent.join("nixos-build-vms")
}

/// Whether standard error gets colours.
pub(crate) fn has_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes an error and gives the exit back.
pub(crate) fn fail(message: &str, exit: Exit) -> Exit {
    let (start, end) = if has_colour() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _closed = writeln!(std::io::stderr(), "{start}error{end}: {message}");
    exit
}

/// Writes an error with its causes.
pub(crate) fn fail_with(error: &dyn std::error::Error, exit: Exit) -> Exit {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    fail(&message, exit)
}

pub(crate) fn warn(message: &str) {
    let _closed = writeln!(std::io::stderr(), "warning: {message}");
}

/// The first signal asks the build to stop; the second ends the process at once. Nothing half-made is ever registered.
fn watch_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            // A step that cannot be stopped, such as a long evaluation, does not hold the user up.
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_secs(3));
                std::process::exit(i32::from(Exit::Interrupted.code()));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_split_at_colons_but_not_in_addresses() {
        let entries: Vec<_> = split_search_path("a=b:/c::nixpkgs=https://x/y.tar:z").collect();
        assert_eq!(entries, ["a=b", "/c", "nixpkgs=https://x/y.tar", "z"]);
        assert_eq!(search_entry("a=b=c"), ("a".into(), "b=c".into()));
    }
}
