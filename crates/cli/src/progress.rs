//! Progress of a build on standard error: one line that changes on a terminal, plain lines otherwise.
//!
//! Standard output stays the result's path alone.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nbv_store::{Event, Progress};

/// Set by the signal handler; a build looks at it between steps.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Errors and warnings only.
    Quiet,
    /// Steps, and transfers with bytes and rate.
    Normal,
    /// Every derivation too, and the output of builders.
    Verbose,
}

impl Detail {
    /// From the count of `-v` less that of `-q`.
    pub(crate) fn from_flags(verbosity: i32) -> Self {
        match verbosity {
            i32::MIN..=-1 => Self::Quiet,
            0 => Self::Normal,
            1.. => Self::Verbose,
        }
    }
}

/// The display.
pub(crate) struct Display {
    detail: Detail,
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    step: String,
    planned: usize,
    made: usize,
    running: Vec<String>,
    fetches: BTreeMap<String, Fetch>,
    drawn: Option<Instant>,
    is_shown: bool,
}

struct Fetch {
    begun: Instant,
    done: u64,
    total: u64,
    is_reported: bool,
}

impl Display {
    /// A display for this process' standard error.
    pub(crate) fn new(detail: Detail) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { detail, is_terminal, state: Mutex::default() }
    }

    /// Removes the changing line, so that other text can be written.
    pub(crate) fn clear(&self) {
        if let Ok(mut state) = self.state.lock() {
            erase(&mut state);
        }
    }

    fn line(&self, state: &mut State, text: &str) {
        erase(state);
        let _closed = writeln!(std::io::stderr(), "{text}");
    }

    fn draw(&self, state: &mut State) {
        if !self.is_terminal || state.drawn.is_some_and(|last| last.elapsed() < Duration::from_millis(80)) {
            return;
        }
        let mut parts = Vec::new();
        if state.planned > 0 && state.made < state.planned {
            parts.push(format!("built {}/{}", state.made, state.planned));
        }
        for (what, fetch) in state.fetches.iter().filter(|(_, fetch)| !fetch.is_reported) {
            parts.push(format!("{what} {}", amount(fetch)));
        }
        match state.running.last() {
            Some(name) if state.fetches.values().all(|fetch| fetch.is_reported) => parts.push(name.clone()),
            Some(_) | None => {}
        }
        if parts.is_empty() {
            parts.push(state.step.clone());
        }
        let width = usize::from(terminal_width().saturating_sub(1));
        let text: String = parts.join(" · ").chars().take(width).collect();
        let _closed = write!(std::io::stderr(), "\r\x1b[K{text}");
        let _closed = std::io::stderr().flush();
        state.is_shown = true;
        state.drawn = Some(Instant::now());
    }
}

impl Progress for Display {
    fn event(&self, event: Event<'_>) {
        let Ok(mut state) = self.state.lock() else { return };
        match event {
            Event::Warning(text) => return self.line(&mut state, &format!("warning: {text}")),
            Event::Trace(text) => return self.line(&mut state, &format!("trace: {text}")),
            _ => {}
        }
        if self.detail == Detail::Quiet {
            return;
        }
        let plain = !self.is_terminal;
        match event {
            Event::Planned(count) => state.planned += count,
            Event::Started { name, .. } => {
                if self.detail == Detail::Verbose {
                    self.line(&mut state, &format!("building {name}"));
                }
                state.running.push(name.to_owned());
            }
            Event::Finished { name, .. } => {
                state.made += 1;
                state.running.retain(|other| other != name);
            }
            Event::Log { name, line } if self.detail == Detail::Verbose => self.line(&mut state, &format!("{name}> {line}")),
            Event::Log { .. } | Event::Warning(_) | Event::Trace(_) => {}
            Event::Waiting { path } => self.line(&mut state, &format!("waiting for another build of {path}")),
            Event::Fetched { what, done, total } => {
                let fetch = state.fetches.entry(what.to_owned()).or_insert_with(|| Fetch {
                    begun: Instant::now(),
                    done: 0,
                    total,
                    is_reported: false,
                });
                fetch.done = done;
                fetch.total = total;
                if total > 0 && done >= total && !fetch.is_reported {
                    fetch.is_reported = true;
                    let text = format!("fetched {what} {}", amount(fetch));
                    self.line(&mut state, &text);
                }
            }
            Event::Step(text) => {
                text.clone_into(&mut state.step);
                if plain || self.detail == Detail::Verbose {
                    self.line(&mut state, text);
                }
            }
        }
        self.draw(&mut state);
    }

    fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

fn erase(state: &mut State) {
    if std::mem::take(&mut state.is_shown) {
        let _closed = write!(std::io::stderr(), "\r\x1b[K");
    }
}

fn amount(fetch: &Fetch) -> String {
    let seconds = fetch.begun.elapsed().as_secs_f64();
    let rate = if seconds > 0.05 { format!(", {}/s", bytes((fetch.done as f64 / seconds) as u64)) } else { String::new() };
    if fetch.total > fetch.done { format!("{} of {}{rate}", bytes(fetch.done), bytes(fetch.total)) } else { format!("{}{rate}", bytes(fetch.done)) }
}

/// A count of bytes in decimal units: `3.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c < 1e3 => format!("{c} B"),
        c if c < 1e6 => format!("{:.0} kB", c / 1e3),
        c if c < 1e9 => format!("{:.1} MB", c / 1e6),
        c => format!("{:.2} GB", c / 1e9),
    }
}

fn terminal_width() -> u16 {
    // SAFETY: `winsize` is plain data for which all zeroes is a valid value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the pointer, which is valid for the call.
    let done = unsafe { libc::ioctl(2, libc::TIOCGWINSZ, &raw mut size) };
    if done == 0 && size.ws_col > 0 { size.ws_col } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (41_500, "42 kB"), (98_000_000, "98.0 MB"), (2_345_000_000, "2.35 GB")] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn flags_choose_the_detail() {
        assert_eq!([-2, 0, 3].map(Detail::from_flags), [Detail::Quiet, Detail::Normal, Detail::Verbose]);
    }
}
