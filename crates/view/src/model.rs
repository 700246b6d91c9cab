//! What the view shows, and what keys do to it. Nothing here draws, reads a clock or touches a network: what happens comes in by calls,
//! what is wanted goes out as [`Action`]s.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nbv_driver::lines;
use nbv_driver::link;
use nbv_driver::status::{LinkStatus, MachineStatus};
use nbv_driver::{Event, Kind, Phase, Status};

use crate::log::{Filter, Log, Pattern};
use crate::sample::Sample;

/// Seconds of history that are kept for small curves.
const HISTORY: usize = 60;
/// Seconds for which a message stays.
const MESSAGE_SECONDS: u64 = 6;

/// What is known of a machine beforehand.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its addresses, with commas.
    pub addresses: String,
    /// Its memory.
    pub memory_mib: u32,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// What was known beforehand.
    pub facts: Facts,
    /// Its state; none before the first tick.
    pub status: Option<MachineStatus>,
    /// When its process was started, seconds since the network's start.
    pub since: Option<u64>,
    /// What its process uses.
    pub sample: Option<Sample>,
    /// Per cent of one processor, one for each second, the latest last.
    pub cpu: VecDeque<f64>,
    /// Its links.
    pub links: Vec<Link>,
}

impl Machine {
    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.status.as_ref().map_or(Phase::Off, |status| status.phase)
    }
}

/// A link, with what passes in a second.
#[derive(Debug)]
pub struct Link {
    /// As the driver tells it.
    pub status: LinkStatus,
    /// Bits a second from the machine.
    pub from_rate: f64,
    /// Bits a second to the machine.
    pub to_rate: f64,
    /// Both together, one for each second, the latest last.
    pub history: VecDeque<f64>,
}

impl Link {
    /// Its state as a word, and its faults.
    #[must_use]
    pub fn state(&self) -> (&'static str, String) {
        let faults = self.status.faults.as_ref();
        let is_cut = faults.is_some_and(|faults| faults.incoming.cut && faults.outgoing.cut);
        let word = match (self.status.is_up, is_cut) {
            (false, _) => "blocked",
            (true, true) => "cut",
            (true, false) => "up",
        };
        (word, faults.map(link::describe_both).unwrap_or_default())
    }
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The machines, and below them the log.
    Machines,
    /// The log alone.
    Log,
    /// The links.
    Links,
    /// A shell in the selected machine.
    Shell,
}

/// What takes the keys before all else.
#[derive(Debug, Clone, PartialEq)]
pub enum Overlay {
    /// Nothing.
    None,
    /// Help, from this line on.
    Help(usize),
    /// A question with yes or no.
    Confirm(Confirm),
    /// A text that is looked for is typed.
    Search(String),
    /// The name of a snapshot is typed.
    Snapshot(String),
}

/// What is asked before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Power a machine off.
    PowerOff(usize),
    /// Cut its power.
    Crash(usize),
    /// Reboot it.
    Reboot(usize),
    /// Stop the network.
    Stop,
}

/// What the network is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// As Ctrl-C.
    Interrupt,
    /// Stop the network in order.
    Stop,
    /// Power a machine off in order.
    PowerOff(usize),
    /// End it as a power cut does.
    Crash(usize),
    /// Start it.
    Start(usize),
    /// Have it reboot.
    Reboot(usize),
    /// Let nothing pass its links, or all again.
    Links(usize, bool),
    /// A shell in it.
    Shell(usize),
    /// Save the network under a name.
    Snapshot(String),
    /// Draw everything anew.
    Redraw,
}

/// All that the view shows.
#[derive(Debug)]
pub struct Model {
    /// The machines in the plan's order.
    pub machines: Vec<Machine>,
    /// Lines.
    pub log: Log,
    /// What is shown.
    pub page: Page,
    /// The page to go back to from a shell.
    pub back: Page,
    /// What takes the keys.
    pub overlay: Overlay,
    /// The selected machine.
    pub selected: usize,
    /// The selected link, counted over all machines.
    pub link: usize,
    /// Only lines of the selected machine are shown.
    pub is_single: bool,
    /// The last line shown; none: the latest, whatever comes.
    pub anchor: Option<u64>,
    /// Columns of lines that are out of sight on the left.
    pub shift: usize,
    /// Long lines go on below.
    pub wraps: bool,
    /// What is looked for, and how many lines have it.
    pub pattern: Option<(Pattern, usize)>,
    /// The line that was found last.
    pub found: Option<u64>,
    /// Seconds since the network's start.
    pub now: u64,
    /// The network is being stopped.
    pub is_stopping: bool,
    /// Groups between which nothing passes.
    pub partition: Vec<Vec<String>>,
    /// Machines that have a shell open.
    pub shells: Vec<usize>,
    message: Option<(u64, String, bool)>,
    uptime: Option<f64>,
}

impl Model {
    /// A view of these machines, before anything is known of them.
    #[must_use]
    pub fn new(machines: Vec<Facts>) -> Self {
        let log = Log::new(machines.len());
        let machine =
            |facts| Machine { facts, status: None, since: None, sample: None, cpu: VecDeque::new(), links: Vec::new() };
        Self {
            machines: machines.into_iter().map(machine).collect(),
            log,
            page: Page::Machines,
            back: Page::Machines,
            overlay: Overlay::None,
            selected: 0,
            link: 0,
            is_single: false,
            anchor: None,
            shift: 0,
            wraps: false,
            pattern: None,
            found: None,
            now: 0,
            is_stopping: false,
            partition: Vec::new(),
            shells: Vec::new(),
            message: None,
            uptime: None,
        }
    }

    /// A second has passed.
    pub fn tick(&mut self, now: u64, status: Status, samples: &[Option<Sample>]) {
        self.now = now;
        let seconds = self.uptime.map(|before| status.uptime - before).filter(|seconds| *seconds > 0.01);
        self.uptime = Some(status.uptime);
        self.partition = status.partition;
        for (index, (machine, new)) in self.machines.iter_mut().zip(status.machines).enumerate() {
            machine.sample = samples.get(index).copied().flatten();
            push(&mut machine.cpu, machine.sample.and_then(|sample| sample.cpu).unwrap_or(0.0));
            let mut before = std::mem::take(&mut machine.links);
            for link in new.links.clone() {
                let place = before.iter().position(|old| old.status.name == link.name).map(|at| before.remove(at));
                let rate = |old: Option<u64>, new: u64| match (old, seconds) {
                    (Some(old), Some(seconds)) => new.saturating_sub(old) as f64 * 8.0 / seconds,
                    _ => 0.0,
                };
                let from_rate = rate(place.as_ref().map(|old| old.status.from_machine.bytes), link.from_machine.bytes);
                let to_rate = rate(place.as_ref().map(|old| old.status.to_machine.bytes), link.to_machine.bytes);
                let mut history = place.map(|old| old.history).unwrap_or_default();
                push(&mut history, from_rate + to_rate);
                machine.links.push(Link { status: link, from_rate, to_rate, history });
            }
            machine.since = if new.phase.is_running() { machine.since.or(Some(now)) } else { None };
            machine.status = Some(new);
        }
        self.link = self.link.min(self.links().count().saturating_sub(1));
    }

    /// Something happened in the network.
    pub fn event(&mut self, event: &Event) {
        let index = event.machine.index();
        let at = event.at.as_secs();
        let Some(machine) = self.machines.get_mut(index) else { return };
        if let Kind::Phase(phase) = &event.kind {
            if *phase == Phase::Starting {
                machine.since = Some(at);
            }
            if let Some(status) = &mut machine.status {
                status.phase = *phase;
            }
        }
        if let Kind::Line(text) = &event.kind {
            self.log.push(at, Some(index), false, text);
        }
        if let Some(text) = lines::report(&event.kind, &machine.facts.addresses) {
            self.log.push(at, Some(index), true, &text);
        }
        if let Some(text) = lines::remark(&event.kind) {
            self.log.push(at, None, true, &text);
        }
    }

    /// A sentence about the network or the run.
    pub fn note(&mut self, text: &str) {
        self.log.push(self.now, None, true, text);
    }

    /// Something to tell at once; it goes away by itself.
    pub fn say(&mut self, text: impl Into<String>, is_error: bool) {
        self.message = Some((self.now, text.into(), is_error));
    }

    /// The message that is to be seen now, and whether it tells of a failure.
    #[must_use]
    pub fn message(&self) -> Option<(&str, bool)> {
        self.message.as_ref().filter(|(since, ..)| self.now.saturating_sub(*since) < MESSAGE_SECONDS).map(|(_, text, is_error)| (text.as_str(), *is_error))
    }

    /// Which lines are shown.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.is_single.then_some(self.selected)
    }

    /// All links with the index of their machine.
    pub fn links(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.machines.iter().enumerate().flat_map(|(index, machine)| machine.links.iter().map(move |link| (index, link)))
    }

    /// The machine that keys act on.
    fn target(&self) -> usize {
        match self.page {
            Page::Links => self.links().nth(self.link).map_or(self.selected, |(machine, _)| machine),
            _ => self.selected,
        }
    }

    /// A shell was opened: show it.
    pub fn shell_opened(&mut self, machine: usize) {
        if !self.shells.contains(&machine) {
            self.shells.push(machine);
        }
        if self.page != Page::Shell {
            self.back = self.page;
        }
        self.selected = machine;
        self.page = Page::Shell;
    }

    /// A shell ended by itself.
    pub fn shell_ended(&mut self, machine: usize) {
        self.shells.retain(|open| *open != machine);
        if self.page == Page::Shell && self.selected == machine {
            self.page = self.back;
        }
        let text = format!("the shell in {} has ended", self.machines[machine].facts.name);
        self.say(text, false);
    }

    /// The user goes back from a shell, which stays.
    pub fn leave_shell(&mut self) {
        self.page = self.back;
    }

    /// A text was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Overlay::Search(typed) | Overlay::Snapshot(typed) = &mut self.overlay {
            typed.extend(text.chars().filter(|c| !c.is_control()).take(200));
        }
    }

    /// A key was pressed; `rows` are those of the log that are in sight.
    pub fn key(&mut self, key: KeyEvent, rows: usize) -> Option<Action> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Some(Action::Interrupt),
            KeyCode::Char('l') if is_control => return Some(Action::Redraw),
            _ => {}
        }
        match std::mem::replace(&mut self.overlay, Overlay::None) {
            Overlay::None => self.plain_key(key, is_control, rows),
            Overlay::Help(line) => {
                let next = match key.code {
                    KeyCode::Down | KeyCode::Char('j' | ' ') => line + 1,
                    KeyCode::Up | KeyCode::Char('k') => line.saturating_sub(1),
                    KeyCode::PageDown => line + rows.max(1),
                    KeyCode::PageUp => line.saturating_sub(rows.max(1)),
                    _ => return None,
                };
                self.overlay = Overlay::Help(next);
                None
            }
            Overlay::Confirm(confirm) => match key.code {
                KeyCode::Char('y' | 'Y') => Some(match confirm {
                    Confirm::PowerOff(machine) => Action::PowerOff(machine),
                    Confirm::Crash(machine) => Action::Crash(machine),
                    Confirm::Reboot(machine) => Action::Reboot(machine),
                    Confirm::Stop => Action::Stop,
                }),
                _ => None,
            },
            Overlay::Search(text) => {
                match typed(text, key, is_control) {
                    Typed::More(text) => self.overlay = Overlay::Search(text),
                    Typed::Left => {}
                    Typed::Done(text) if text.is_empty() => (self.pattern, self.found) = (None, None),
                    Typed::Done(text) => {
                        let pattern = Pattern::new(&text);
                        let count = self.log.count(self.filter(), &pattern);
                        self.pattern = Some((pattern, count));
                        self.found = None;
                        self.find(true);
                    }
                }
                None
            }
            Overlay::Snapshot(text) => match typed(text, key, is_control) {
                Typed::More(text) => {
                    self.overlay = Overlay::Snapshot(text);
                    None
                }
                Typed::Done(text) if !text.is_empty() => Some(Action::Snapshot(text)),
                Typed::Done(_) | Typed::Left => None,
            },
        }
    }

    fn plain_key(&mut self, key: KeyEvent, is_control: bool, rows: usize) -> Option<Action> {
        let target = self.target();
        let page = rows.saturating_sub(1).max(1);
        let confirm = |confirm| Overlay::Confirm(confirm);
        match key.code {
            KeyCode::Char('u') | KeyCode::Char('b') if is_control => self.scroll_up(page),
            KeyCode::Char('d') | KeyCode::Char('f') if is_control => self.scroll_down(page),
            _ if is_control => {}
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.overlay = Overlay::Help(0),
            KeyCode::Char('q') => self.overlay = confirm(Confirm::Stop),
            KeyCode::Char('1') => self.page = Page::Machines,
            KeyCode::Char('2') => self.page = Page::Log,
            KeyCode::Char('3') => self.page = Page::Links,
            KeyCode::Tab => {
                self.page = match self.page {
                    Page::Machines => Page::Log,
                    Page::Log => Page::Links,
                    Page::Links | Page::Shell => Page::Machines,
                }
            }
            KeyCode::BackTab => {
                self.page = match self.page {
                    Page::Machines => Page::Links,
                    Page::Log | Page::Shell => Page::Machines,
                    Page::Links => Page::Log,
                }
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_selection(false),
            KeyCode::Down | KeyCode::Char('j') => self.move_selection(true),
            KeyCode::PageUp => self.scroll_up(page),
            KeyCode::PageDown => self.scroll_down(page),
            KeyCode::Char('[' | '-') => self.scroll_up(1),
            KeyCode::Char(']' | '+') => self.scroll_down(1),
            KeyCode::Home | KeyCode::Char('g') => {
                // As many as fit, from the first one on.
                self.anchor = self.log.before(self.filter(), Some(0)).chain(self.log.after(self.filter(), 0)).map(|line| line.number).take(rows.max(1)).max();
            }
            KeyCode::End | KeyCode::Char('G' | 'f') => self.anchor = None,
            KeyCode::Left => self.shift = self.shift.saturating_sub(8),
            KeyCode::Right if !self.wraps => self.shift = (self.shift + 8).min(4096),
            KeyCode::Char('w') => (self.wraps, self.shift) = (!self.wraps, 0),
            KeyCode::Char('m') => {
                self.is_single = !self.is_single;
                self.recount();
            }
            KeyCode::Char('/') => self.overlay = Overlay::Search(String::new()),
            KeyCode::Esc => (self.pattern, self.found, self.anchor, self.message) = (None, None, None, None),
            KeyCode::Char('n') => self.find(true),
            KeyCode::Char('N') => self.find(false),
            KeyCode::Enter | KeyCode::Char('c') => return Some(Action::Shell(target)),
            KeyCode::Char(act @ ('p' | 'r' | 'x')) => {
                let machine = &self.machines[target];
                match (act, machine.phase()) {
                    (_, Phase::Off | Phase::Failed) => {
                        let text = format!("{} does not run; s starts it", machine.facts.name);
                        self.say(text, true);
                    }
                    ('p', _) => self.overlay = confirm(Confirm::PowerOff(target)),
                    ('r', _) => self.overlay = confirm(Confirm::Reboot(target)),
                    _ => self.overlay = confirm(Confirm::Crash(target)),
                }
            }
            KeyCode::Char('s') if self.machines[target].phase().is_running() => {
                let text = format!("{} runs already", self.machines[target].facts.name);
                self.say(text, true);
            }
            KeyCode::Char('s') => return Some(Action::Start(target)),
            KeyCode::Char('b') => {
                let is_up = self.machines[target].links.iter().any(|link| link.status.is_up);
                return Some(Action::Links(target, !is_up));
            }
            KeyCode::Char('S') => self.overlay = Overlay::Snapshot(String::new()),
            _ => {}
        }
        None
    }

    fn move_selection(&mut self, down: bool) {
        let step = |at: usize, count: usize| if down { (at + 1).min(count.saturating_sub(1)) } else { at.saturating_sub(1) };
        if self.page == Page::Links {
            self.link = step(self.link, self.links().count());
            return;
        }
        let next = step(self.selected, self.machines.len());
        if next != self.selected {
            self.selected = next;
            if self.is_single {
                (self.anchor, self.found) = (None, None);
                self.recount();
            }
        }
    }

    fn recount(&mut self) {
        let filter = self.filter();
        if let Some((pattern, count)) = &mut self.pattern {
            *count = self.log.count(filter, pattern);
        }
    }

    fn scroll_up(&mut self, rows: usize) {
        let filter = self.filter();
        let lines: Vec<u64> = self.log.before(filter, self.anchor).map(|line| line.number).take(rows + 1).collect();
        if lines.len() > 1 {
            self.anchor = lines.last().copied();
        }
    }

    fn scroll_down(&mut self, rows: usize) {
        let Some(anchor) = self.anchor else { return };
        let lines: Vec<u64> = self.log.after(self.filter(), anchor).map(|line| line.number).take(rows + 1).collect();
        // At the end the window follows again.
        self.anchor = if lines.len() > rows { lines.get(rows - 1).copied() } else { None };
    }

    /// Goes to the next line that has what is looked for: an older or a newer one.
    fn find(&mut self, older: bool) {
        let Some((pattern, count)) = &self.pattern else {
            self.say("nothing is looked for; / begins a search", true);
            return;
        };
        let filter = self.filter();
        let from = self.found.or(self.anchor);
        let is_it = |line: &&crate::log::Line| Some(line.number) != self.found && pattern.is_in(&line.text);
        let found = match (older, from) {
            (true, from) => self.log.before(filter, from).find(is_it),
            (false, Some(from)) => self.log.after(filter, from).find(is_it),
            (false, None) => None,
        };
        let text = match (&found, count) {
            (Some(_), _) => None,
            (None, 0) => Some(format!("not found: {}", pattern.text())),
            (None, _) => Some(format!("no {} line has it", if older { "older" } else { "newer" })),
        };
        let found = found.map(|line| line.number);
        if let Some(number) = found {
            (self.found, self.anchor) = (Some(number), Some(number));
            // With some lines below it for context, where there are any.
            if let Some(line) = self.log.after(filter, number).take(3).last() {
                self.anchor = Some(line.number);
            }
        }
        if let Some(text) = text {
            self.say(text, true);
        }
    }
}

fn push(history: &mut VecDeque<f64>, value: f64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

enum Typed {
    More(String),
    Done(String),
    Left,
}

fn typed(mut text: String, key: KeyEvent, is_control: bool) -> Typed {
    match key.code {
        KeyCode::Enter => return Typed::Done(text),
        KeyCode::Esc => return Typed::Left,
        KeyCode::Char('g') if is_control => return Typed::Left,
        KeyCode::Char('u') if is_control => text.clear(),
        KeyCode::Backspace if text.is_empty() => return Typed::Left,
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char(c) if !is_control && text.len() < 200 => text.push(c),
        _ => {}
    }
    Typed::More(text)
}
