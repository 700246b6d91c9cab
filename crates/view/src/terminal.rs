//! The terminal: when it serves, and how it comes back to what it was.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use crate::draw::Look;

/// The name of the thread that draws.
pub(crate) const THREAD: &str = "view";
/// Enters the other screen, hides the cursor, has pasted text marked.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?2004h";
/// Undoes [`ENTER`], and what a shell may have asked for: keys of applications.
const LEAVE: &str = "\x1b[0m\x1b[?2004l\x1b[?1l\x1b>\x1b[?25h\x1b[?1049l";

static IS_ENTERED: AtomicBool = AtomicBool::new(false);
/// What other threads said of their panics while the screen was ours.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a full screen can be shown: standard input and output are a terminal that can move its cursor, and it is not another
/// process's turn to use it (a run in the background, or under `timeout`).
#[must_use]
pub fn is_wanted() -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    let is_ours = || rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
    io::stdin().is_terminal() && io::stdout().is_terminal() && is_ours() && !term.is_empty() && term != "dumb"
}

/// How this terminal is drawn on. Signs beyond ASCII are not used where the locale says another encoding, nor on Linux' own console, whose
/// font lacks them.
pub(crate) fn look(has_colour: bool) -> Look {
    let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(value).map(|locale| locale.to_ascii_uppercase());
    let is_utf8 = locale.is_none_or(|locale| locale.contains("UTF-8") || locale.contains("UTF8"));
    Look { has_colour, has_unicode: is_utf8 && value("TERM").is_none_or(|term| term != "linux") }
}

/// Gives the terminal back; does nothing when it was given back already.
pub(crate) fn restore() {
    if IS_ENTERED.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        // A terminal that hung up takes nothing any more.
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

/// The full screen, until dropped.
pub(crate) struct Full(());

impl Full {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It does not let itself be set.
    pub(crate) fn enter() -> io::Result<Self> {
        static HOOK: OnceLock<()> = OnceLock::new();
        HOOK.get_or_init(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if IS_ENTERED.load(Ordering::SeqCst) && std::thread::current().name() != Some(THREAD) {
                    // It would be drawn over: it is said when the screen is left.
                    SAID.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
                } else {
                    restore();
                    before(info);
                }
            }));
        });
        enable_raw_mode()?;
        IS_ENTERED.store(true, Ordering::SeqCst);
        let full = Self(());
        let mut out = io::stdout();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(full)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        restore();
    }
}

/// What was said of panics in other threads while the screen was taken.
pub(crate) fn take_said() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner))
}
