//! Tests of networks: as NixOS' scripts, as lists of steps, or in Rust.
//!
//! What machines are asked to do is one thing for all three: [`machine`]. A script runs in Python on the host; its names (machines,
//! `start_all`, `subtest`, ...) are in `driver.py`, which asks for what it needs over a socket ([`bridge`]). [`steps`] are run here. A test
//! fails with the script's line or the step's place, the command and its output, and the machines' last words.
//!
//! Not here: how a test's machines are built.

mod bridge;
mod error;
mod http;
mod machine;
mod network;
mod report;
mod steps;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nbv_plan::steps::Step;

use crate::event::{Event, Kind};
use crate::host::Host;
use crate::options::RunOptions;
use crate::lines::Lines;
use crate::run::{Front, RunError, failed, prepare};
use crate::{server, state};
use network::Shared;
use steps::Runner;

pub use error::{CommandFailure, TestError};
pub use http::HttpAnswer;
pub use machine::{Command as GuestCommand, CommandOutput, Machine, TIMED_OUT};
pub use network::TestNetwork;
pub(crate) use report::escape;
pub use report::{Subtest, TestReport, junit};
pub use steps::check_steps;

const DRIVER: &str = concat!(include_str!("screen.py"), "\n\n", include_str!("driver.py"));
const CHECK: &str = include_str!("check.py");
/// Lines of a machine's journal in the report of a failure.
const JOURNAL_LINES: usize = 15;
/// A time that does not come.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a test consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A script, Python.
    Script(String),
    /// Steps.
    Steps(Vec<Step>),
}

/// A test to run.
#[derive(Debug, Clone)]
pub struct TestOptions {
    /// The built network and how to run it.
    pub run: RunOptions,
    /// The test's name.
    pub name: String,
    /// Its script or steps.
    pub work: Work,
    /// What the script is called in reports: `fails.nix: testScript`.
    pub place: String,
    /// Where copies and screenshots go.
    pub out_dir: PathBuf,
    /// After which it has failed, counted from the start of the script.
    pub limit: Duration,
    /// Whether the script may read text on screens.
    pub enable_ocr: bool,
    /// A prompt instead of the script.
    pub interactive: bool,
    /// Whether the consoles and a report are put beside the copies.
    pub keeps_artefacts: bool,
}

/// A script that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// No Python.
    #[error("python3 was not found in PATH; test scripts need it: install the package python3")]
    NoPython,
    /// It is no Python.
    #[error("{place}, {error}")]
    Syntax {
        /// The script.
        place: String,
        /// Python's words.
        error: String,
    },
    /// Python could not be run.
    #[error("python3 could not be run")]
    Run(#[from] std::io::Error),
}

/// What a script is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptNames {
    /// Names of the machines.
    pub machines: Vec<String>,
    /// Numbers of the segments.
    pub segments: Vec<u32>,
    /// Whether names that nothing defines are looked for (`skipLint` is false).
    pub are_checked: bool,
}

/// Whether a script can be run: its syntax, its names, the modules that it imports. To be asked before anything is booted.
///
/// # Errors
/// It cannot; the text says where and why, a line each.
pub fn check_script(script: &str, place: &str, host: &Host, names: &ScriptNames) -> Result<(), ScriptError> {
    let python = nbv_qemu::find::in_path("python3", host.path.as_deref()).ok_or(ScriptError::NoPython)?;
    let asked = serde_json::json!({ "script": script, "driver": DRIVER, "machines": names.machines, "segments": names.segments, "names": names.are_checked });
    let mut child = Command::new(python).args(["-c", CHECK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(asked.to_string().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().replace('\n', &format!("\n  {place}, "));
    Err(ScriptError::Syntax { place: place.to_owned(), error: said })
}

enum Happening {
    Event(Event),
    Line(String),
    Ended,
    Interrupt,
}

/// What the script said of itself.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<String>,
    pub(crate) is_done: bool,
    pub(crate) subtests: Vec<Subtest>,
    /// The script waits for the machines' end, however long that takes.
    pub(crate) has_no_limit: bool,
    /// Whether lines of consoles are not shown.
    pub(crate) is_serial_off: bool,
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test: its work from the start to its end, its failure, or its limit. Then no machine runs any more.
///
/// # Errors
/// The network could not be made. A failing test is a report, no error.
pub fn run_test(options: &TestOptions, host: &Host, interrupts: Receiver<()>, out: &mut dyn Write) -> Result<TestReport, RunError> {
    std::fs::create_dir_all(&options.out_dir).map_err(failed("cannot make the folder for the test's output"))?;
    let out_dir = options.out_dir.canonicalize().map_err(failed("cannot find the folder for the test's output"))?;
    let prepared = prepare(&options.run, host)?;
    let network = prepared.network.clone();
    let shared = Shared::new(network.clone(), out_dir);
    let start = Instant::now();
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let (sender, happenings) = channel();
    let begin = || -> std::io::Result<Option<Child>> {
        server::serve(&network, &network.settings().state_dir.join(state::SOCKET), || {})?;
        let events = network.subscribe();
        let to = sender.clone();
        std::thread::Builder::new().name("events".into()).spawn(move || events.into_iter().try_for_each(|event| to.send(Happening::Event(event))))?;
        let to = sender.clone();
        std::thread::Builder::new().name("interrupts".into()).spawn(move || interrupts.into_iter().try_for_each(|()| to.send(Happening::Interrupt)))?;
        match &options.work {
            Work::Steps(steps) if !options.interactive => {
                run_steps(steps.clone(), &shared, &outcome, sender.clone())?;
                Ok(None)
            }
            Work::Steps(_) | Work::Script(_) => run_python(options, host, &shared, &outcome, sender.clone()).map(Some),
        }
    };
    let mut child = match begin() {
        Ok(child) => child,
        Err(error) => {
            prepared.end();
            return Err(failed("cannot run the test")(error));
        }
    };
    let mut screen = Lines::new(&network, host.has_colour, options.run.quiet, out);
    let deadline = start + options.limit;
    let mut is_interrupted = false;
    let mut too_long = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = if lock(&outcome).has_no_limit { FOREVER } else { left };
        match happenings.recv_timeout(patience) {
            Ok(Happening::Event(event)) if matches!(event.kind, Kind::Line(_)) && lock(&outcome).is_serial_off => {}
            Ok(Happening::Event(event)) => screen.event(&event),
            Ok(Happening::Line(line)) => screen.text(&line),
            Ok(Happening::Ended) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Happening::Interrupt) => {
                is_interrupted = true;
                break;
            }
            Err(RecvTimeoutError::Timeout) if lock(&outcome).has_no_limit => {}
            Err(RecvTimeoutError::Timeout) => {
                too_long = true;
                break;
            }
        }
    }
    if let Some(child) = &mut child {
        let _ = child.kill();
        let _ = child.wait();
    }
    shared.end();
    let outcome = std::mem::take(&mut *lock(&outcome));
    let mut failure = match outcome.failure {
        _ if is_interrupted => Some("interrupted".to_owned()),
        Some(failure) => Some(failure),
        None if too_long => Some(format!("the test took longer than its limit of {} s (globalTimeout or --timeout)", options.limit.as_secs())),
        None if !outcome.is_done => Some(format!("{}: Python ended before the script did", options.place)),
        None => None,
    };
    if let Some(text) = &mut failure
        && !is_interrupted
    {
        for machine in shared.machines() {
            if let Some(journal) = machine.journal(JOURNAL_LINES) {
                text.push_str(&format!("\nlast lines of the journal of {}:", machine.name()));
                journal.lines().for_each(|line| text.push_str(&format!("\n    {line}")));
            }
        }
        screen.text(&format!("test {} failed: {text}", options.name));
    }
    let report = TestReport { name: options.name.clone(), took: start.elapsed(), failure, subtests: outcome.subtests, is_interrupted };
    if options.keeps_artefacts
        && let Err(error) = keep_artefacts(&shared, &report)
    {
        screen.text(&format!("-- cannot keep the consoles and the report: {error}"));
    }
    drop(screen);
    prepared.end();
    Ok(report)
}

/// Writes the machines' consoles and the report into the output folder.
fn keep_artefacts(shared: &Arc<Shared>, report: &TestReport) -> std::io::Result<()> {
    for machine in shared.machines() {
        let log = shared.network.settings().machine_dir(machine.id()).join("console.log");
        if log.exists() {
            std::fs::copy(log, shared.out_dir.join(format!("{}.console.log", machine.name())))?;
        }
    }
    std::fs::write(shared.out_dir.join("report.txt"), report.text())
}

/// Starts a thread that runs steps.
fn run_steps(steps: Vec<Step>, shared: &Arc<Shared>, outcome: &Arc<Mutex<Outcome>>, sender: Sender<Happening>) -> std::io::Result<()> {
    let (shared, outcome) = (Arc::clone(shared), Arc::clone(outcome));
    std::thread::Builder::new().name("steps".into()).spawn(move || {
        let lines = Mutex::new(sender);
        let say = |line: &str| {
            // Nobody listens once the test has ended.
            let _ = lines.lock().unwrap_or_else(PoisonError::into_inner).send(Happening::Line(line.to_owned()));
        };
        let runner = Runner { shared, say: &say, subtests: Mutex::default() };
        let result = runner.run_all(&steps);
        let mut outcome = lock(&outcome);
        outcome.failure = result.err();
        outcome.is_done = true;
        outcome.subtests = runner.subtests.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(outcome);
        let _ = lines.into_inner().unwrap_or_else(PoisonError::into_inner).send(Happening::Ended);
    })?;
    Ok(())
}

/// Starts Python with the script, or with a prompt.
fn run_python(options: &TestOptions, host: &Host, shared: &Arc<Shared>, outcome: &Arc<Mutex<Outcome>>, lines: Sender<Happening>) -> std::io::Result<Child> {
    let python = nbv_qemu::find::in_path("python3", host.path.as_deref()).ok_or_else(|| std::io::Error::other(ScriptError::NoPython.to_string()))?;
    let program = shared.network.settings().state_dir.join("driver.py");
    std::fs::write(&program, DRIVER)?;
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(&python);
    command.arg("-u").arg(&program).arg(theirs.as_raw_fd().to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdout(writer.try_clone()?).stderr(writer);
    if options.interactive {
        command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.stdin(Stdio::null());
    }
    let child = nbv_qemu::process::spawn_bound(command, vec![theirs])?;
    bridge::serve(shared, ours, options, host, Arc::clone(outcome))?;
    std::thread::Builder::new().name("script".into()).spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if lines.send(Happening::Line(String::from_utf8_lossy(&line).into_owned())).is_err() {
                break;
            }
        }
        let _ = lines.send(Happening::Ended);
    })?;
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            base_dir: "/nowhere".into(),
            cache_dir: None,
            path: std::env::var_os("PATH"),
            exe: "/nowhere/nbv".into(),
            current_dir: "/".into(),
            state_dir: None,
            has_colour: false,
        }
    }

    fn check(script: &str) -> Result<(), String> {
        let names = ScriptNames { machines: vec!["web".into(), "dash-client".into()], segments: vec![1], are_checked: true };
        check_script(script, "a.nix: testScript", &host(), &names).map_err(|error| error.to_string())
    }

    #[test]
    fn a_script_with_an_error_is_refused_with_its_line() {
        check("start_all()\nx = [m for m in machines]\n").unwrap();
        check("dash_client.succeed(f'{vlan1}')\ndef f(a):\n  global g\n  g = a\n  return g\nt.fail(f(1))\ntry:\n  import none_such\nexcept ImportError: pass\n").unwrap();
        for (script, line, word) in [
            ("start_all()\nif x\n", 2, ""),
            ("start_all()\nwbe.succeed('x')\n", 2, "`web`"),
            ("import none_such\n", 1, "none_such"),
            ("def f():\n  return nowhere\n", 2, "nowhere"),
        ] {
            let error = check(script).unwrap_err();
            assert!(error.contains(&format!("a.nix: testScript, line {line}:")) && error.contains(word), "{error}");
        }
        let unchecked = ScriptNames::default();
        check_script("wbe.succeed('x')\n", "a", &host(), &unchecked).unwrap();
    }

    #[test]
    fn the_drivers_own_python_is_python() {
        check_script(DRIVER, "driver.py", &host(), &ScriptNames::default()).unwrap();
    }
}
