//! The running network as an object.
//!
//! One thread, the dispatcher, owns the truth: everything that happens (bytes of consoles, words of
//! monitors and guests, ends of processes, requests) comes to it through one queue, and what it
//! concludes leaves it as one ordered stream of [`Event`]s. Everyone else sees the table that it keeps.
//!
//! Each start of a machine has a number; what comes from an earlier start is ignored.
//!
//! Not here: what a start consists of ([`crate::machine`]), terminals ([`crate::run`]).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use nbv_plan::Machine;
use nbv_qemu::{Exited, qmp};
use nbv_switch::Switch;

use crate::event::{Event, Kind, MachineId, Phase};
use crate::guest::{Guest, Notice};
use crate::machine::{self, Running, Settings, StartError};
use crate::saved::Saved;
use crate::together::{OnFailure, Together};

/// Lines of a console that are kept for the report of a failure.
const TAIL_LINES: usize = 20;
/// Inputs that may wait; then consoles wait, and nothing else does for long.
const QUEUE: usize = 1024;
/// How long a machine may take to power off, before patience.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// What a machine says on its console when it will not come to life again, and has no other way to say it.
const FATAL_WORDS: [&str; 2] = ["Kernel panic - not syncing", "systemd[1]: Freezing execution"];
/// How long a kernel that panicked may take to say why and to end by itself.
const PANIC_GRACE: Duration = Duration::from_secs(3);
/// Restarts in a row without becoming ready, after which a machine has failed.
const RESTARTS_MAX: u32 = 3;

/// What comes to the dispatcher.
pub(crate) enum Input {
    Console(MachineId, u64, Vec<String>),
    ConsoleClosed(MachineId, u64),
    Monitor(MachineId, u64, qmp::Event),
    Notice(MachineId, u64, Notice),
    Exited(MachineId, u64, Exited),
    Start(MachineId, Reboots, Sender<Result<(), Arc<StartError>>>),
    Stop(MachineId),
    Kill(MachineId),
    Subscribe(Sender<Event>),
    Restore(Arc<Together>, Sender<()>),
    Rest(MachineId, Arc<Together>),
    Tell(Kind),
    End,
}

/// What a reboot of the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboots {
    /// The machine starts again.
    Allowed,
    /// It ends, as if powered off.
    End,
}

/// What everyone may know of a machine.
#[derive(Clone)]
pub struct View {
    /// Its phase.
    pub phase: Phase,
    /// How long it took to become ready.
    pub ready_after: Option<Duration>,
    /// Why it failed.
    pub failure: Option<String>,
    /// QEMU's process number.
    pub pid: Option<i32>,
    /// How often it was started.
    pub starts: u64,
    pub(crate) guest: Option<Arc<Guest>>,
    pub(crate) monitor: Option<Arc<nbv_qemu::Qmp>>,
    pub(crate) console: Option<Arc<std::os::unix::net::UnixStream>>,
}

struct Table {
    views: Vec<View>,
}

/// Shared by the dispatcher and all handles.
struct Shared {
    settings: Settings,
    table: Mutex<Table>,
    changed: Condvar,
    /// What the next start of each machine resumes from.
    resume: Mutex<Option<Arc<Together>>>,
    /// Held while the network is saved or restored.
    only: Mutex<()>,
    /// Held for reading while a program is started in a guest.
    programs: RwLock<()>,
    was_used: AtomicBool,
    inputs: SyncSender<Input>,
}

/// A handle on the running network.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    switch: Arc<Switch>,
}

impl Network {
    /// Makes the network; its machines are off.
    ///
    /// # Errors
    /// No threads left.
    pub fn new(settings: Settings) -> std::io::Result<Self> {
        let switch = Arc::new(Switch::start().map_err(std::io::Error::other)?);
        for machine in &settings.plan.machines {
            for (own, faults) in machine.interfaces.iter().filter_map(|own| Some((own, own.faults?))) {
                switch.set_faults(&crate::link::port_name(machine, &own.name), faults, false);
            }
        }
        let (inputs, queue) = sync_channel(QUEUE);
        let off = View { phase: Phase::Off, ready_after: None, failure: None, pid: None, starts: 0, guest: None, monitor: None, console: None };
        let table = Mutex::new(Table { views: vec![off; settings.plan.machines.len()] });
        let shared = Arc::new(Shared { settings, table, changed: Condvar::new(), resume: Mutex::new(None), only: Mutex::new(()), programs: RwLock::new(()), was_used: AtomicBool::new(false), inputs });
        let states = shared.settings.plan.machines.iter().map(|_| State::default()).collect();
        let dispatcher =
            Dispatcher { shared: Arc::clone(&shared), switch: Arc::clone(&switch), states, subscribers: Vec::new(), start: Instant::now() };
        std::thread::Builder::new().name("dispatcher".into()).spawn(move || dispatcher.run(&queue))?;
        Ok(Self { shared, switch })
    }

    /// What the network was made from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The switch.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// All machines in the plan's order.
    pub fn machines(&self) -> impl Iterator<Item = (MachineId, &Machine)> {
        self.shared.settings.plan.machines.iter().enumerate().map(|(index, machine)| (MachineId(index), machine))
    }

    /// The machine that a word means: name, host name, fully qualified name or target host.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<MachineId> {
        let found = self.shared.settings.plan.find(word)?;
        self.machines().find(|(_, machine)| machine.name == found.name).map(|(id, _)| id)
    }

    /// The plan's machine.
    #[must_use]
    pub fn machine(&self, id: MachineId) -> &Machine {
        &self.shared.settings.plan.machines[id.0]
    }

    /// The state of a machine now.
    #[must_use]
    pub fn view(&self, id: MachineId) -> View {
        self.table().views[id.0].clone()
    }

    /// A stream of all events from now on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<Event> {
        let (sender, events) = channel();
        self.send(Input::Subscribe(sender));
        events
    }

    /// Starts a machine; one that runs is left alone.
    ///
    /// # Errors
    /// Its files are missing, QEMU cannot be started, ...
    pub fn start(&self, id: MachineId, reboots: Reboots) -> Result<(), Arc<StartError>> {
        let (answer, result) = channel();
        self.send(Input::Start(id, reboots, answer));
        result.recv().unwrap_or(Err(Arc::new(StartError::Ended)))
    }

    /// Tells a machine to power off; it is killed when it takes too long. Returns at once.
    pub fn stop(&self, id: MachineId) {
        self.send(Input::Stop(id));
    }

    /// Ends a machine as a power cut does. Returns at once.
    pub fn kill(&self, id: MachineId) {
        self.send(Input::Kill(id));
    }

    /// Lets machines that are started from now on resume from a state. All must be started, and one that does not resume is the end of
    /// it for all.
    pub(crate) fn resume(&self, saved: Saved, on_failure: OnFailure) {
        self.set_resume(Some(Together::new(saved, Arc::clone(&self.switch), on_failure)));
    }

    pub(crate) fn set_resume(&self, together: Option<Together>) {
        *self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner) = together.map(Arc::new);
    }

    /// Lets machines resume from the state that an earlier run saved; those that do not boot.
    pub fn resume_instantly(&self, saved: Saved) {
        self.resume(saved, OnFailure::Boot);
    }

    /// Returns the whole network to a state. Returns when machines are on their way.
    pub(crate) fn restore(&self, saved: Saved) {
        self.shared.was_used.store(true, Ordering::SeqCst);
        let together = Arc::new(Together::new(saved, Arc::clone(&self.switch), OnFailure::Fail));
        *self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&together));
        let (answer, done) = channel();
        self.send(Input::Restore(together, answer));
        let _ = done.recv();
    }

    /// The machines that a start of the network starts: all, or those that ran when its state was saved; the others rest as they did.
    pub(crate) fn all_to_start(&self) -> Vec<MachineId> {
        let together = self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(together) = together else { return self.machines().map(|(id, _)| id).collect() };
        let (run, rest): (Vec<_>, Vec<_>) = self.machines().map(|(id, machine)| (id, together.saved().phase(&machine.name))).partition(|(_, phase)| *phase != Phase::Off);
        rest.into_iter().for_each(|(id, _)| self.send(Input::Rest(id, Arc::clone(&together))));
        run.into_iter().map(|(id, _)| id).collect()
    }

    /// The right to save or restore the network, while it is held; `None` when another has it.
    pub(crate) fn only_snapshot(&self) -> Option<MutexGuard<'_, ()>> {
        match self.shared.only.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Tells all who listen.
    pub(crate) fn tell(&self, kind: Kind) {
        self.send(Input::Tell(kind));
    }

    /// Whether machines resume (or resumed) from a saved state.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// To be held while a program is started for someone outside; notes that the guests are no longer as they booted.
    pub(crate) fn use_programs(&self) -> RwLockReadGuard<'_, ()> {
        let guard = self.shared.programs.read().unwrap_or_else(PoisonError::into_inner);
        self.shared.was_used.store(true, Ordering::SeqCst);
        guard
    }

    /// While this is held nobody starts a program in a guest. `None` when one that is being started takes too long.
    pub(crate) fn hold_programs(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, ()>> {
        loop {
            match self.shared.programs.try_write() {
                Ok(guard) => return Some(guard),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                // A lock cannot be waited for with a deadline.
                Err(std::sync::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    pub(crate) fn was_used(&self) -> bool {
        self.shared.was_used.load(Ordering::SeqCst)
    }

    /// Waits until the view of a machine is as wanted. False when that did not come in time.
    pub fn wait(&self, id: MachineId, deadline: Option<Instant>, mut is_so: impl FnMut(&View) -> bool) -> bool {
        let mut table = self.table();
        loop {
            if is_so(&table.views[id.0]) {
                return true;
            }
            table = match deadline {
                None => self.shared.changed.wait(table).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.shared.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits for the guest's first program and gives the channel to it.
    ///
    /// # Errors
    /// The machine is not running, failed, or does not answer in time; the text says which.
    pub fn guest(&self, id: MachineId, patience: Duration) -> Result<Arc<Guest>, String> {
        let name = &self.machine(id).name;
        let mut found = None;
        let in_time = self.wait(id, Some(Instant::now() + patience), |view| {
            found = match view.phase {
                Phase::Booting | Phase::Ready | Phase::Stopping => view.guest.clone(),
                Phase::Off | Phase::Failed | Phase::Starting => None,
            };
            found.is_some() || !view.phase.is_running()
        });
        let phase = self.view(id).phase;
        match found {
            Some(guest) => Ok(guest),
            None if in_time => Err(format!("machine {name} is not running (it is {})", phase.name())),
            None => Err(format!("machine {name} does not answer after {} s (it is {})", patience.as_secs(), phase.name())),
        }
    }

    /// Kills what still runs and ends the dispatcher.
    pub fn end(&self) {
        self.send(Input::End);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, input: Input) {
        // The dispatcher is gone only after `end`; then nothing runs any more.
        let _ = self.shared.inputs.send(input);
    }
}

/// What the dispatcher knows of a machine beyond its view.
#[derive(Default)]
struct State {
    running: Option<Running>,
    started: Option<Instant>,
    reboots: Option<Reboots>,
    tail: VecDeque<String>,
    panic: Option<String>,
    /// What /init said last.
    init_word: Option<String>,
    shutdown_reason: Option<String>,
    exited: Option<Exited>,
    is_console_closed: bool,
    is_monitor_closed: bool,
    is_kill_wanted: bool,
    kill_at: Option<Instant>,
    restarts: u32,
    /// This start of it resumes a saved state.
    was_resumed: bool,
    /// What follows once its process has ended.
    next: Option<Next>,
}

/// What follows the end of a machine's process that was ended for it.
enum Next {
    /// It boots on new disks: it should have resumed.
    Boot,
    /// It comes back from a saved state.
    Resume(Arc<Together>),
    /// It is off, with the disks of a saved state.
    Rest(Arc<Together>),
}

struct Dispatcher {
    shared: Arc<Shared>,
    switch: Arc<Switch>,
    states: Vec<State>,
    subscribers: Vec<Sender<Event>>,
    start: Instant,
}

impl Dispatcher {
    fn run(mut self, queue: &Receiver<Input>) {
        loop {
            let next = self.states.iter().filter_map(|state| state.kill_at).min();
            let input = match next {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match input {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.handle(input),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.kill_the_late();
        }
        for state in &self.states {
            if let Some(running) = &state.running {
                running.process.kill();
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Subscribe(sender) => self.subscribers.push(sender),
            Input::Start(id, reboots, answer) => {
                let result = self.start(id, reboots);
                let _ = answer.send(result.map_err(Arc::new));
            }
            Input::Restore(together, answer) => {
                self.restore(&together);
                let _ = answer.send(());
            }
            Input::Rest(id, together) => self.rest(id, &together),
            Input::Tell(kind) => self.emit(MachineId(0), kind),
            Input::Stop(id) => self.stop(id),
            Input::Kill(id) => {
                let state = &mut self.states[id.0];
                if let Some(running) = &state.running {
                    state.is_kill_wanted = true;
                    state.next = None;
                    running.process.kill();
                }
            }
            Input::Console(id, generation, lines) if self.is_current(id, generation) => {
                for line in lines {
                    self.line(id, line);
                }
            }
            Input::ConsoleClosed(id, generation) if self.is_current(id, generation) => {
                self.states[id.0].is_console_closed = true;
                self.settle(id);
            }
            Input::Monitor(id, generation, event) if self.is_current(id, generation) => match event {
                qmp::Event::Shutdown { reason } => self.states[id.0].shutdown_reason = Some(reason),
                qmp::Event::Panicked => self.states[id.0].panic = Some("the guest's kernel panicked".into()),
                qmp::Event::Closed => {
                    self.states[id.0].is_monitor_closed = true;
                    self.settle(id);
                }
                _ => {}
            },
            Input::Notice(id, generation, notice) if self.is_current(id, generation) => self.notice(id, notice),
            Input::Exited(id, generation, exited) if self.is_current(id, generation) => {
                self.states[id.0].exited = Some(exited);
                self.settle(id);
            }
            // From an earlier start of the machine.
            Input::Console(..) | Input::ConsoleClosed(..) | Input::Monitor(..) | Input::Notice(..) | Input::Exited(..) => {}
            Input::End => {}
        }
    }

    fn is_current(&self, id: MachineId, generation: u64) -> bool {
        self.view(id, |view| view.starts == generation && view.phase.is_running())
    }

    fn start(&mut self, id: MachineId, reboots: Reboots) -> Result<(), StartError> {
        if self.view(id, |view| view.phase.is_running()) {
            self.states[id.0].reboots = Some(reboots);
            return Ok(());
        }
        self.states[id.0].restarts = 0;
        let together = self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = &self.shared.settings.plan.machines[id.0].name;
        match together.filter(|together| together.saved().phase(name) != Phase::Off) {
            None => self.boot(id, reboots, None),
            Some(together) => self.boot(id, reboots, Some(Arc::clone(&together))).or_else(|error| {
                self.give_up_resuming(&machine::chain(&error));
                match together.on_failure {
                    OnFailure::Boot => self.boot(id, reboots, None),
                    OnFailure::Fail => Err(error),
                }
            }),
        }
    }

    /// Returns all machines to a state.
    fn restore(&mut self, together: &Arc<Together>) {
        for index in 0..self.states.len() {
            let id = MachineId(index);
            let is_wanted = together.saved().phase(&self.shared.settings.plan.machines[index].name) != Phase::Off;
            let state = &mut self.states[index];
            if let Some(running) = &state.running {
                state.next = Some(if is_wanted { Next::Resume(Arc::clone(together)) } else { Next::Rest(Arc::clone(together)) });
                running.process.kill();
            } else if is_wanted {
                self.come_back(id, Arc::clone(together));
            } else {
                self.rest(id, together);
            }
        }
    }

    /// A machine without a process comes back from a state.
    fn come_back(&mut self, id: MachineId, together: Arc<Together>) {
        let reboots = self.states[id.0].reboots.unwrap_or(Reboots::Allowed);
        if let Err(error) = self.boot(id, reboots, Some(together)) {
            let reason = machine::chain(&error);
            self.give_up_resuming(&reason);
            self.fail(id, format!("it could not be restored: {reason}"), Vec::new());
        }
    }

    /// A machine without a process gets the disks that it had when it was off.
    fn rest(&mut self, id: MachineId, together: &Together) {
        let machine = &self.shared.settings.plan.machines[id.0];
        let dir = self.shared.settings.machine_dir(id);
        let disks = std::fs::create_dir_all(&dir).and_then(|()| together.saved().copy_disks(machine, &dir));
        let was_off = self.view(id, |view| view.phase == Phase::Off);
        self.change(id, |view| {
            view.phase = Phase::Off;
            view.failure = None;
            // Its disks are not new.
            view.starts = view.starts.max(1);
        });
        match disks {
            Ok(()) if was_off => {}
            Ok(()) => self.emit(id, Kind::Phase(Phase::Off)),
            Err(error) => self.fail(id, format!("its disks could not be restored: {error}"), Vec::new()),
        }
    }

    fn fail(&mut self, id: MachineId, reason: String, tail: Vec<String>) {
        self.change(id, |view| {
            view.phase = Phase::Failed;
            view.failure = Some(reason.clone());
        });
        self.emit(id, Kind::Phase(Phase::Failed));
        self.emit(id, Kind::Failed { reason, tail });
    }

    /// One machine did not resume: all that were to resume boot instead, or fail, so that none remembers what another does not.
    fn give_up_resuming(&mut self, reason: &str) {
        let together = self.shared.resume.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Only the first reason is told.
        let Some(together) = together else { return };
        together.give_up();
        let failure = match together.on_failure {
            OnFailure::Boot => {
                together.saved().discard();
                None
            }
            OnFailure::Fail => Some(format!("it could not be restored: {reason}")),
        };
        for state in &mut self.states {
            let waits = matches!(state.next, Some(Next::Resume(_)));
            let Some(running) = state.running.as_ref().filter(|_| state.was_resumed || waits) else { continue };
            state.next = (failure.is_none() && !state.is_kill_wanted).then_some(Next::Boot);
            state.panic.clone_from(&failure);
            running.process.kill();
        }
        if failure.is_none() {
            self.emit(MachineId(0), Kind::NotResumed(reason.to_owned()));
        }
    }

    fn boot(&mut self, id: MachineId, reboots: Reboots, resume: Option<Arc<Together>>) -> Result<(), StartError> {
        let generation = self.view(id, |view| view.starts) + 1;
        let restarts = self.states[id.0].restarts;
        let started = Instant::now();
        let result = machine::start(&self.shared.settings, id, generation, &self.switch, &self.shared.inputs, resume.as_ref());
        let running = match result {
            Ok(running) => running,
            Err(error) if resume.is_some() => return Err(error),
            Err(error) => {
                let reason = machine::chain(&error);
                self.change(id, |view| {
                    view.phase = Phase::Failed;
                    view.failure = Some(reason.clone());
                });
                self.emit(id, Kind::Failed { reason, tail: Vec::new() });
                return Err(error);
            }
        };
        self.change(id, |view| {
            *view = View {
                phase: Phase::Starting,
                ready_after: None,
                failure: None,
                pid: Some(running.process.pid()),
                starts: generation,
                guest: Some(Arc::clone(&running.guest)),
                monitor: Some(Arc::clone(&running.monitor)),
                console: Some(Arc::clone(&running.console)),
            };
        });
        self.states[id.0] = State { running: Some(running), started: Some(started), reboots: Some(reboots), restarts, was_resumed: resume.is_some(), ..State::default() };
        self.emit(id, Kind::Phase(Phase::Starting));
        Ok(())
    }

    fn stop(&mut self, id: MachineId) {
        let phase = self.view(id, |view| view.phase);
        let patience = self.shared.settings.accelerator(id).patience();
        let state = &mut self.states[id.0];
        let Some(running) = &state.running else { return };
        match phase {
            Phase::Booting | Phase::Ready => {
                let deadline = Instant::now() + STOP_DEADLINE * patience;
                // One that is beyond asking has its end set already.
                state.kill_at = Some(state.kill_at.map_or(deadline, |at| at.min(deadline)));
                let guest = Arc::clone(&running.guest);
                // The question must not hold up the dispatcher; the deadline covers a guest without an answer.
                let asked = std::thread::Builder::new().name("poweroff".into()).spawn(move || guest.power_off());
                if asked.is_err() {
                    running.process.kill();
                    state.is_kill_wanted = true;
                }
                self.change(id, |view| view.phase = Phase::Stopping);
                self.emit(id, Kind::Phase(Phase::Stopping));
            }
            Phase::Starting => {
                // Nobody is there yet who could be asked.
                state.next = None;
                state.is_kill_wanted = true;
                running.process.kill();
            }
            Phase::Stopping | Phase::Off | Phase::Failed => {}
        }
    }

    fn kill_the_late(&mut self) {
        for state in &mut self.states {
            if state.kill_at.is_some_and(|at| at <= Instant::now()) {
                state.kill_at = None;
                // A kernel that hangs after its panic has still failed.
                state.is_kill_wanted = state.panic.is_none();
                if let Some(running) = &state.running {
                    running.process.kill();
                }
            }
        }
    }

    fn line(&mut self, id: MachineId, line: String) {
        let state = &mut self.states[id.0];
        if state.panic.is_none() && FATAL_WORDS.iter().any(|words| line.contains(words)) {
            state.panic = Some(line.trim().to_owned());
            state.kill_at = Some(Instant::now() + PANIC_GRACE);
        }
        if let Some(at) = line.find("nbv-init: ") {
            state.init_word = Some(line[at..].trim().to_owned());
        }
        if state.tail.len() == TAIL_LINES {
            state.tail.pop_front();
        }
        state.tail.push_back(line.clone());
        self.emit(id, Kind::Line(line));
    }

    fn notice(&mut self, id: MachineId, notice: Notice) {
        let phase = self.view(id, |view| view.phase);
        match (notice, phase) {
            (Notice::Hello, Phase::Starting) => {
                self.change(id, |view| view.phase = Phase::Booting);
                self.emit(id, Kind::Phase(Phase::Booting));
            }
            (Notice::Ready, Phase::Starting | Phase::Booting) => {
                let after = self.states[id.0].started.map(|at| at.elapsed()).unwrap_or_default();
                self.states[id.0].restarts = 0;
                self.change(id, |view| {
                    view.phase = Phase::Ready;
                    view.ready_after = Some(after);
                });
                self.emit(id, Kind::Phase(Phase::Ready));
                self.emit(id, Kind::Ready(after));
            }
            (Notice::NotResumed(reason), Phase::Starting) => {
                let text = format!("{}: {reason}", self.shared.settings.plan.machines[id.0].name);
                self.give_up_resuming(&text);
                // Whatever became of the state: this start leads nowhere.
                let state = &mut self.states[id.0];
                if let Some(running) = &state.running {
                    if state.panic.is_none() && !state.is_kill_wanted {
                        state.next = Some(Next::Boot);
                    }
                    running.process.kill();
                }
            }
            (Notice::Hello | Notice::Ready | Notice::NotResumed(_), _) => {}
        }
    }

    /// Concludes once the process has ended and all that it had to say has come.
    fn settle(&mut self, id: MachineId) {
        let phase = self.view(id, |view| view.phase);
        let state = &mut self.states[id.0];
        if !(state.is_console_closed && state.is_monitor_closed) {
            return;
        }
        let Some(exited) = state.exited.take() else { return };
        if let Some(running) = state.running.take() {
            running.unplug(&self.switch);
        }
        state.kill_at = None;
        let is_expected = state.next.is_some() || state.is_kill_wanted || state.panic.is_some();
        if state.was_resumed && phase == Phase::Starting && !is_expected {
            let text = format!("{}: QEMU ended: {exited}", self.shared.settings.plan.machines[id.0].name);
            self.give_up_resuming(&text);
            let state = &mut self.states[id.0];
            if state.panic.is_none() {
                state.next = Some(Next::Boot);
            }
        }
        if let Some(next) = self.states[id.0].next.take() {
            self.follow(id, next);
            return;
        }
        let state = &mut self.states[id.0];
        let reason = state.shutdown_reason.take();
        let failure = match (&state.panic, reason.as_deref()) {
            _ if state.is_kill_wanted => None,
            (Some(panic), _) => Some(panic.clone()),
            // Off before it was up, with a word of /init: that gave up.
            (None, Some("guest-shutdown")) if phase == Phase::Starting || (phase == Phase::Booting && state.init_word.is_some()) => {
                Some(state.init_word.take().unwrap_or_else(|| "it powered off before its first program ran".into()))
            }
            (None, Some("guest-shutdown" | "guest-reset" | "host-qmp-quit")) => None,
            (None, _) if phase == Phase::Stopping && exited.code == Some(0) => None,
            (None, _) => Some(format!("QEMU ended: {exited}")),
        };
        let is_reboot = failure.is_none()
            && reason.as_deref() == Some("guest-reset")
            && state.reboots == Some(Reboots::Allowed)
            && !state.is_kill_wanted
            && phase != Phase::Stopping;
        let tail: Vec<String> = state.tail.drain(..).collect();
        self.change(id, |view| {
            view.phase = match &failure {
                Some(_) => Phase::Failed,
                // Nobody may take a reboot for the end.
                None if is_reboot => Phase::Starting,
                None => Phase::Off,
            };
            view.failure.clone_from(&failure);
            view.pid = None;
            view.guest = None;
            view.monitor = None;
            view.console = None;
        });
        if let Some(reason) = failure {
            self.emit(id, Kind::Phase(Phase::Failed));
            self.emit(id, Kind::Failed { reason, tail });
        } else if is_reboot {
            self.reboot(id, tail);
        } else {
            self.emit(id, Kind::Phase(Phase::Off));
        }
    }

    /// A machine's process was ended so that something else follows.
    fn follow(&mut self, id: MachineId, next: Next) {
        // Nobody may take it for the end.
        self.change(id, |view| {
            view.phase = Phase::Starting;
            view.pid = None;
            view.guest = None;
            view.monitor = None;
            view.console = None;
        });
        match next {
            Next::Boot => {
                let dir = self.shared.settings.machine_dir(id);
                for disk in crate::saved::disk_names(&self.shared.settings.plan.machines[id.0]) {
                    let _ = std::fs::remove_file(dir.join(disk));
                }
                let reboots = self.states[id.0].reboots.unwrap_or(Reboots::Allowed);
                // A failure is already in the table and the stream.
                let _ = self.boot(id, reboots, None);
            }
            Next::Resume(together) => self.come_back(id, together),
            Next::Rest(together) => self.rest(id, &together),
        }
    }

    fn reboot(&mut self, id: MachineId, tail: Vec<String>) {
        self.states[id.0].restarts += 1;
        if self.states[id.0].restarts > RESTARTS_MAX {
            let reason = format!("it rebooted {RESTARTS_MAX} times without becoming ready");
            self.change(id, |view| {
                view.phase = Phase::Failed;
                view.failure = Some(reason.clone());
            });
            self.emit(id, Kind::Failed { reason, tail });
            return;
        }
        self.emit(id, Kind::Rebooted);
        // A failure is already in the table and the stream.
        let _ = self.boot(id, Reboots::Allowed, None);
    }

    fn view<T>(&self, id: MachineId, look: impl FnOnce(&View) -> T) -> T {
        look(&self.shared.table.lock().unwrap_or_else(PoisonError::into_inner).views[id.0])
    }

    fn change(&self, id: MachineId, change: impl FnOnce(&mut View)) {
        change(&mut self.shared.table.lock().unwrap_or_else(PoisonError::into_inner).views[id.0]);
        self.shared.changed.notify_all();
    }

    fn emit(&mut self, machine: MachineId, kind: Kind) {
        let is_phase = matches!(kind, Kind::Phase(_));
        let event = Event { at: self.start.elapsed(), machine, kind };
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
        if is_phase {
            self.write_state();
        }
    }

    /// Writes `state.json`, for people and for those who find the folder later.
    fn write_state(&self) {
        let table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        let machines: Vec<serde_json::Value> = self
            .shared
            .settings
            .plan
            .machines
            .iter()
            .zip(&table.views)
            .map(|(machine, view)| serde_json::json!({ "name": machine.name, "phase": view.phase, "pid": view.pid, "starts": view.starts }))
            .collect();
        drop(table);
        let state = serde_json::json!({ "version": 1, "runner": std::process::id(), "machines": machines });
        let path: PathBuf = self.shared.settings.state_dir.join("state.json");
        // Only a report: the truth is in the runner.
        let _ = replace(&path, format!("{state:#}\n").as_bytes());
    }
}

/// Replaces a file in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    crate::keys::write_private(&new, bytes)?;
    std::fs::rename(new, path)
}
