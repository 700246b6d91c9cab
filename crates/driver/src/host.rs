//! What the library is told about the process that it runs in: made once, by the command.
//!
//! Nothing else here reads the environment, handles signals or knows whether a terminal is there.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::state;

/// Signals within this time are one.
const ONE_INTERRUPT: Duration = Duration::from_millis(500);

/// The process's surroundings.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where networks of this user are listed.
    pub base_dir: PathBuf,
    /// Where facts about this host are kept between runs.
    pub cache_dir: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// This program's file.
    pub exe: PathBuf,
    /// The current folder.
    pub current_dir: PathBuf,
    /// `NIXOS_BUILD_VMS_STATE_DIR`, which a command of `--wait-ready` has.
    pub state_dir: Option<PathBuf>,
    /// Whether standard output is a terminal that wants colours.
    pub has_colour: bool,
}

/// The variable that tells a waited-for command where its network is.
pub const STATE_DIR_VARIABLE: &str = "NIXOS_BUILD_VMS_STATE_DIR";

impl Host {
    /// Reads the environment.
    ///
    /// # Errors
    /// The program's own file or the current folder is not known.
    pub fn from_environment() -> std::io::Result<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Ok(Self {
            base_dir: state::base_dir(std::env::var_os("XDG_RUNTIME_DIR").as_deref()),
            cache_dir: cache.map(|dir| dir.join("nixos-build-vms")),
            path: std::env::var_os("PATH"),
            exe: std::env::current_exe()?,
            current_dir: std::env::current_dir()?,
            state_dir: std::env::var_os(STATE_DIR_VARIABLE).map(PathBuf::from),
            has_colour: std::io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        })
    }
}

/// Turns SIGINT, SIGTERM and SIGHUP of this process into messages, also where a shell had them ignored. Signals within half a second
/// are one: a terminal and a wrapper may both send.
///
/// # Errors
/// The handlers cannot be set.
pub fn interrupts() -> std::io::Result<Receiver<()>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut last: Option<Instant> = None;
        for _ in signals.forever() {
            if last.is_none_or(|last| last.elapsed() > ONE_INTERRUPT) {
                last = Some(Instant::now());
                if sender.send(()).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(receiver)
}
