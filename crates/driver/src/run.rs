//! `run-vms`: start a network, show it, wait for its end.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nbv_plan::{NetworkPlan, PlanError};
use nbv_qemu::{Platform, accel, find};

use crate::event::{Event, Kind, MachineId, Phase};
use crate::lines::Lines;
use crate::host::{Host, STATE_DIR_VARIABLE};
use crate::keys::Key;
use crate::machine::{MachineKeys, Settings, StartError, chain};
use crate::network::Network;
use crate::options::RunOptions;
use crate::starter::Starter;
use crate::state::{self, StateDir, StateError};
use crate::instant::{self, Place};
use crate::saved::Origin;
use crate::snapshot::{self, SnapshotError};
use crate::{server, ssh, status};

/// Exit code when all was well.
pub const DONE: u8 = 0;
/// Exit code when a machine failed.
pub const MACHINE_FAILED: u8 = 4;
/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// How long machines may take to become ready when something waits for it, before patience.
const READY_DEADLINE: Duration = Duration::from_secs(300);
/// How long a command has between being told and being made to end.
const COMMAND_GRACE: Duration = Duration::from_secs(5);

/// Why a network could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be read.
    #[error("{} cannot be read; is it a result of nixos-build-vms?", path.display())]
    NoPlan {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The plan is no plan.
    #[error("{} is not a plan that this program understands; build the network again", path.display())]
    BadPlan {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PlanError,
    },
    /// `--only` names a machine that is not there.
    #[error("no machine `{name}` in this network; there are: {known}")]
    NoMachine {
        /// The name.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// No state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// No QEMU, or a file is missing.
    #[error(transparent)]
    Start(#[from] Arc<StartError>),
    /// The snapshot of `--restore`.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The system refused.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

pub(crate) fn failed(action: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::Io { action, source }
}

/// A network that is prepared: its folder is ours, its keys are made, its machines are off.
pub struct Prepared {
    /// The network.
    pub network: Network,
    state: StateDir,
    keep: bool,
    place: Option<Place>,
    names: Vec<String>,
}

impl Prepared {
    /// Kills what still runs, and removes what is not to be kept.
    pub fn end(self) {
        for (id, _) in self.network.machines() {
            self.network.kill(id);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        for (id, _) in self.network.machines() {
            self.network.wait(id, Some(deadline), |view| !view.phase.is_running());
        }
        self.network.switch().end_captures();
        self.network.end();
        self.state.end(&self.names, self.keep);
    }
}

/// Makes the network of a result: reads the plan, finds QEMU, chooses accelerators, takes a state folder, makes keys.
///
/// # Errors
/// Any of that fails.
pub fn prepare(options: &RunOptions, host: &Host) -> Result<Prepared, RunError> {
    let result = options.result.canonicalize().map_err(|source| RunError::NoPlan { path: options.result.clone(), source })?;
    let path = result.join("network.json");
    let text = std::fs::read_to_string(&path).map_err(|source| RunError::NoPlan { path: path.clone(), source })?;
    let mut plan = NetworkPlan::parse(&text).map_err(|source| RunError::BadPlan { path, source })?;
    let everyone = plan.machines.clone();
    select(&mut plan, &options.only)?;

    let start = |error: StartError| RunError::Start(Arc::new(error));
    let mut programs = Vec::new();
    for machine in &plan.machines {
        let platform = Platform::of_system(&machine.system).ok_or_else(|| start(StartError::System { system: machine.system.clone() }))?;
        let qemu = find::find(platform, host.path.as_deref()).map_err(|error| start(error.into()))?;
        let choice = accel::choose(options.accelerator, platform, &qemu, host.cache_dir.as_deref());
        programs.push((platform, qemu, choice));
    }

    let origin = Origin::of(&plan, &everyone, &result, &programs, host);
    let state = StateDir::take(&host.base_dir, options.state_dir.as_deref())?;
    let dir = state.path().to_owned();
    let names: Vec<String> = plan.machines.iter().map(|machine| machine.name.clone()).collect();
    let prepare = || -> std::io::Result<Settings> {
        std::fs::write(dir.join(state::PLAN), plan.to_json())?;
        let link = dir.join(state::RESULT);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&result, link)?;
        let user = Key::generate("nixos-build-vms")?;
        let mut keys = Vec::new();
        for machine in &plan.machines {
            keys.push(MachineKeys { host: Key::generate(&machine.name)?, service: Key::generate(&format!("root@{}", machine.host_name))? });
        }
        ssh::write_files(&dir, &host.exe, &plan, &user, &keys)?;
        Ok(Settings {
            everyone,
            store: result.parent().unwrap_or(Path::new("/")).to_owned(),
            state_dir: dir.clone(),
            programs,
            user_key: user.public,
            keys,
            keep_vm_state: options.keep_vm_state,
            origin,
            cache_dir: host.cache_dir.clone(),
            plan,
        })
    };
    let settings = prepare().map_err(failed("cannot write the state folder"))?;
    let place = if options.cold { None } else { instant::place(&settings) };
    let network = Network::new(settings).map_err(failed("cannot start the network"))?;
    if let Some(capture) = &options.capture
        && let Err(reason) = crate::link::capture_all(&network, &capture.dir, capture.limit)
    {
        network.end();
        state.end(&names, false);
        return Err(failed("cannot capture the network's frames")(std::io::Error::other(reason)));
    }
    Ok(Prepared { network, state, keep: options.keep_vm_state, place, names })
}

fn select(plan: &mut NetworkPlan, only: &[String]) -> Result<(), RunError> {
    if only.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for name in only {
        let known = || plan.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join(", ");
        let machine = plan.find(name).ok_or_else(|| RunError::NoMachine { name: name.clone(), known: known() })?;
        wanted.push(machine.name.clone());
    }
    plan.machines.retain(|machine| wanted.contains(&machine.name));
    Ok(())
}

/// Who shows a running network.
pub trait Front {
    /// Something happened in it.
    fn event(&mut self, event: &Event);
    /// A sentence about the network or the run.
    fn note(&mut self, text: &str);
}

/// How a run is shown.
pub enum Show<'a> {
    /// As lines.
    Lines(&'a mut dyn Write),
    /// By something that the user acts on the network with; it is made once the network is there, and dropped when all has ended.
    View(&'a mut dyn FnMut(&Network, Controls) -> std::io::Result<Box<dyn Front>>),
}

/// What a view may ask of the run.
#[derive(Clone)]
pub struct Controls {
    sender: Sender<Happening>,
}

impl Controls {
    /// As Ctrl-C: stops all in order, the second time at once; the exit code says so.
    pub fn interrupt(&self) {
        self.send(Happening::Interrupt);
    }

    /// Stops all in order.
    pub fn stop(&self) {
        self.send(Happening::StopAsked);
    }

    /// From now on the run goes on when no machine runs, until it is told to stop.
    pub fn hold(&self) {
        self.send(Happening::Hold);
    }

    fn send(&self, happening: Happening) {
        // The run has ended, and there is nothing left to ask for.
        let _ = self.sender.send(happening);
    }
}

/// What the run waits for.
enum Happening {
    NotStarted(Arc<StartError>),
    Event(Event),
    Interrupt,
    StopAsked,
    Hold,
    CommandEnded(std::io::Result<std::process::ExitStatus>),
}

/// Runs a network until all its machines have ended, or, with a view, until it is told to stop where a machine failed or was
/// stopped by the view. `interrupts` brings Ctrl-C.
///
/// Gives the exit code: 0, [`MACHINE_FAILED`], [`INTERRUPTED`], or that of the waited-for command.
///
/// # Errors
/// It could not be started at all.
pub fn run(options: &RunOptions, host: &Host, interrupts: Receiver<()>, show: Show<'_>) -> Result<u8, RunError> {
    let prepared = prepare(options, host)?;
    let network = prepared.network.clone();
    let (sender, happenings) = channel();
    let result = (|| {
        let events = network.subscribe();
        forward(events, sender.clone(), Happening::Event)?;
        forward(interrupts, sender.clone(), |()| Happening::Interrupt)?;
        let stop = sender.clone();
        let socket = network.settings().state_dir.join(state::SOCKET);
        server::serve(&network, &socket, move || drop(stop.send(Happening::StopAsked)))
    })();
    let has_view = matches!(show, Show::View(_));
    let screen: std::io::Result<Box<dyn Front>> = result.and_then(|()| match show {
        Show::Lines(out) => Ok(Box::new(Lines::new(&network, host.has_colour, options.quiet, out)) as Box<dyn Front>),
        Show::View(make) => make(&network, Controls { sender: sender.clone() }),
    });
    let screen = match screen {
        Ok(screen) => screen,
        Err(error) => {
            prepared.end();
            return Err(failed("cannot serve the network")(error));
        }
    };
    let mut run = Run {
        screen,
        has_view,
        is_held: false,
        network: network.clone(),
        command: Waited::new(options.wait_ready.clone()),
        is_stopping: false,
        is_interrupted: false,
        has_failed: false,
        place: prepared.place.clone(),
        wanted: Vec::new(),
        starter: Starter::default(),
        sender,
    };
    run.screen.note(&describe(&network));
    if let Some(name) = &options.restore {
        if let Err(error) = snapshot::resume(&network, name) {
            prepared.end();
            return Err(error.into());
        }
        run.screen.note(&format!("resuming snapshot {name}"));
    } else if let Some(saved) = run.place.as_ref().and_then(Place::find) {
        run.screen.note("resuming what an earlier run saved (--cold boots)");
        network.resume_instantly(saved);
    }
    run.wanted = network.all_to_start();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Those that resume wait for each other.
    let at_once = if network.is_resumed() { usize::MAX } else { options.jobs.unwrap_or(cores) };
    let failed_start = run.sender.clone();
    let started = Starter::start(&network, run.wanted.clone(), at_once, move |error| drop(failed_start.send(Happening::NotStarted(error))));
    let code = match started {
        Ok(starter) => {
            run.starter = starter;
            run.wait(&happenings)
        }
        Err(error) => Err(failed("cannot start the network")(error)),
    };
    run.starter.stop();
    if options.keep_vm_state {
        run.screen.note(&format!("state kept in {}", network.settings().state_dir.display()));
    }
    prepared.end();
    code
}

fn forward<T: Send + 'static>(from: Receiver<T>, to: Sender<Happening>, wrap: impl Fn(T) -> Happening + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("forward".into()).spawn(move || {
        for item in from {
            if to.send(wrap(item)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// One line that says what is started, how and where.
fn describe(network: &Network) -> String {
    let settings = network.settings();
    let mut choices: Vec<String> = settings.programs.iter().map(|(.., choice)| choice.to_string()).collect();
    choices.sort();
    choices.dedup();
    let names: Vec<&str> = network.machines().map(|(_, machine)| machine.name.as_str()).collect();
    format!("starting {} with {}; state in {}", names.join(", "), choices.join(", "), settings.state_dir.display())
}

struct Run<'a> {
    network: Network,
    screen: Box<dyn Front + 'a>,
    /// A view is there, in which a failure can be looked into.
    has_view: bool,
    is_held: bool,
    command: Waited,
    is_stopping: bool,
    is_interrupted: bool,
    has_failed: bool,
    /// The machines that were started.
    wanted: Vec<MachineId>,
    starter: Starter,
    /// Where the network is saved once it is ready, if it booted.
    place: Option<Place>,
    sender: Sender<Happening>,
}

impl Run<'_> {
    fn wait(&mut self, happenings: &Receiver<Happening>) -> Result<u8, RunError> {
        let count = u32::try_from(self.network.machines().count()).unwrap_or(u32::MAX);
        let cores = u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1);
        let patience = self.network.machines().map(|(id, _)| self.network.settings().accelerator(id).patience()).max().unwrap_or(1);
        let deadline = Instant::now() + READY_DEADLINE * patience * count.div_ceil(cores);
        loop {
            if self.is_over() {
                return Ok(self.code());
            }
            let waits_for_ready = self.command.is_waiting() && !self.is_stopping;
            let next = match (waits_for_ready, self.command.kill_at) {
                (_, Some(at)) => Some(at),
                (true, None) => Some(deadline),
                (false, None) => None,
            };
            let happening = match next {
                None => happenings.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => happenings.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match happening {
                Ok(Happening::Event(event)) => self.event(event),
                Ok(Happening::Interrupt) => self.interrupt(),
                Ok(Happening::StopAsked) => self.stop(),
                Ok(Happening::NotStarted(error)) => return Err(error.into()),
                Ok(Happening::Hold) => self.is_held = true,
                Ok(Happening::CommandEnded(status)) => {
                    self.command.ended(status);
                    self.stop();
                }
                Err(RecvTimeoutError::Timeout) if self.command.kill_at.is_some() => self.command.kill(),
                Err(RecvTimeoutError::Timeout) => self.too_late(),
                Err(RecvTimeoutError::Disconnected) => return Ok(MACHINE_FAILED),
            }
        }
    }

    fn is_over(&self) -> bool {
        let runs = |id| self.network.view(id).phase.is_running();
        self.starter.is_over() && !self.command.is_running() && (!self.is_held || self.is_stopping) && !self.network.machines().any(|(id, _)| runs(id))
    }

    fn code(&self) -> u8 {
        match self.command.code {
            _ if self.is_interrupted => INTERRUPTED,
            Some(code) if code != DONE => code,
            _ if self.has_failed => MACHINE_FAILED,
            // It waited for a readiness that never came.
            None if self.command.is_waiting() && !self.is_stopping => MACHINE_FAILED,
            _ => DONE,
        }
    }

    fn event(&mut self, event: Event) {
        self.screen.event(&event);
        let id = event.machine;
        match event.kind {
            Kind::Failed { .. } => {
                self.has_failed = true;
                self.is_held |= self.has_view;
                if self.command.is_waiting() {
                    self.stop();
                }
            }
            Kind::Phase(Phase::Off) if self.command.is_waiting() && !self.is_stopping => {
                self.screen.note(&format!("{} powered off before all machines were ready", self.network.machine(id).name));
                self.has_failed = true;
                self.stop();
            }
            Kind::Ready(_) if self.wanted.iter().all(|id| self.network.view(*id).phase == Phase::Ready) => self.all_ready(),
            _ => {}
        }
    }

    fn all_ready(&mut self) {
        let closed: Vec<String> = self.network.machines().flat_map(|(_, machine)| status::closed_ports(machine)).collect();
        closed.iter().for_each(|line| self.screen.note(line));
        if self.is_stopping {
            return;
        }
        // Once, and not what was just resumed.
        if let Some(place) = self.place.take()
            && !self.network.is_resumed()
            && let Err(reason) = place.save(&self.network)
        {
            self.screen.note(&format!("not saved for an instant start: {}", chain(&reason)));
        }
        self.network.set_resume(None);
        let sender = self.sender.clone();
        if let Some(Err(error)) = self.command.start(&self.network.settings().state_dir, move |status| drop(sender.send(Happening::CommandEnded(status)))) {
            self.screen.note(&format!("the command of --wait-ready could not be run: {error}"));
            self.command.code = Some(127);
            self.stop();
        }
    }

    fn interrupt(&mut self) {
        if self.is_interrupted {
            self.screen.note("stopping at once");
            self.command.kill();
            self.network.machines().for_each(|(id, _)| self.network.kill(id));
            return;
        }
        self.is_interrupted = true;
        self.screen.note("stopping the network; Ctrl-C again stops it at once");
        self.command.terminate();
        self.stop();
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.starter.stop();
        if !self.is_interrupted {
            self.command.terminate();
        }
        self.network.machines().for_each(|(id, _)| self.network.stop(id));
    }

    fn too_late(&mut self) {
        for (id, machine) in self.network.machines() {
            let phase = self.network.view(id).phase;
            if phase != Phase::Ready {
                self.screen.note(&format!("{} is not ready in time (it is {})", machine.name, phase.name()));
            }
        }
        self.has_failed = true;
        self.stop();
    }
}

/// The command of `--wait-ready`.
struct Waited {
    words: Option<Vec<OsString>>,
    group: Option<rustix::process::Pid>,
    code: Option<u8>,
    kill_at: Option<Instant>,
}

impl Waited {
    fn new(words: Option<Vec<OsString>>) -> Self {
        Self { words, group: None, code: None, kill_at: None }
    }

    fn is_waiting(&self) -> bool {
        self.words.is_some()
    }

    fn is_running(&self) -> bool {
        self.group.is_some()
    }

    /// Starts the command, once; `None` when there is nothing to start.
    fn start(&mut self, state_dir: &Path, on_end: impl FnOnce(std::io::Result<std::process::ExitStatus>) + Send + 'static) -> Option<std::io::Result<()>> {
        let words = self.words.take()?;
        let (program, args) = words.split_first()?;
        let mut command = Command::new(program);
        command.args(args).env(STATE_DIR_VARIABLE, state_dir);
        if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            // In a process group of its own it may not read the terminal.
            command.stdin(Stdio::null());
        }
        Some(nbv_qemu::process::spawn_bound(command, Vec::new()).and_then(|mut child| {
            self.group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            std::thread::Builder::new().name("command".into()).spawn(move || on_end(child.wait())).map(drop)
        }))
    }

    fn ended(&mut self, status: std::io::Result<std::process::ExitStatus>) {
        self.group = None;
        self.kill_at = None;
        let code = status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        self.code = Some(code.ok().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
    }

    fn terminate(&mut self) {
        // The group's number is ours until its end was seen here.
        if let Some(group) = self.group
            && self.kill_at.is_none()
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
            self.kill_at = Some(Instant::now() + COMMAND_GRACE);
        }
    }

    fn kill(&mut self) {
        self.kill_at = None;
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
