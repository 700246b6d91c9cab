//! Waiting for what a machine becomes: units, ports, files, sockets, commands, text on the console.

use std::time::{Duration, Instant};

use super::super::error::{TestError, excerpt};
use super::{Command, CommandOutput, Machine, compile, quote, text};

/// The time between tries, at last; the first come sooner.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long a service whose program is not waited for must have been active.
const SETTLED: Duration = Duration::from_secs(1);

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

impl Machine {
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
                let at_last = excerpt("output", &text(&output.stdout)) + &excerpt("standard error", &text(&output.stderr));
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
            return Err(self.not_so(format!("{named} reached state \"failed\"{}\n ", excerpt("its journal", &text(&log)))));
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
                return Err(self.not_so(format!("`{pattern}` did not come on the console{}\n ", excerpt("it says", &log))));
            }
            Ok(false)
        })
    }
}
