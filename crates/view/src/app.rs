//! The view at work: one thread takes what happens, keys and ticks, and draws.
//!
//! The run (`driver::run`) goes on whatever becomes of this thread: when the view fails or its terminal is gone, the network is stopped
//! in order and the terminal is given back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossterm::event::{self, KeyEventKind};
use nbv_driver::lines::Lines;
use nbv_driver::protocol::Terminal as Size;
use nbv_driver::{Controls, Event, Front, MachineId, Network, Reboots, Status, console, link, snapshot};
use ratatui_core::layout::Rect;
use ratatui_core::terminal::{Terminal, TerminalOptions, Viewport};
use ratatui_crossterm::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::draw::{self, Look};
use crate::model::{Action, Facts, Model, Page};
use crate::sample::Sampler;
use crate::shell::Shell;
use crate::terminal::{self, Full};

/// The shortest time between two pictures.
const PICTURE: Duration = Duration::from_millis(50);
/// The same while a shell is shown: it echoes what is typed.
const SHELL_PICTURE: Duration = Duration::from_millis(12);
/// The time between two looks at states and counters.
const TICK: Duration = Duration::from_secs(1);
/// Words taken before the next picture.
const WORDS_AT_ONCE: usize = 20_000;
/// What goes back from a shell: Ctrl-].
const BACK: u8 = 0x1d;

/// What comes to the thread that draws.
enum Word {
    Event(Event),
    Note(String),
    /// Output of a shell, by its number; none: it has ended.
    Output(u64, Option<Vec<u8>>),
    /// What became of an action.
    Done(Result<String, String>),
    End,
}

/// Sends words and wakes the thread.
#[derive(Clone)]
struct Post {
    words: Sender<Word>,
    bell: Arc<UnixStream>,
}

impl Post {
    fn send(&self, word: Word) {
        if self.words.send(word).is_ok() {
            // A bell that is full has been rung.
            let _ = (&*self.bell).write(&[0]);
        }
    }
}

/// What is written after the screen was left: as `--quiet` would have.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A view of a run. Dropping it gives the terminal back and writes what the run said, without the consoles.
struct View {
    post: Post,
    lines: Lines<'static>,
    kept: Kept,
    thread: Option<JoinHandle<()>>,
}

impl Front for View {
    fn event(&mut self, event: &Event) {
        self.lines.event(event);
        self.post.send(Word::Event(event.clone()));
    }

    fn note(&mut self, text: &str) {
        self.lines.note(text);
        self.post.send(Word::Note(text.to_owned()));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.post.send(Word::End);
        let _ = self.thread.take().map(JoinHandle::join);
        terminal::restore();
        let _ = io::stdout().write_all(&self.kept.0.lock().unwrap_or_else(PoisonError::into_inner));
        for said in terminal::take_said() {
            let _ = writeln!(io::stderr(), "internal error: please report it: {said}");
        }
    }
}

/// Opens the view of a network on this process's terminal.
///
/// # Errors
/// The terminal cannot be taken, or no threads are left.
pub fn open(network: &Network, controls: Controls, has_colour: bool) -> io::Result<Box<dyn Front>> {
    let kept = Kept::default();
    let lines = Lines::new(network, has_colour, true, kept.clone());
    let (words, inbox) = channel();
    let (bell, ears) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ears.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGWINCH, bell.try_clone()?)?;
    let post = Post { words, bell: Arc::new(bell) };
    let full = Full::enter()?;
    let app = App::new(network.clone(), controls.clone(), post.clone(), terminal::look(has_colour))?;
    let thread = std::thread::Builder::new().name(terminal::THREAD.into()).spawn(move || {
        let full = full;
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| app.run(&inbox, &ears)));
        drop(full);
        if !matches!(ended, Ok(Ok(()))) {
            // Without eyes and hands the network must not run on.
            controls.stop();
        }
    })?;
    Ok(Box::new(View { post, lines, kept, thread: Some(thread) }))
}

fn size() -> Rect {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(Rect::new(0, 0, 80, 24), |size| Rect::new(0, 0, size.ws_col, size.ws_row))
}

type Screen = Terminal<CrosstermBackend<io::Stdout>>;

struct App {
    network: Network,
    ids: Vec<MachineId>,
    controls: Controls,
    post: Post,
    look: Look,
    model: Model,
    sampler: Sampler,
    shells: Vec<Shell>,
    next_shell: u64,
    start: Instant,
    area: Rect,
    is_dirty: bool,
    is_redraw: bool,
    /// How a shell had the keys set: of applications (cursor, numbers), pasted text marked.
    keys: (bool, bool, bool),
}

impl App {
    fn new(network: Network, controls: Controls, post: Post, look: Look) -> io::Result<Self> {
        let status = Status::of(&network);
        let facts = network.machines().zip(status.machines).map(|((_, machine), status)| Facts {
            name: machine.name.clone(),
            addresses: status.addresses.join(", "),
            memory_mib: machine.memory_mib,
        });
        let model = Model::new(facts.collect());
        let ids = network.machines().map(|(id, _)| id).collect();
        Ok(Self {
            ids,
            network,
            controls,
            post,
            look,
            model,
            sampler: Sampler::default(),
            shells: Vec::new(),
            next_shell: 0,
            start: Instant::now(),
            area: size(),
            is_dirty: true,
            is_redraw: false,
            keys: (false, false, true),
        })
    }

    /// Works until the run ends.
    ///
    /// # Errors
    /// The terminal is gone.
    fn run(mut self, inbox: &Receiver<Word>, ears: &UnixStream) -> io::Result<()> {
        let options = TerminalOptions { viewport: Viewport::Fixed(self.area) };
        let mut screen = Screen::with_options(CrosstermBackend::new(io::stdout()), options)?;
        let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        self.tick();
        let mut next_tick = Instant::now() + TICK;
        let mut next_picture = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.tick();
                next_tick = now + TICK;
            }
            if self.is_dirty && now >= next_picture {
                self.picture(&mut screen)?;
                next_picture = Instant::now() + if self.model.page == Page::Shell { SHELL_PICTURE } else { PICTURE };
            }
            let until = if self.is_dirty { next_tick.min(next_picture) } else { next_tick };
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(ears, PollFlags::IN)];
            let limit = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(&mut fds, Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let (keys, rung) = (fds[0].revents(), fds[1].revents());
            if !rung.is_empty() {
                let mut buffer = [0; 512];
                while matches!((&*ears).read(&mut buffer), Ok(512)) {}
                let area = size();
                self.is_dirty |= area != self.area;
            }
            for _ in 0..WORDS_AT_ONCE {
                match inbox.try_recv() {
                    Ok(Word::End) => return Ok(()),
                    Ok(word) => self.word(word),
                    Err(_) => break,
                }
            }
            if keys.contains(PollFlags::IN) {
                self.input(&stdin)?;
            } else if keys.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn tick(&mut self) {
        let status = Status::of(&self.network);
        let pids: Vec<Option<i32>> = status.machines.iter().map(|machine| machine.pid).collect();
        let samples = self.sampler.take(&pids);
        self.model.tick(self.start.elapsed().as_secs(), status, &samples);
        self.is_dirty = true;
    }

    fn word(&mut self, word: Word) {
        self.is_dirty = true;
        match word {
            Word::Event(event) => self.model.event(&event),
            Word::Note(text) => {
                self.model.is_stopping |= text.starts_with("stopping ");
                self.model.note(&text);
            }
            Word::Output(number, bytes) => {
                let Some(at) = self.shells.iter().position(|shell| shell.number == number) else { return };
                match bytes {
                    Some(bytes) => self.shells[at].terminal.process(&bytes),
                    None => {
                        let shell = self.shells.remove(at);
                        self.model.shell_ended(shell.machine);
                    }
                }
            }
            Word::Done(Ok(text)) => self.model.say(text, false),
            Word::Done(Err(text)) => {
                self.model.note(&text);
                self.model.say(text, true);
            }
            Word::End => {}
        }
    }

    /// Takes what was typed: bytes for a shell, keys for the rest.
    fn input(&mut self, stdin: &OwnedFd) -> io::Result<()> {
        self.is_dirty = true;
        if self.model.page == Page::Shell {
            let mut buffer = [0; 4096];
            let len = match rustix::io::read(stdin, &mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            let bytes = &buffer[..len];
            let back = bytes.iter().position(|byte| *byte == BACK);
            if let Some(shell) = self.shells.iter().find(|shell| shell.machine == self.model.selected) {
                shell.keys(&bytes[..back.unwrap_or(len)]);
            }
            if back.is_some() {
                self.model.leave_shell();
            }
            return Ok(());
        }
        while self.model.page != Page::Shell && event::poll(Duration::ZERO)? {
            match event::read()? {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let rows = draw::log_rows(&self.model, self.area);
                    if let Some(action) = self.model.key(key, rows) {
                        self.act(action);
                    }
                }
                event::Event::Paste(text) => self.model.paste(&text),
                _ => {}
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        let name = |at: usize| self.model.machines[at].facts.name.clone();
        match action {
            Action::Interrupt => {
                self.model.is_stopping = true;
                self.controls.interrupt();
            }
            Action::Stop => {
                self.model.is_stopping = true;
                self.model.note("stopping the network");
                self.controls.stop();
            }
            Action::PowerOff(at) => {
                // The user may start it again.
                self.controls.hold();
                self.network.stop(self.ids[at]);
            }
            Action::Crash(at) => {
                self.controls.hold();
                self.network.kill(self.ids[at]);
            }
            Action::Start(at) => {
                let (name, id) = (name(at), self.ids[at]);
                self.later(move |network| match network.start(id, Reboots::Allowed) {
                    Ok(()) => Ok(format!("{name} starts")),
                    Err(error) => Err(format!("{name} does not start: {error}")),
                });
            }
            Action::Reboot(at) => {
                let (name, id) = (name(at), self.ids[at]);
                self.later(move |network| console::reboot(network, id).map(|()| format!("{name} was told to reboot")));
            }
            Action::Links(at, is_up) => {
                link::set_up(&self.network, self.ids[at], is_up);
                let word = if is_up { "is joined again" } else { "is blocked: nothing passes its links" };
                let text = format!("{} {word}", name(at));
                self.model.note(&text);
                self.model.say(text, false);
                // The next tick would show it too, up to a second later.
                self.model.machines[at].links.iter_mut().for_each(|link| link.status.is_up = is_up);
            }
            Action::Shell(at) => self.open_shell(at),
            Action::Snapshot(name) => {
                self.model.say(format!("saving snapshot {name}"), false);
                self.later(move |network| match snapshot::save(network, &name, snapshot::Replace::No) {
                    Ok(()) => Ok(format!("snapshot {name} is saved")),
                    Err(error) => Err(error.to_string()),
                });
            }
            Action::Redraw => self.is_redraw = true,
        }
    }

    /// Does something that may take its time, and tells what became of it.
    fn later(&mut self, what: impl FnOnce(&Network) -> Result<String, String> + Send + 'static) {
        let (network, post) = (self.network.clone(), self.post.clone());
        let started = std::thread::Builder::new().name("action".into()).spawn(move || post.send(Word::Done(what(&network))));
        if let Err(error) = started {
            self.model.say(error.to_string(), true);
        }
    }

    fn open_shell(&mut self, at: usize) {
        if self.shells.iter().any(|shell| shell.machine == at) {
            self.model.shell_opened(at);
            return;
        }
        let area = draw::shell_area(self.area);
        let size = Size { rows: area.height.max(1), columns: area.width.max(2) };
        let opened = console::shell(&self.network, self.ids[at], "xterm-256color", size).and_then(|session| {
            let (post, number) = (self.post.clone(), self.next_shell);
            Shell::new(at, number, session, size, move |bytes| post.send(Word::Output(number, bytes))).map_err(|error| error.to_string())
        });
        match opened {
            Ok(shell) => {
                self.next_shell += 1;
                self.shells.push(shell);
                self.model.shell_opened(at);
            }
            Err(reason) => self.model.say(reason, true),
        }
    }

    fn picture(&mut self, screen: &mut Screen) -> io::Result<()> {
        self.is_dirty = false;
        let area = size();
        if area != self.area || std::mem::take(&mut self.is_redraw) {
            self.area = area;
            screen.resize(area)?;
        }
        let place = draw::shell_area(area);
        for shell in &mut self.shells {
            shell.resize(Size { rows: place.height.max(1), columns: place.width.max(2) });
        }
        let (model, look) = (&self.model, self.look);
        let shown = self.shells.iter().find(|shell| shell.machine == model.selected && model.page == Page::Shell).map(|shell| shell.terminal.screen());
        let keys = shown.map_or((false, false, true), |shell| (shell.application_cursor(), shell.application_keypad(), shell.bracketed_paste()));
        if keys != self.keys {
            self.keys = keys;
            let (cursor, keypad, paste) = (if keys.0 { 'h' } else { 'l' }, if keys.1 { '=' } else { '>' }, if keys.2 { 'h' } else { 'l' });
            write!(io::stdout(), "\x1b[?1{cursor}\x1b{keypad}\x1b[?2004{paste}")?;
        }
        screen.draw(|frame| {
            let area = frame.area();
            if let Some(cursor) = draw::draw(model, shown, look, area, frame.buffer_mut()) {
                frame.set_cursor_position(cursor);
            }
        })?;
        Ok(())
    }
}
