//! A network and its machines in a test's hands: what test scripts, steps and Rust tests do with them.
//!
//! ```no_run
//! use nbv_driver::testing::TestNetwork;
//! use nbv_driver::{Host, RunOptions};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = RunOptions { result: "result".into(), ..RunOptions::default() };
//! let network = TestNetwork::open(&options, &Host::from_environment()?)?;
//! network.start_all()?;
//! let web = network.machine("web")?;
//! web.wait_for_unit("httpd")?;
//! web.within(Duration::from_secs(30)).wait_for_open_port(80)?;
//! assert_eq!(network.machine("client")?.http_get("http://web/")?.status, 200);
//! network.partition(&[&["web"], &["client"]])?;
//! network.machine("client")?.fail("ping -c 1 -W 2 web")?;
//! # Ok(())
//! # }
//! ```
//!
//! A machine that is off is started by whatever needs it. All that waits has a limit, 15 minutes unless [`Machine::within`] says
//! otherwise. When the [`TestNetwork`] is dropped, its machines end.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nbv_guest::Spec;

use super::error::{CommandFailure, TestError};
use super::http::{self, HttpAnswer, Url};
use crate::event::{MachineId, Phase};
use crate::guest::{Guest, PATH};
use crate::host::Host;
use crate::machine::chain;
use crate::network::{Network, Reboots};
use crate::options::RunOptions;
use crate::run::{Prepared, prepare};
use crate::screen::{self, Picture};

/// How long anything may take that says nothing of it.
pub(crate) const USUAL: Duration = Duration::from_secs(900);
/// The status of a command that ran out of time, as timeout(1) has it.
pub const TIMED_OUT: i32 = 124;
/// How long a command that has ended may leave its output open and silent: something that it started holds it.
const LINGER: Duration = Duration::from_secs(5);
/// The same for standard error, for which nobody waits.
const ERROR_LINGER: Duration = Duration::from_millis(20);
/// The time between tries, at last; the first come sooner.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long a service whose program is not waited for must have been active.
const SETTLED: Duration = Duration::from_secs(1);
/// How long QEMU's monitor may take.
pub(crate) const MONITOR: Duration = Duration::from_secs(60);
/// How every command of a test begins.
const STRICT: &str = "set -euo pipefail\n";
/// Prints what a login shell of root exports, once systemd can be talked to. Commands have these variables.
const LOGIN: &str = "until [ -S /run/systemd/private ]; do sleep 0.1; done\nexport USER=root HOME=/root\n\
                     if [ -e /etc/profile ]; then . /etc/profile >&2 </dev/null || true; fi\nexport PAGER=\nexec env -0";

/// What all handles on a network's machines share.
pub(crate) struct Shared {
    pub(crate) network: Network,
    pub(crate) out_dir: PathBuf,
    is_ended: AtomicBool,
    /// Variables of commands, and the start of the machine that they are of.
    logins: Mutex<HashMap<MachineId, (u64, Arc<Vec<(String, String)>>)>>,
}

impl Shared {
    pub(crate) fn new(network: Network, out_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { network, out_dir, is_ended: AtomicBool::new(false), logins: Mutex::default() })
    }

    /// Whoever waits in a method of a machine gives up.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::SeqCst)
    }

    pub(crate) fn machine(self: &Arc<Self>, name: &str) -> Result<Machine, TestError> {
        let known = || self.network.machines().map(|(_, machine)| machine.name.as_str()).collect::<Vec<_>>().join(", ");
        let id = self.network.find(name).ok_or_else(|| TestError::NoMachine { name: name.to_owned(), known: known() })?;
        Ok(Machine { shared: Arc::clone(self), id, limit: USUAL })
    }

    pub(crate) fn machines(self: &Arc<Self>) -> Vec<Machine> {
        self.network.machines().map(|(id, _)| Machine { shared: Arc::clone(self), id, limit: USUAL }).collect()
    }

    /// Parts groups of machines, by their names, from each other; none: all are together again.
    pub(crate) fn partition<G: AsRef<[S]>, S: AsRef<str>>(self: &Arc<Self>, groups: &[G]) -> Result<(), TestError> {
        let named = |word: &S| self.machine(word.as_ref()).map(|machine| machine.name().to_owned());
        let groups: Vec<Vec<String>> = groups.iter().map(|group| group.as_ref().iter().map(named).collect()).collect::<Result<_, _>>()?;
        self.network.switch().partition(&groups);
        Ok(())
    }

    /// Lets time pass, unless the test ends.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), TestError> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if self.is_ended() {
                return Err(TestError::Ended);
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

/// A network for a Rust test: it is made from a result, and ends with this object.
pub struct TestNetwork {
    shared: Arc<Shared>,
    prepared: Option<Prepared>,
}

impl TestNetwork {
    /// Makes the network of a result; its machines are off. Copies from machines go to the current folder.
    ///
    /// # Errors
    /// No result, no QEMU, no state folder.
    pub fn open(options: &RunOptions, host: &Host) -> Result<Self, TestError> {
        let prepared = prepare(options, host)?;
        let shared = Shared::new(prepared.network.clone(), host.current_dir.clone());
        Ok(Self { shared, prepared: Some(prepared) })
    }

    /// The machine of a name (or host name, or target host).
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&self, name: &str) -> Result<Machine, TestError> {
        self.shared.machine(name)
    }

    /// All machines, by name.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        self.shared.machines()
    }

    /// Starts all machines; returns at once.
    ///
    /// # Errors
    /// One could not be started.
    pub fn start_all(&self) -> Result<(), TestError> {
        self.machines().iter().try_for_each(Machine::start)
    }

    /// Waits until all machines are off.
    ///
    /// # Errors
    /// One failed, or is not off in time.
    pub fn join_all(&self) -> Result<(), TestError> {
        self.machines().iter().try_for_each(Machine::wait_for_shutdown)
    }

    /// Parts groups of machines from each other: no frame passes between two groups. Machines in no group reach everyone.
    ///
    /// # Errors
    /// A name is no machine.
    pub fn partition<G: AsRef<[S]>, S: AsRef<str>>(&self, groups: &[G]) -> Result<(), TestError> {
        self.shared.partition(groups)
    }

    /// Ends a partition.
    pub fn heal(&self) {
        self.shared.network.switch().partition(&[]);
    }

    /// The network itself.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.shared.network
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(prepared) = self.prepared.take() {
            prepared.end();
        }
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit status; 128 and the signal that ended it; [`TIMED_OUT`].
    pub status: i32,
    /// Its standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// What of its standard error came until its end.
    pub stderr: Vec<u8>,
}

/// A command for a machine's shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// The text; it runs in bash under `set -euo pipefail`.
    pub text: &'a str,
    /// Who runs it, in a login shell; none: root.
    pub user: Option<&'a str>,
    /// Its standard input; none: empty.
    pub stdin: Option<&'a [u8]>,
    /// Whether it is started only: nobody reads its output or waits for its end.
    pub is_detached: bool,
}

impl<'a> From<&'a str> for Command<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }
}

/// Something that a machine is waited for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Wait {
    Unit { unit: String, user: Option<String>, state: String },
    Port { host: String, port: u16, open: bool },
    File { path: String, present: bool },
    Socket { path: String, datagram: bool },
    Succeeds { command: String },
    Fails { command: String },
}

/// How it is with what is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) is_so: bool,
    /// The command's output.
    pub(crate) output: CommandOutput,
}

/// A handle on one machine. Clones are of the same machine.
#[derive(Clone)]
pub struct Machine {
    shared: Arc<Shared>,
    id: MachineId,
    limit: Duration,
}

impl Machine {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.network.machine(self.id).name
    }

    pub(crate) fn id(&self) -> MachineId {
        self.id
    }

    /// The same machine, whose methods have this limit.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    fn network(&self) -> &Network {
        &self.shared.network
    }

    fn gone(&self, reason: impl std::fmt::Display) -> TestError {
        let name = self.name();
        let failure = self.network().view(self.id).failure.filter(|_| self.network().view(self.id).phase == Phase::Failed);
        let why = failure.map_or_else(String::new, |failure| format!(": {failure}"));
        TestError::Guest { machine: name.to_owned(), reason: format!("machine {name}: {reason}{why}") }
    }

    fn not_so(&self, reason: impl Into<String>) -> TestError {
        TestError::NotSo { machine: self.name().to_owned(), reason: reason.into() }
    }

    fn too_long(&self, what: impl Into<String>, last: impl Into<String>) -> TestError {
        TestError::TooLong { machine: self.name().to_owned(), what: what.into(), limit: self.limit, last: last.into() }
    }

    // ---- life

    /// Starts it, if it is off; returns at once. A reboot from inside then ends it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&self) -> Result<(), TestError> {
        if self.network().view(self.id).phase.is_running() { Ok(()) } else { self.start_with(Reboots::End) }
    }

    /// Starts it, or lets it go on, with a say in what a reboot from inside does.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_with(&self, reboots: Reboots) -> Result<(), TestError> {
        let started = self.network().start(self.id, reboots);
        started.map_err(|error| TestError::Start { machine: self.name().to_owned(), reason: chain(&*error) })
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.network().view(self.id).phase.is_running()
    }

    /// Starts it if it is off, and waits until its systemd can be talked to.
    ///
    /// # Errors
    /// It fails, or does not come in time.
    pub fn connect(&self) -> Result<(), TestError> {
        self.login().map(drop)
    }

    /// The channel to its programs, and the variables that commands have.
    fn login(&self) -> Result<(Arc<Guest>, Arc<Vec<(String, String)>>), TestError> {
        self.start()?;
        // Its start does not count.
        let patience = self.limit.max(USUAL);
        let guest = self.network().guest(self.id, patience).map_err(|reason| self.gone(reason))?;
        let starts = self.network().view(self.id).starts;
        let known = self.shared.logins.lock().unwrap_or_else(PoisonError::into_inner).get(&self.id).cloned();
        if let Some((of, login)) = known
            && of == starts
        {
            return Ok((guest, login));
        }
        let mut spec = Spec::new(["bash", "--norc", "-c", LOGIN]).env("PATH", PATH);
        spec.stdin_null = true;
        let options = nbv_guest::RunOptions { timeout: Some(patience), error_linger: Some(ERROR_LINGER), ..Default::default() };
        let client = guest.client().map_err(|reason| self.gone(reason))?;
        let output = client.run_with(&spec, &options).map_err(|error| self.gone(error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Those that each shell makes for itself.
        let own = ["_", "SHLVL", "PWD", "OLDPWD"];
        let login: Vec<(String, String)> =
            text.split('\0').filter_map(|line| line.split_once('=')).filter(|(name, _)| !own.contains(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let login = Arc::new(login);
        self.shared.logins.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id, (starts, Arc::clone(&login)));
        Ok((guest, login))
    }

    /// Powers it off and waits for that.
    ///
    /// # Errors
    /// It is not off in time.
    pub fn shutdown(&self) -> Result<(), TestError> {
        if !self.is_running() {
            return Ok(());
        }
        self.network().stop(self.id);
        self.wait_for_shutdown()
    }

    /// Waits until it is off.
    ///
    /// # Errors
    /// It failed, or is not off in time.
    pub fn wait_for_shutdown(&self) -> Result<(), TestError> {
        if !self.wait(|view| !view.phase.is_running())? {
            return Err(self.too_long("power off", format!("it is {}", self.network().view(self.id).phase.name())));
        }
        match self.network().view(self.id).failure {
            Some(failure) => Err(self.gone(failure)),
            None => Ok(()),
        }
    }

    fn wait(&self, mut is_so: impl FnMut(&crate::network::View) -> bool) -> Result<bool, TestError> {
        let end = Instant::now() + self.limit;
        while !self.shared.is_ended() {
            let next = Instant::now() + Duration::from_millis(500);
            if self.network().wait(self.id, Some(next.min(end)), &mut is_so) {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
        }
        Err(TestError::Ended)
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// It does not end.
    pub fn crash(&self) -> Result<(), TestError> {
        self.network().kill(self.id);
        self.within(MONITOR).wait(|view| !view.phase.is_running()).and_then(|is_off| if is_off { Ok(()) } else { Err(self.too_long("its end", "")) })
    }

    /// Restarts it from inside and waits until it answers again.
    ///
    /// # Errors
    /// It does not come back in time.
    pub fn reboot(&self) -> Result<(), TestError> {
        self.connect()?;
        let starts = self.network().view(self.id).starts;
        self.start_with(Reboots::Allowed)?;
        let mut command = Command::from("systemctl --no-block reboot || kill -s RTMIN+5 1");
        command.is_detached = true;
        self.execute(&command)?;
        if !self.wait(|view| view.starts > starts || !view.phase.is_running())? {
            return Err(self.too_long("a reboot", ""));
        }
        if !self.is_running() {
            return Err(self.gone("it did not start again"));
        }
        self.connect()
    }

    // ---- programs

    /// Runs a command and gives all that came of it; a status other than 0 is no error.
    ///
    /// It has the variables of root's login shell and begins in /tmp. What it starts in the background and leaves running is not waited
    /// for: neither what writes elsewhere, nor, for more than five silent seconds, what holds the command's output open. When its time
    /// is over, everything that it started is killed, and its status is [`TIMED_OUT`].
    ///
    /// # Errors
    /// The machine cannot run it.
    pub fn execute(&self, command: &Command<'_>) -> Result<CommandOutput, TestError> {
        let (guest, login) = self.login()?;
        let client = guest.client().map_err(|reason| self.gone(reason))?;
        let text = [STRICT, command.text].concat();
        let mut spec = match command.user {
            None => {
                let mut spec = Spec::new(["bash", "--norc", "-c", &text]).cwd("/tmp");
                spec.bare = true;
                spec.may_wait = true;
                login.iter().fold(spec, |spec, (name, value)| spec.env(name, value))
            }
            Some(user) => Spec::new(["bash", "--login", "-c", &text]).env("PATH", PATH).user(user),
        };
        spec.stdin_null = command.stdin.is_none();
        spec.output_null = command.is_detached;
        let gone = |error: nbv_guest::Error| self.gone(error);
        if command.is_detached {
            client.open(&spec).map_err(gone)?.detach();
            return Ok(CommandOutput { status: 0, stdout: Vec::new(), stderr: Vec::new() });
        }
        let options = nbv_guest::RunOptions {
            stdin: command.stdin.unwrap_or_default(),
            timeout: Some(self.limit),
            linger: Some(LINGER),
            error_linger: Some(ERROR_LINGER),
        };
        match client.run_with(&spec, &options) {
            Ok(output) => Ok(CommandOutput { status: output.status.shell_code(), stdout: output.stdout, stderr: output.stderr }),
            Err(nbv_guest::Error::Timeout { stdout, stderr, .. }) => Ok(CommandOutput { status: TIMED_OUT, stdout, stderr }),
            Err(error) => Err(gone(error)),
        }
    }

    /// Runs a command that must succeed; its standard output.
    ///
    /// # Errors
    /// It fails, with its outputs.
    pub fn succeed(&self, command: &str) -> Result<String, TestError> {
        let output = self.execute(&command.into())?;
        match output.status {
            0 => Ok(text(&output.stdout)),
            _ => Err(self.failure(command, &output, None)),
        }
    }

    /// Runs a command that must fail; its standard output.
    ///
    /// # Errors
    /// It succeeds.
    pub fn fail(&self, command: &str) -> Result<String, TestError> {
        let output = self.execute(&command.into())?;
        match output.status {
            0 => Err(self.failure(command, &output, Some("a failure was expected".into()))),
            _ => Ok(text(&output.stdout)),
        }
    }

    /// The error for a command that did not do what was expected.
    pub(crate) fn failure(&self, command: &str, output: &CommandOutput, expected: Option<String>) -> TestError {
        TestError::Command(Box::new(CommandFailure {
            machine: self.name().to_owned(),
            command: command.to_owned(),
            status: output.status,
            expected,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }))
    }

    /// Runs a command until it succeeds; its standard output.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_until_succeeds(&self, command: &str) -> Result<String, TestError> {
        self.wait_for(&Wait::Succeeds { command: command.to_owned() }).map(|output| text(&output.stdout))
    }

    /// Runs a command until it fails; its standard output.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_until_fails(&self, command: &str) -> Result<String, TestError> {
        self.wait_for(&Wait::Fails { command: command.to_owned() }).map(|output| text(&output.stdout))
    }

    /// Lets time pass by the machine's own clock.
    ///
    /// # Errors
    /// The machine goes away.
    pub fn sleep(&self, time: Duration) -> Result<(), TestError> {
        self.within(self.limit + time).succeed(&format!("sleep {}", time.as_secs_f64())).map(drop)
    }

    // ---- waiting

    /// Waits until something is so, looking at once and then again and again.
    pub(crate) fn wait_for(&self, wanted: &Wait) -> Result<CommandOutput, TestError> {
        let mut found = None;
        self.connect()?;
        self.until(|machine, is_last| {
            let now = machine.look(wanted, is_last)?;
            let is_so = now.is_so;
            found = Some(now.output);
            Ok(is_so)
        })?;
        found.ok_or(TestError::Ended)
    }

    /// Asks until it is so or the time is over; the last question is told that it is the last.
    pub(crate) fn until(&self, mut is_so: impl FnMut(&Self, bool) -> Result<bool, TestError>) -> Result<(), TestError> {
        let end = Instant::now() + self.limit;
        let mut pause = Duration::from_millis(100);
        loop {
            if self.shared.is_ended() {
                return Err(TestError::Ended);
            }
            let left = end.saturating_duration_since(Instant::now());
            let is_last = left.is_zero();
            if is_so(&self.within(left.max(Duration::from_secs(1))), is_last)? {
                return Ok(());
            }
            if is_last {
                return Err(self.too_long("what was waited for", ""));
            }
            self.shared.sleep(pause.min(left))?;
            pause = (pause * 2).min(TRY_EVERY);
        }
    }

    /// Looks once. The last look fails with why it is not so; an earlier one only when it cannot become so.
    pub(crate) fn look(&self, wanted: &Wait, is_last: bool) -> Result<Found, TestError> {
        let run = |command: &str, user: Option<&str>| self.execute(&Command { user, ..Command::from(command) });
        let by_status = |command: &str, want_success: bool, what: &str| -> Result<Found, TestError> {
            let output = run(command, None)?;
            let is_so = (output.status == 0) == want_success;
            if is_last && !is_so {
                let at_last = super::error::excerpt("output", &text(&output.stdout)) + &super::error::excerpt("standard error", &text(&output.stderr));
                return Err(self.not_so(format!("{what} (exit code {}){at_last}\n ", output.status)));
            }
            Ok(Found { is_so, output })
        };
        match wanted {
            Wait::Succeeds { command } => {
                let output = run(command, None)?;
                if is_last && output.status != 0 {
                    return Err(self.failure(command, &output, None));
                }
                Ok(Found { is_so: output.status == 0, output })
            }
            Wait::Fails { command } => {
                let output = run(command, None)?;
                if is_last && output.status == 0 {
                    return Err(self.failure(command, &output, Some("it still succeeds".into())));
                }
                Ok(Found { is_so: output.status != 0, output })
            }
            Wait::File { path, present } => {
                let command = format!("test -e {}", quote(path));
                by_status(&command, *present, &if *present { format!("there is no file {path}") } else { format!("there still is {path}") })
            }
            Wait::Port { host, port, open } => {
                let command = format!("timeout 5 bash -c 'exec 3<>/dev/tcp/\"$1\"/{port}' bash {} 2>/dev/null", quote(host));
                by_status(&command, *open, &format!("port {port} of {host} is {}, tried", if *open { "not open" } else { "still open" }))
            }
            Wait::Socket { path, datagram } => {
                let kind = if *datagram { "-uU" } else { "-U" };
                by_status(&format!("nc -z {kind} {}", quote(path)), true, &format!("nobody accepts at {path}"))
            }
            Wait::Unit { unit, user, state } => self.look_at_unit(unit, user.as_deref(), state, is_last),
        }
    }

    fn look_at_unit(&self, unit: &str, user: Option<&str>, wanted: &str, is_last: bool) -> Result<Found, TestError> {
        let words = format!("--no-pager show {} --property=ActiveState,Type,ActiveEnterTimestampMonotonic && read -r now _ < /proc/uptime && echo Now=$now", quote(unit));
        let shown = self.systemctl(&words, user)?;
        let said = text(&shown.stdout);
        let property = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
        let state = property("ActiveState").to_owned();
        if shown.status != 0 || state.is_empty() {
            return Err(self.failure(&format!("systemctl {words}"), &shown, Some(format!("the state of {unit} was expected"))));
        }
        let found = |is_so| Found { is_so, output: CommandOutput { status: 0, stdout: state.clone().into_bytes(), stderr: Vec::new() } };
        if state == wanted {
            // A service of this type is active before its program has run, and may fail in the next moment.
            let began = property("ActiveEnterTimestampMonotonic").parse::<f64>().unwrap_or(0.0) / 1e6;
            let is_fresh = property("Now").parse::<f64>().is_ok_and(|now| now - began < SETTLED.as_secs_f64());
            let is_settled = is_last || wanted != "active" || property("Type") != "simple" || !is_fresh;
            return Ok(found(is_settled));
        }
        let named = format!("unit \"{unit}\" of {}", self.name());
        if state == "failed" {
            let log = match user {
                None => self.execute(&Command::from(format!("journalctl -b --no-pager -q -n 20 -u {} 2>&1", quote(unit)).as_str()))?.stdout,
                Some(_) => Vec::new(),
            };
            return Err(self.not_so(format!("{named} reached state \"failed\"{}\n ", super::error::excerpt("its journal", &text(&log)))));
        }
        if wanted == "active" && state == "inactive" {
            let jobs = self.systemctl("list-jobs --full 2>&1", user)?;
            if text(&jobs.stdout).contains("No jobs") && self.unit_property(unit, "ActiveState", user)? == "inactive" {
                return Err(self.not_so(format!("{named} is inactive and there are no pending jobs")));
            }
        }
        if is_last {
            return Err(self.not_so(format!("{named} is {state}, not {wanted}")));
        }
        Ok(found(false))
    }

    /// Runs systemctl with these words, for the machine or for a user's own systemd.
    ///
    /// # Errors
    /// As [`Machine::execute`].
    pub fn systemctl(&self, words: &str, user: Option<&str>) -> Result<CommandOutput, TestError> {
        match user {
            None => self.execute(&format!("systemctl {words}").as_str().into()),
            Some(user) => {
                let command = format!("XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {words}");
                self.execute(&Command { user: Some(user), ..Command::from(command.as_str()) })
            }
        }
    }

    /// A property of a unit, as `systemctl show` has it.
    ///
    /// # Errors
    /// systemd does not say.
    pub fn unit_property(&self, unit: &str, property: &str, user: Option<&str>) -> Result<String, TestError> {
        let words = format!("--no-pager show {} --property={}", quote(unit), quote(property));
        let output = self.systemctl(&words, user)?;
        let said = text(&output.stdout);
        match said.split_once('=').filter(|_| output.status == 0) {
            Some((_, value)) => Ok(value.trim_end_matches('\n').to_owned()),
            None => Err(self.failure(&format!("systemctl {words}"), &output, Some(format!("the property {property} of {unit} was expected")))),
        }
    }

    /// Waits until a unit is active.
    ///
    /// # Errors
    /// It failed, or is inactive and nothing will start it, or it takes too long.
    pub fn wait_for_unit(&self, unit: &str) -> Result<(), TestError> {
        self.wait_for(&Wait::Unit { unit: unit.to_owned(), user: None, state: "active".to_owned() }).map(drop)
    }

    /// Waits until a path is there.
    ///
    /// # Errors
    /// It does not come in time.
    pub fn wait_for_file(&self, path: &str) -> Result<(), TestError> {
        self.wait_for(&Wait::File { path: path.to_owned(), present: true }).map(drop)
    }

    /// Waits until a TCP port of the machine is open.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_for_open_port(&self, port: u16) -> Result<(), TestError> {
        self.wait_for_port("localhost", port, true)
    }

    /// Waits until a TCP port of the machine is closed.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_for_closed_port(&self, port: u16) -> Result<(), TestError> {
        self.wait_for_port("localhost", port, false)
    }

    /// Waits until a TCP port of any host can, or cannot, be reached from the machine.
    ///
    /// # Errors
    /// It is not so in time.
    pub fn wait_for_port(&self, host: &str, port: u16, open: bool) -> Result<(), TestError> {
        self.wait_for(&Wait::Port { host: host.to_owned(), port, open }).map(drop)
    }

    /// Waits until a stream socket of the Unix kind accepts; the machine needs `nc`.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_for_open_unix_socket(&self, path: &str) -> Result<(), TestError> {
        self.wait_for(&Wait::Socket { path: path.to_owned(), datagram: false }).map(drop)
    }

    /// All that its console said since the first start.
    #[must_use]
    pub fn console_log(&self) -> String {
        let path = self.network().settings().machine_dir(self.id).join("console.log");
        text(&std::fs::read(path).unwrap_or_default())
    }

    /// Waits until its console has said something that a regular expression matches.
    ///
    /// # Errors
    /// It has not in time, or the machine ended without it; no regular expression.
    pub fn wait_for_console_text(&self, pattern: &str) -> Result<(), TestError> {
        let regex = compile(pattern)?;
        self.start()?;
        self.until(|machine, is_last| {
            let ran = machine.is_running();
            if regex.is_match(&machine.console_log()) {
                return Ok(true);
            }
            if is_last || !ran {
                let log = self.console_log();
                return Err(self.not_so(format!("`{pattern}` did not come on the console{}\n ", super::error::excerpt("it says", &log))));
            }
            Ok(false)
        })
    }

    // ---- files and pages

    /// Copies a file or folder of this host to a path in the machine; folders above it are made.
    ///
    /// # Errors
    /// It cannot be read, or written.
    pub fn copy_to(&self, source: &Path, target: &str) -> Result<(), TestError> {
        let io = |error| TestError::Io { action: "cannot read", path: source.to_owned(), source: error };
        let to = quote(target);
        let meta = std::fs::metadata(source).map_err(io)?;
        let (data, command) = if meta.is_dir() {
            let mut archive = tar::Builder::new(Vec::new());
            archive.follow_symlinks(false);
            archive.append_dir_all(".", source).map_err(io)?;
            (archive.into_inner().map_err(io)?, format!("mkdir -p {to} && tar -C {to} -xf - --no-same-owner"))
        } else {
            let mode = if std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 == 0 { "644" } else { "755" };
            (std::fs::read(source).map_err(io)?, format!("mkdir -p \"$(dirname -- {to})\" && cat > {to} && chmod {mode} -- {to}"))
        };
        let output = self.execute(&Command { stdin: Some(&data), ..Command::from(command.as_str()) })?;
        if output.status == 0 { Ok(()) } else { Err(self.failure(&command, &output, Some(format!("{} was to be copied", source.display())))) }
    }

    /// Copies a file or folder of the machine into a folder of this host, under its own name.
    ///
    /// # Errors
    /// It cannot be read, or written.
    pub fn copy_from(&self, source: &str, folder: &Path) -> Result<(), TestError> {
        let name = Path::new(source).file_name().ok_or_else(|| self.not_so(format!("`{source}` names no file")))?;
        let target = folder.join(name);
        let io = |error| TestError::Io { action: "cannot write", path: target.clone(), source: error };
        let from = quote(source);
        let command = format!("if test -d {from}; then printf d; tar -C {from} -cf - .; else printf f; cat -- {from}; fi");
        let output = self.execute(&command.as_str().into())?;
        if output.status != 0 {
            return Err(self.failure(&command, &output, Some(format!("{source} was to be copied"))));
        }
        std::fs::create_dir_all(folder).map_err(io)?;
        match output.stdout.split_first() {
            Some((b'd', archive)) => {
                std::fs::create_dir_all(&target).map_err(io)?;
                // The machine is not trusted with places outside: the archive's reader keeps to the folder.
                tar::Archive::new(archive).unpack(&target).map_err(io)
            }
            Some((_, data)) => std::fs::write(&target, data).map_err(io),
            None => Err(self.failure(&command, &output, Some("nothing came".into()))),
        }
    }

    /// Fetches a page from the machine: plain HTTP, without any program but the shell's.
    ///
    /// # Errors
    /// No such URL; no connection, or no whole answer.
    pub fn http_get(&self, url: &str) -> Result<HttpAnswer, TestError> {
        let at = Url::parse(url).map_err(|reason| self.not_so(reason))?;
        let command = format!("exec 3<>/dev/tcp/{}/{}\ncat >&3\nexec cat <&3", quote(&at.host), at.port);
        let output = self.execute(&Command { stdin: Some(at.request().as_bytes()), ..Command::from(command.as_str()) })?;
        if output.status != 0 {
            let shown = CommandOutput { stdout: Vec::new(), ..output };
            return Err(self.failure(&format!("get {url}"), &shown, Some("an answer was expected".into())));
        }
        http::parse_answer(&output.stdout).map_err(|reason| self.not_so(format!("get {url}: {reason}")))
    }

    // ---- cables, monitor

    /// Pulls its cables to the segments.
    pub fn block(&self) {
        self.set_link(false);
    }

    /// Plugs them in again.
    pub fn unblock(&self) {
        self.set_link(true);
    }

    fn set_link(&self, up: bool) {
        crate::link::set_up(self.network(), self.id, up);
    }

    /// Leads a TCP port of this host's loopback to a port of the machine.
    ///
    /// # Errors
    /// QEMU refuses (the port is taken), or the machine is off.
    pub fn forward_port(&self, host_port: u16, guest_port: u16) -> Result<(), TestError> {
        let said = self.send_monitor_command(&format!("hostfwd_add net0u tcp:127.0.0.1:{host_port}-:{guest_port}"))?;
        match said.trim() {
            "" => Ok(()),
            refusal => Err(self.gone(refusal)),
        }
    }

    pub(crate) fn monitor(&self) -> Result<Arc<nbv_qemu::Qmp>, TestError> {
        self.network().view(self.id).monitor.ok_or_else(|| self.gone("it is not running"))
    }

    /// Gives QEMU's monitor for people a command; its answer.
    ///
    /// # Errors
    /// The machine is off, or QEMU does not answer.
    pub fn send_monitor_command(&self, command: &str) -> Result<String, TestError> {
        self.monitor()?.human(command, MONITOR).map_err(|error| self.gone(error))
    }

    /// Writes a picture of the screen (PNG).
    ///
    /// # Errors
    /// There is no screen, or the machine is off.
    pub fn screenshot(&self, file: &Path) -> Result<(), TestError> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|source| TestError::Io { action: "cannot make", path: folder.to_owned(), source })?;
        }
        let png = self.picture()?.png().map_err(|error| self.gone(error))?;
        std::fs::write(file, png).map_err(|source| TestError::Io { action: "cannot write", path: file.to_owned(), source })
    }

    /// The monitor of a machine that has a screen.
    pub(crate) fn screen(&self) -> Result<Arc<nbv_qemu::Qmp>, TestError> {
        screen::of(self.network(), self.id).map_err(|error| self.gone(error))
    }

    /// What its screen shows.
    ///
    /// # Errors
    /// It has none, or is off.
    pub fn picture(&self) -> Result<Picture, TestError> {
        Picture::take(&*self.screen()?, &self.network().settings().machine_dir(self.id)).map_err(|error| self.gone(error))
    }

    /// Types on its console.
    ///
    /// # Errors
    /// The machine is off.
    pub fn send_console(&self, text: &str) -> Result<(), TestError> {
        let view = self.network().view(self.id);
        let mut console = view.console.as_deref().ok_or_else(|| self.gone("it is not running"))?;
        console.write_all(text.as_bytes()).map_err(|error| self.gone(error))
    }

    /// The last lines of its journal, for a report; nothing when it cannot be asked.
    pub(crate) fn journal(&self, lines: usize) -> Option<String> {
        let view = self.network().view(self.id);
        let guest = view.guest.filter(|_| matches!(view.phase, Phase::Booting | Phase::Ready))?;
        let count = lines.to_string();
        let argv = ["/usr/bin/journalctl", "-b", "--no-pager", "-q", "-n", &count];
        let output = guest.client().ok()?.run(argv, Some(Duration::from_secs(20))).ok()?;
        Some(text(&output.stdout))
    }
}

/// Bytes as text; what is no UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A word for the shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A regular expression over many lines: `^` and `$` are those of a line.
pub(crate) fn compile(pattern: &str) -> Result<regex::Regex, TestError> {
    let built = regex::RegexBuilder::new(pattern).multi_line(true).build();
    built.map_err(|error| TestError::Pattern { pattern: pattern.to_owned(), reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned() })
}
