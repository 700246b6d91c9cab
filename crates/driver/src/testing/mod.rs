//! NixOS test scripts: Python on the host, machines in a network of ours, a bridge between them.
//!
//! The script's names (machines, `start_all`, `subtest`, ...) are in `driver.py`; what they need of a machine they ask for over a
//! socket ([`bridge`]). A script fails with its line, the command and its output, and the machine's last words.
//!
//! Not here: how a test's machines are built.

mod bridge;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{Event, Phase};
use crate::host::Host;
use crate::options::RunOptions;
use crate::lines::Lines;
use crate::run::{Front, RunError, failed, prepare};
use crate::{server, state};

const DRIVER: &str = concat!(include_str!("screen.py"), "\n\n", include_str!("driver.py"));
/// Lines of a machine's journal in the report of a failure.
const JOURNAL_LINES: &str = "15";

/// A test to run.
#[derive(Debug, Clone)]
pub struct TestOptions {
    /// The built network and how to run it.
    pub run: RunOptions,
    /// The test's name.
    pub name: String,
    /// Its script.
    pub script: String,
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
}

/// How a test, or a part of it, ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// Its subtests in their order: name, time, failure.
    pub subtests: Vec<Subtest>,
    /// Whether it was interrupted.
    pub is_interrupted: bool,
}

/// A subtest.
#[derive(Debug, Clone, PartialEq)]
pub struct Subtest {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<String>,
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

/// Whether Python takes a script: to be asked before anything is booted.
///
/// # Errors
/// It does not; the text says where.
pub fn check_script(script: &str, place: &str, host: &Host) -> Result<(), ScriptError> {
    const CHECK: &str = "import sys\ntry: compile(sys.stdin.read(), 'testScript', 'exec')\nexcept (SyntaxError, ValueError) as e:\n \
                         print(f\"line {getattr(e, 'lineno', '?')}: {getattr(e, 'msg', e)}: {(getattr(e, 'text', '') or '').strip()}\"); sys.exit(1)";
    let python = nbv_qemu::find::in_path("python3", host.path.as_deref()).ok_or(ScriptError::NoPython)?;
    let mut child = Command::new(python).args(["-c", CHECK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(ScriptError::Syntax { place: place.to_owned(), error: String::from_utf8_lossy(&output.stdout).trim().to_owned() })
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
}

/// Runs a test: its script from the start to its end, its failure, or its limit. Then no machine runs any more.
///
/// # Errors
/// The network could not be made. A failing test is a report, no error.
pub fn run_test(options: &TestOptions, host: &Host, interrupts: Receiver<()>, out: &mut dyn Write) -> Result<TestReport, RunError> {
    let python = nbv_qemu::find::in_path("python3", host.path.as_deref()).ok_or_else(|| {
        failed("cannot run the test's script")(std::io::Error::other(ScriptError::NoPython.to_string()))
    })?;
    std::fs::create_dir_all(&options.out_dir).map_err(failed("cannot make the folder for the test's output"))?;
    let prepared = prepare(&options.run, host)?;
    let network = prepared.network.clone();
    let start = Instant::now();
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let (sender, happenings) = channel();
    let begin = || -> std::io::Result<Arc<Mutex<std::process::Child>>> {
        let state_dir = network.settings().state_dir.clone();
        server::serve(&network, &state_dir.join(state::SOCKET), || {})?;
        let program = state_dir.join("driver.py");
        std::fs::write(&program, DRIVER)?;
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(&python);
        command.arg("-u").arg(&program).arg(theirs.as_raw_fd().to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdout(writer.try_clone()?).stderr(writer);
        if !options.interactive {
            command.stdin(Stdio::null());
        } else {
            command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        }
        let child = nbv_qemu::process::spawn_bound(command, vec![theirs])?;
        bridge::serve(&network, ours, options, host.path.clone(), Arc::clone(&outcome))?;
        let lines = sender.clone();
        std::thread::Builder::new().name("script".into()).spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                if lines.send(Happening::Line(String::from_utf8_lossy(&line).into_owned())).is_err() {
                    break;
                }
            }
            let _ = lines.send(Happening::Ended);
        })?;
        let events = network.subscribe();
        let to = sender.clone();
        std::thread::Builder::new().name("events".into()).spawn(move || events.into_iter().try_for_each(|event| to.send(Happening::Event(event))))?;
        let to = sender.clone();
        std::thread::Builder::new().name("interrupts".into()).spawn(move || interrupts.into_iter().try_for_each(|()| to.send(Happening::Interrupt)))?;
        Ok(Arc::new(Mutex::new(child)))
    };
    let child = match begin() {
        Ok(child) => child,
        Err(error) => {
            prepared.end();
            return Err(failed("cannot run the test's script")(error));
        }
    };
    let mut screen = Lines::new(&network, host.has_colour, options.run.quiet, out);
    let deadline = start + options.limit;
    let mut is_interrupted = false;
    let mut too_long = false;
    loop {
        match happenings.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Happening::Event(event)) => screen.event(&event),
            Ok(Happening::Line(line)) => screen.text(&line),
            Ok(Happening::Ended) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Happening::Interrupt) => {
                is_interrupted = true;
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                too_long = true;
                break;
            }
        }
    }
    {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
    let outcome = std::mem::take(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner));
    let mut failure = match outcome.failure {
        Some(failure) => Some(failure),
        None if is_interrupted => Some("interrupted".to_owned()),
        None if too_long => Some(format!("the test took longer than its limit of {} s (globalTimeout or --timeout)", options.limit.as_secs())),
        None if !outcome.is_done => Some(format!("{}: Python ended before the script did", options.place)),
        None => None,
    };
    if let Some(text) = &mut failure
        && !is_interrupted
    {
        for (id, machine) in network.machines() {
            let view = network.view(id);
            let Some(guest) = view.guest.filter(|_| matches!(view.phase, Phase::Booting | Phase::Ready)) else { continue };
            let Ok(client) = guest.client() else { continue };
            let argv = ["/usr/bin/journalctl", "-b", "--no-pager", "-q", "-n", JOURNAL_LINES];
            if let Ok(output) = client.run(argv, Some(Duration::from_secs(20))) {
                text.push_str(&format!("\nlast lines of the journal of {}:", machine.name));
                String::from_utf8_lossy(&output.stdout).lines().for_each(|line| text.push_str(&format!("\n    {line}")));
            }
        }
    }
    drop(screen);
    prepared.end();
    Ok(TestReport { name: options.name.clone(), took: start.elapsed(), failure, subtests: outcome.subtests, is_interrupted })
}

/// Reports as JUnit XML.
#[must_use]
pub fn junit(reports: &[TestReport]) -> String {
    let failures = reports.iter().filter(|report| report.failure.is_some()).count();
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{failures}\">\n", reports.len());
    for report in reports {
        let mut cases = report.subtests.clone();
        cases.push(Subtest { name: report.name.clone(), took: report.took, failure: report.failure.clone() });
        let failed = cases.iter().filter(|case| case.failure.is_some()).count();
        let suite = escape(&report.name);
        text.push_str(&format!("  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failed}\" time=\"{:.3}\">\n", cases.len(), report.took.as_secs_f64()));
        for case in cases {
            let head = format!("    <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.3}\"", escape(&case.name), case.took.as_secs_f64());
            match case.failure {
                None => text.push_str(&format!("{head}/>\n")),
                Some(failure) => {
                    let first = escape(failure.lines().next().unwrap_or_default());
                    text.push_str(&format!("{head}><failure message=\"{first}\">{}</failure></testcase>\n", escape(&failure)));
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text within XML; characters that XML cannot have are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            c if c < ' ' && c != '\t' => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
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

    #[test]
    fn a_script_with_a_syntax_error_is_refused_with_its_line() {
        check_script("start_all()\nx = [m for m in machines]\n", "a.nix: testScript", &host()).unwrap();
        let error = check_script("start_all()\nif x\n", "a.nix: testScript", &host()).unwrap_err().to_string();
        assert!(error.contains("a.nix: testScript, line 2:"), "{error}");
    }

    #[test]
    fn the_drivers_own_python_is_python() {
        check_script(DRIVER, "driver.py", &host()).unwrap();
    }

    #[test]
    fn a_report_is_xml_whatever_a_failure_says() {
        let report = TestReport {
            name: "a<b".into(),
            took: Duration::from_millis(1500),
            failure: Some("\"x\" & \u{1}y\nz".into()),
            subtests: vec![Subtest { name: "one".into(), took: Duration::ZERO, failure: None }],
            is_interrupted: false,
        };
        let text = junit(&[report]);
        assert!(text.contains("message=\"&quot;x&quot; &amp; y\"") && text.contains("time=\"1.500\"") && text.contains("a&lt;b"), "{text}");
        assert_eq!(text.matches("<testcase").count(), 2);
    }
}
