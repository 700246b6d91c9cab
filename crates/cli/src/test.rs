//! `nixos-build-vms test FILE...`: NixOS tests, built and run; and `bin/nixos-test-driver` of a result.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lexopt::prelude::*;
use nbv_driver::{Capture, Host, RunOptions, ScriptNames, TestOptions, TestReport, Work, check_script, check_steps, junit, run_test};
use nbv_plan::NetworkPlan;
use nbv_realise::{Kind, Subject, Test};

use crate::args::Build;
use crate::build::{self, fail, fail_with};
use crate::exit::Exit;
use crate::help;

/// Bytes of frames in each capture of a test's artefacts.
const CAPTURE_MAX: u64 = 256 << 20;

/// Flags of `test` and of the driver.
#[derive(Default)]
struct Flags {
    build: Build,
    files: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
    junit: Option<PathBuf>,
    timeout: Option<Duration>,
    jobs: usize,
    run: RunOptions,
    interactive: bool,
    attributes: Vec<String>,
}

/// A built test.
struct Built {
    file: PathBuf,
    result: PathBuf,
    test: Test,
}

/// Builds and runs the tests of files.
pub(crate) fn test(words: Vec<OsString>) -> Exit {
    let flags = match help::understood("test", read(words)) {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    if flags.files.is_empty() {
        return fail("no test file; usage: nixos-build-vms test [flags] FILE...", Exit::Usage);
    }
    if flags.interactive && flags.files.len() > 1 {
        return fail("--interactive takes one test file", Exit::Usage);
    }
    let mut tests = Vec::new();
    let mut unbuilt = None;
    for file in &flags.files {
        match build_tests(&flags, file) {
            Ok((built, failed)) => {
                tests.extend(built);
                unbuilt = unbuilt.or(failed);
            }
            Err(exit) => return exit,
        }
    }
    if flags.interactive && tests.len() > 1 {
        let names: Vec<&str> = tests.iter().map(|built| built.test.name.as_str()).collect();
        return fail(&format!("--interactive takes one test; choose with -A: {}", names.join(", ")), Exit::Usage);
    }
    match (run(&flags, &tests), unbuilt) {
        (Exit::Done, Some(exit)) => exit,
        (exit, _) => exit,
    }
}

/// Builds the tests of a file: those that `-A` names, else all. Of a set of tests, those that cannot be built are told
/// and left out; the exit is that of the first.
fn build_tests(flags: &Flags, file: &Path) -> Result<(Vec<Built>, Option<Exit>), Exit> {
    let build = Build { network: file.to_owned(), ..flags.build.clone() };
    let one = |attribute: &str| -> Result<Built, Exit> {
        let result = build::build_subject(&build, Subject::Test { name: Some(attribute.to_owned()), is_interactive: flags.interactive })?.path;
        let mut test = read_test(&result)?;
        // Variants of a test often have one name in common.
        if !attribute.is_empty() {
            attribute.clone_into(&mut test.name);
        }
        Ok(Built { file: file.to_owned(), test, result })
    };
    if !flags.attributes.is_empty() {
        return Ok((flags.attributes.iter().map(|name| one(name)).collect::<Result<_, _>>()?, None));
    }
    match build::try_build(&build, Subject::Test { name: None, is_interactive: flags.interactive })? {
        Ok(built) => Ok((vec![Built { file: file.to_owned(), test: read_test(&built.path)?, result: built.path }], None)),
        Err(error) if error.kind == Kind::SeveralTests => {
            let (mut tests, mut failed) = (Vec::new(), None);
            for name in &error.tests {
                match one(name) {
                    Ok(built) => tests.push(built),
                    Err(Exit::Interrupted) => return Err(Exit::Interrupted),
                    Err(exit) => {
                        build::warn(&format!("the test `{name}` of {} is left out", file.display()));
                        failed = failed.or(Some(exit));
                    }
                }
            }
            match failed {
                Some(exit) if tests.is_empty() => Err(exit),
                _ => Ok((tests, failed)),
            }
        }
        Err(error) => Err(build::show(&error, &build::style(build.show_trace))),
    }
}

/// What `bin/nixos-test-driver` does: the words with `--result DIR` first.
pub(crate) fn driver(words: Vec<OsString>) -> Exit {
    let flags = match read(words) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            help::show_command("test");
            return Exit::Done;
        }
        Err(message) => return fail(&message, Exit::Usage),
    };
    let result = match flags.run.result.canonicalize() {
        Ok(result) => result,
        Err(error) => return fail(&format!("{}: {error}", flags.run.result.display()), Exit::Usage),
    };
    let test = if result.join("test.json").exists() {
        match read_test(&result) {
            Ok(test) => test,
            Err(exit) => return exit,
        }
    } else {
        // A network without a script: started, and waited for, as the original does.
        Test { name: "network".into(), script: "start_all()\njoin_all()\n".into(), steps: None, global_timeout: u64::from(u32::MAX), enable_ocr: true, skip_lint: false }
    };
    run(&flags, &[Built { file: result.clone(), result, test }])
}

fn read_test(result: &Path) -> Result<Test, Exit> {
    let file = result.join("test.json");
    let text = std::fs::read_to_string(&file).map_err(|error| fail(&format!("{}: {error}", file.display()), Exit::Build))?;
    serde_json::from_str(&text).map_err(|error| fail(&format!("{}: {error}", file.display()), Exit::Build))
}

/// Names that a test may use. A result that cannot be read is told of when it is run.
fn names_of(built: &Built) -> ScriptNames {
    let text = std::fs::read_to_string(built.result.join("network.json")).unwrap_or_default();
    let machines = NetworkPlan::parse(&text).map_or_else(|_| Vec::new(), |plan| plan.machines);
    ScriptNames {
        segments: machines.iter().flat_map(|machine| machine.interfaces.iter().map(|own| own.segment)).collect(),
        machines: machines.into_iter().map(|machine| machine.name).collect(),
        are_checked: !built.test.skip_lint,
    }
}

fn run(flags: &Flags, tests: &[Built]) -> Exit {
    let host = match Host::from_environment() {
        Ok(host) => host,
        Err(error) => return fail_with(&error, Exit::Machine),
    };
    let place = |built: &Built| format!("{}: {}", built.file.display(), if built.test.steps.is_some() { "testSteps" } else { "testScript" });
    // No machine boots for what could not be run.
    for built in tests {
        let checked = match &built.test.steps {
            Some(steps) => check_steps(steps, &names_of(built).machines).map_err(|error| fail(&error, Exit::Input)),
            None if flags.interactive => Ok(()),
            None => check_script(&built.test.script, &place(built), &host, &names_of(built)).map_err(|error| fail_with(&error, Exit::Input)),
        };
        if let Err(exit) = checked {
            return exit;
        }
    }
    let interrupts = match nbv_driver::interrupts() {
        Ok(interrupts) => interrupts,
        Err(error) => return fail_with(&error, Exit::Machine),
    };
    let out_dir = flags.out_dir.clone().unwrap_or_else(|| host.current_dir.clone());
    let is_one = tests.len() == 1;
    let (senders, receivers): (Vec<Sender<()>>, Vec<Receiver<()>>) = tests.iter().map(|_| channel()).unzip();
    std::thread::spawn(move || {
        for () in interrupts {
            for sender in &senders {
                let _ended = sender.send(());
            }
        }
    });
    let receivers: Vec<Mutex<Option<Receiver<()>>>> = receivers.into_iter().map(|receiver| Mutex::new(Some(receiver))).collect();
    let next = AtomicUsize::new(0);
    let reports: Mutex<Vec<(usize, TestReport)>> = Mutex::default();
    let is_stopped = std::sync::atomic::AtomicBool::new(false);
    let work = || {
        while let Some((index, built)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, tests.get(index)?))) {
            if is_stopped.load(Ordering::Relaxed) {
                return;
            }
            let Some(interrupts) = receivers[index].lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let out_dir = if is_one { out_dir.clone() } else { out_dir.join(&built.test.name) };
            // Artefacts are asked for; a flood must not fill the disk.
            let artefact = flags.out_dir.as_ref().map(|_| Capture { dir: out_dir.join("captures"), limit: CAPTURE_MAX });
            let capture = flags.run.capture.clone().map(|own| if is_one { own } else { Capture { dir: own.dir.join(&built.test.name), ..own } }).or(artefact);
            let options = TestOptions {
                run: RunOptions { result: built.result.clone(), capture, ..flags.run.clone() },
                name: built.test.name.clone(),
                work: built.test.steps.clone().map_or_else(|| Work::Script(built.test.script.clone()), Work::Steps),
                place: place(built),
                out_dir,
                limit: flags.timeout.unwrap_or(Duration::from_secs(built.test.global_timeout)),
                enable_ocr: built.test.enable_ocr,
                interactive: flags.interactive,
                keeps_artefacts: flags.out_dir.is_some(),
            };
            let prefix = if is_one { String::new() } else { format!("[{}] ", built.test.name) };
            let report = run_test(&options, &host, interrupts, &mut Lines { prefix, line: Vec::new() }).unwrap_or_else(|error| {
                let exit = fail_with(&error, Exit::Machine);
                TestReport {
                    name: built.test.name.clone(),
                    took: Duration::ZERO,
                    failure: Some(format!("the machines could not be started (exit {})", exit.code())),
                    subtests: Vec::new(),
                    is_interrupted: false,
                }
            });
            if report.is_interrupted {
                is_stopped.store(true, Ordering::Relaxed);
            }
            reports.lock().unwrap_or_else(PoisonError::into_inner).push((index, report));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..flags.jobs.clamp(1, tests.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|(index, _)| *index);
    let reports: Vec<TestReport> = reports.into_iter().map(|(_, report)| report).collect();
    finish(flags, &out_dir, &reports)
}

/// Writes the report files and the last lines; decides the exit code.
fn finish(flags: &Flags, out_dir: &Path, reports: &[TestReport]) -> Exit {
    if let Some(file) = &flags.junit {
        let file = out_dir.join(file);
        if let Err(error) = std::fs::create_dir_all(out_dir).and_then(|()| std::fs::write(&file, junit(reports))) {
            return fail(&format!("cannot write {}: {error}", file.display()), Exit::Machine);
        }
    }
    let mut err = std::io::stderr();
    for report in reports.iter().filter(|report| !report.is_interrupted) {
        if let Some(failure) = &report.failure {
            let _closed = writeln!(err, "\ntest {} failed:\n{}\n", report.name, failure.trim_end());
        }
    }
    for report in reports {
        let verdict = match (&report.failure, report.is_interrupted) {
            (_, true) => "interrupted",
            (Some(_), false) => "FAILED",
            (None, false) => "passed",
        };
        let _closed = writeln!(err, "test {}: {verdict} after {:.1} s", report.name, report.took.as_secs_f64());
    }
    if reports.iter().any(|report| report.is_interrupted) {
        Exit::Interrupted
    } else if reports.iter().any(|report| report.failure.is_some()) {
        Exit::Machine
    } else {
        Exit::Done
    }
}

/// Writes whole lines to standard error, each with a prefix, so that several tests can write at once.
struct Lines {
    prefix: String,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.prefix.is_empty() {
            std::io::stderr().write_all(bytes)?;
            return Ok(bytes.len());
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let mut text = self.prefix.clone().into_bytes();
                text.append(&mut self.line);
                std::io::stderr().write_all(&text)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

fn read(words: Vec<OsString>) -> Result<Option<Flags>, String> {
    let mut flags = Flags { jobs: 1, ..Flags::default() };
    let mut parser = lexopt::Parser::from_args(words);
    let said = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(said)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("result") => flags.run.result = parser.value().map_err(said)?.into(),
            Short('o') | Long("output-directory") => {
                let dir: PathBuf = parser.value().map_err(said)?.into();
                flags.out_dir = Some(std::path::absolute(&dir).map_err(|error| format!("{}: {error}", dir.display()))?);
            }
            Long("junit-xml") => flags.junit = Some(parser.value().map_err(said)?.into()),
            Long("capture") => flags.run.capture = Some(Capture { dir: parser.value().map_err(said)?.into(), limit: u64::MAX }),
            Short('A') | Long("attr") => flags.attributes.push(parser.value().map_err(said)?.to_string_lossy().into_owned()),
            Long("interactive") => flags.interactive = true,
            Long("keep-vm-state" | "keep-machine-state") => flags.run.keep_vm_state = true,
            Long("state-dir") => flags.run.state_dir = Some(parser.value().map_err(said)?.into()),
            Long("timeout") => flags.timeout = Some(Duration::from_secs(parser.value().map_err(said)?.parse().map_err(said)?)),
            Long("jobs") => flags.jobs = parser.value().map_err(said)?.parse().map_err(said)?,
            Long("show-trace") => flags.build.show_trace = true,
            Short('q') | Long("quiet") => {
                flags.build.verbosity -= 1;
                flags.run.quiet = true;
            }
            Short('v') | Long("verbose") => flags.build.verbosity += 1,
            Short('I') | Long("include") => flags.build.search_path.push(parser.value().map_err(said)?.to_string_lossy().into_owned()),
            Long("option") => {
                let name = parser.value().map_err(said)?.to_string_lossy().into_owned();
                let value = parser.raw_args().map_err(said)?.next().ok_or("--option needs NAME VALUE")?;
                flags.build.options.push((name, value.to_string_lossy().into_owned()));
            }
            Value(file) => flags.files.push(file.into()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Some(flags))
}
