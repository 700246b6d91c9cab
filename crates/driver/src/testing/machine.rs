//! One machine in a test's hands: power, commands, files, pages, links, screen. [`wait`] has what is waited for.

mod wait;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nbv_guest::Spec;

pub(crate) use wait::Wait;

use super::error::{CommandFailure, TestError};
use super::http::{self, HttpAnswer, Url};
use super::network::Shared;
use crate::event::{MachineId, Phase};
use crate::guest::{Guest, PATH};
use crate::machine::chain;
use crate::network::{Network, Reboots};
use crate::screen::{self, Picture};

/// How long anything may take that says nothing of it.
pub(crate) const USUAL: Duration = Duration::from_secs(900);
/// The status of a command that ran out of time, as timeout(1) has it.
pub const TIMED_OUT: i32 = 124;
/// How long a command that has ended may leave its output open and silent: something that it started holds it.
const LINGER: Duration = Duration::from_secs(5);
/// The same for standard error, for which nobody waits.
const ERROR_LINGER: Duration = Duration::from_millis(20);
/// How long QEMU's monitor may take.
pub(crate) const MONITOR: Duration = Duration::from_secs(60);
/// How every command of a test begins.
const STRICT: &str = "set -euo pipefail\n";
/// Prints what a login shell of root exports, once systemd can be talked to. Commands have these variables.
const LOGIN: &str = "until [ -S /run/systemd/private ]; do sleep 0.1; done\nexport USER=root HOME=/root\n\
                     if [ -e /etc/profile ]; then . /etc/profile >&2 </dev/null || true; fi\nexport PAGER=\nexec env -0";

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

/// A handle on one machine. Clones are of the same machine.
#[derive(Clone)]
pub struct Machine {
    shared: Arc<Shared>,
    id: MachineId,
    limit: Duration,
}

impl Machine {
    /// A handle on a machine of a network, with the usual limit.
    pub(super) fn new(shared: Arc<Shared>, id: MachineId) -> Self {
        Self { shared, id, limit: USUAL }
    }

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
