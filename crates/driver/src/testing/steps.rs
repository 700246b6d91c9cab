//! Runs the steps of a test that has no script.
//!
//! Not here: how steps are written and checked (the library's testing/steps.nix), what machines do ([`super::machine`]).

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nbv_plan::steps::{Action, Command as Wanted, Expect, Place, Step};

use super::error::{TestError, excerpt};
use super::machine::{Command, CommandOutput, Machine, USUAL, Wait, compile, quote, text};
use super::network::Shared;
use super::report::Subtest;

/// Checks what only this program can: regular expressions and the machines' names.
///
/// # Errors
/// The first that is wrong, with its place.
pub fn check_steps(steps: &[Step], machines: &[String]) -> Result<(), String> {
    for step in steps {
        let expect = match &step.does {
            Action::Run(wanted) | Action::Fails(wanted) | Action::Until(wanted) => Some(&wanted.expect),
            Action::Get { expect, .. } => Some(expect),
            _ => None,
        };
        let own = match &step.does {
            Action::Console { pattern } => Some(pattern),
            Action::File { content, .. } => content.as_ref(),
            _ => None,
        };
        let patterns = expect.into_iter().flat_map(|expect| [&expect.stdout, &expect.stderr]).flatten().chain(own);
        for pattern in patterns {
            compile(pattern).map_err(|error| located(step, &error.to_string()))?;
        }
        if let Some(name) = step.on.iter().find(|name| !machines.contains(name)) {
            return Err(located(step, &format!("no machine `{name}` in this network; there are: {}", machines.join(", "))));
        }
        check_steps(step.does.steps(), machines)?;
    }
    Ok(())
}

/// A message with where its step stands and what the line says.
fn located(step: &Step, message: &str) -> String {
    match &step.place {
        None => message.to_owned(),
        Some(Place { file, line, column, text }) => {
            let margin = " ".repeat(line.to_string().len());
            let caret = " ".repeat((*column as usize).saturating_sub(1));
            format!("{file}:{line}:{column}\n{margin} |\n{line} | {text}\n{margin} | {caret}^\n{message}")
        }
    }
}

/// Whether the first thing done is a start; else all machines are started before it.
fn begins_with_start(steps: &[Step]) -> bool {
    steps.first().is_some_and(|step| matches!(step.does, Action::Start) || begins_with_start(step.does.steps()))
}

/// Runs steps, and says what it does. An error is the report of the failure.
pub(crate) struct Runner<'a> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) say: &'a (dyn Fn(&str) + Sync),
    pub(crate) subtests: Mutex<Vec<Subtest>>,
}

/// Where in the groups a step is.
#[derive(Clone, Default)]
struct At {
    depth: usize,
    group: String,
}

impl Runner<'_> {
    /// Runs all steps of a test.
    pub(crate) fn run_all(&self, steps: &[Step]) -> Result<(), String> {
        if !begins_with_start(steps) {
            self.say(&At::default(), "start all machines");
            for machine in self.shared.machines() {
                machine.start().map_err(|error| error.to_string())?;
            }
        }
        self.run(steps, &At::default())
    }

    fn say(&self, at: &At, text: &str) {
        (self.say)(&format!("{}{text}", "  ".repeat(at.depth)));
    }

    fn run(&self, steps: &[Step], at: &At) -> Result<(), String> {
        steps.iter().try_for_each(|step| self.step(step, at))
    }

    fn step(&self, step: &Step, at: &At) -> Result<(), String> {
        let start = Instant::now();
        self.say(at, &title(step));
        let below = At { depth: at.depth + 1, group: at.group.clone() };
        match &step.does {
            Action::Group { title, steps } => self.group(title, steps, below),
            Action::Parallel { steps } => self.parallel(steps, &below),
            Action::Retry { steps, interval } => self.retry(step, steps, Duration::from_secs_f64(*interval), &below),
            _ => self.act(step, &below).map_err(|error| located(step, &chain(&error))),
        }?;
        let took = start.elapsed().as_secs_f64();
        if took >= 0.1 || !step.does.steps().is_empty() {
            self.say(at, &format!("(done: {}, in {took:.2} seconds)", title(step)));
        }
        Ok(())
    }

    fn group(&self, title: &str, steps: &[Step], mut at: At) -> Result<(), String> {
        at.group = if at.group.is_empty() { title.to_owned() } else { format!("{} / {title}", at.group) };
        let start = Instant::now();
        let result = self.run(steps, &at);
        let case = Subtest { name: at.group, took: start.elapsed(), failure: result.clone().err() };
        self.subtests.lock().unwrap_or_else(PoisonError::into_inner).push(case);
        result
    }

    /// All run to their end, so that a failure tells of all that failed.
    fn parallel(&self, steps: &[Step], at: &At) -> Result<(), String> {
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let start = |step| std::thread::Builder::new().name("step".into()).spawn_scoped(scope, move || self.step(step, at));
            let threads: Vec<_> = steps.iter().map(start).collect();
            let end = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, Result<(), String>>>| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err("a step ended badly".to_owned())),
                Err(error) => Err(format!("cannot run steps at once: {error}")),
            };
            threads.into_iter().map(end).collect()
        });
        let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
    }

    fn retry(&self, step: &Step, steps: &[Step], interval: Duration, at: &At) -> Result<(), String> {
        let limit = step.timeout.map_or(USUAL, Duration::from_secs_f64);
        let end = Instant::now() + limit;
        loop {
            let tries_again = Instant::now() + interval < end;
            match self.run(steps, at) {
                Ok(()) => return Ok(()),
                Err(failure) if !tries_again || self.shared.is_ended() => {
                    return Err(format!("{failure}\n\nit was tried again for {} s; the retry:\n{}", limit.as_secs_f64(), located(step, "")).trim_end().to_owned());
                }
                Err(failure) => {
                    let first = failure.lines().find(|line| line.contains("command") || !line.contains('|')).unwrap_or_default();
                    self.say(at, &format!("not yet ({first}); again"));
                }
            }
            self.shared.sleep(interval).map_err(|error| error.to_string())?;
        }
    }

    /// The machines of a step, with its limit.
    fn machines(&self, step: &Step) -> Result<Vec<Machine>, TestError> {
        let limit = step.timeout.map_or(USUAL, Duration::from_secs_f64);
        step.on.iter().map(|name| self.shared.machine(name).map(|machine| machine.within(limit))).collect()
    }

    fn act(&self, step: &Step, at: &At) -> Result<(), TestError> {
        match &step.does {
            Action::Log { .. } => return Ok(()),
            Action::Sleep { seconds } if step.on.is_empty() => return self.shared.sleep(Duration::from_secs_f64(*seconds)),
            Action::Partition { groups } => return self.shared.partition(groups),
            Action::Heal => return self.shared.partition::<Vec<String>, String>(&[]),
            Action::Start if step.on.is_empty() => return self.shared.machines().iter().try_for_each(Machine::start),
            _ => {}
        }
        let machines = self.machines(step)?;
        if matches!(step.does, Action::Crash) {
            return machines.iter().try_for_each(Machine::crash);
        }
        machines.iter().try_for_each(|machine| self.act_on(machine, step, at))
    }

    fn act_on(&self, machine: &Machine, step: &Step, at: &At) -> Result<(), TestError> {
        match &step.does {
            Action::Run(wanted) => self.command(machine, wanted, at),
            Action::Fails(wanted) => {
                let output = self.execute(machine, wanted, at)?;
                let unexpected = if output.status == 0 { Some("a failure was expected".to_owned()) } else { unmet(&wanted.expect, &output)? };
                unexpected.map_or(Ok(()), |expected| Err(machine.failure(&wanted.command, &output, Some(expected))))
            }
            Action::Until(wanted) => machine.until(|machine, is_last| match self.command(machine, wanted, at) {
                Err(TestError::Command(_)) if !is_last => Ok(false),
                other => other.map(|()| true),
            }),
            Action::Unit { unit, user, state } => {
                machine.wait_for(&Wait::Unit { unit: unit.clone(), user: user.clone(), state: state.clone() }).map(drop)
            }
            Action::Port { port, host, open } => machine.wait_for_port(host, *port, *open),
            Action::File { path, present, content } => {
                let Some(content) = content else { return machine.wait_for(&Wait::File { path: path.clone(), present: *present }).map(drop) };
                let command = format!("cat -- {}", quote(path));
                let wanted = Wanted { command, user: None, stdin: None, expect: Expect { stdout: Some(content.clone()), ..Expect::default() } };
                machine.until(|machine, is_last| match self.command(machine, &wanted, at) {
                    Err(TestError::Command(_)) if !is_last => Ok(false),
                    other => other.map(|()| true),
                })
            }
            Action::Socket { path } => machine.wait_for_open_unix_socket(path),
            Action::Console { pattern } => machine.wait_for_console_text(pattern),
            Action::Get { url, expect } => self.get(machine, url, expect),
            Action::Sleep { seconds } => machine.sleep(Duration::from_secs_f64(*seconds)),
            Action::Start => machine.start(),
            Action::Shutdown => machine.shutdown(),
            Action::WaitOff => machine.wait_for_shutdown(),
            Action::Reboot => machine.reboot(),
            Action::Block => {
                machine.start()?;
                machine.block();
                Ok(())
            }
            Action::Unblock => {
                machine.unblock();
                Ok(())
            }
            Action::CopyTo { source, target } => machine.copy_to(source.as_ref(), target),
            Action::CopyFrom { source, target } => machine.copy_from(source, &self.shared.out_dir.join(target)),
            Action::Screenshot { file } => machine.connect().and_then(|()| machine.screenshot(&self.shared.out_dir.join(format!("{file}.png")))),
            Action::Crash => machine.crash(),
            Action::Log { .. } | Action::Partition { .. } | Action::Heal | Action::Group { .. } | Action::Parallel { .. } | Action::Retry { .. } => Ok(()),
        }
    }

    fn execute(&self, machine: &Machine, wanted: &Wanted, at: &At) -> Result<CommandOutput, TestError> {
        let stdin = wanted.stdin.as_ref().map(String::as_bytes);
        let output = machine.execute(&Command { text: &wanted.command, user: wanted.user.as_deref(), stdin, is_detached: false })?;
        text(&output.stderr).lines().for_each(|line| self.say(at, &format!("{}: {line}", machine.name())));
        Ok(output)
    }

    /// Runs a command that must do what is expected of it; without a word on the status that is 0.
    fn command(&self, machine: &Machine, wanted: &Wanted, at: &At) -> Result<(), TestError> {
        let output = self.execute(machine, wanted, at)?;
        if wanted.expect.status.is_none() && output.status != 0 {
            return Err(machine.failure(&wanted.command, &output, None));
        }
        match unmet(&wanted.expect, &output)? {
            Some(expected) => Err(machine.failure(&wanted.command, &output, Some(expected))),
            None => Ok(()),
        }
    }

    fn get(&self, machine: &Machine, url: &str, expect: &Expect) -> Result<(), TestError> {
        let answer = machine.http_get(url)?;
        let output = CommandOutput { status: i32::from(answer.status), stdout: answer.body, stderr: Vec::new() };
        let expect = Expect { status: expect.status.or(Some(200)), ..expect.clone() };
        match unmet(&expect, &output)? {
            Some(expected) => Err(TestError::NotSo {
                machine: machine.name().to_owned(),
                reason: format!("get {url} gave status {}, {expected}{}\n ", output.status, excerpt("body", &text(&output.stdout))),
            }),
            None => Ok(()),
        }
    }
}

/// What an output should have been and is not.
fn unmet(expect: &Expect, output: &CommandOutput) -> Result<Option<String>, TestError> {
    if let Some(status) = expect.status.filter(|status| *status != output.status) {
        return Ok(Some(format!("{status} was expected")));
    }
    let said = text(&output.stdout);
    if let Some(whole) = expect.equals.as_ref().filter(|whole| whole.trim_end_matches('\n') != said.trim_end_matches('\n')) {
        return Ok(Some(format!("the output `{}` was expected", whole.trim_end_matches('\n'))));
    }
    for (pattern, said, name) in [(&expect.stdout, &said, "output"), (&expect.stderr, &text(&output.stderr), "standard error")] {
        if let Some(pattern) = pattern
            && !compile(pattern)?.is_match(said)
        {
            return Ok(Some(format!("`{pattern}` was expected in its {name}")));
        }
    }
    Ok(None)
}

/// An error with its causes.
fn chain(error: &TestError) -> String {
    crate::machine::chain(error)
}

/// A step in a few words.
fn title(step: &Step) -> String {
    let what = match &step.does {
        Action::Run(wanted) => format!("run: {}", first_line(&wanted.command)),
        Action::Fails(wanted) => format!("must fail: {}", first_line(&wanted.command)),
        Action::Until(wanted) => format!("until it succeeds: {}", first_line(&wanted.command)),
        Action::Unit { unit, state, .. } => format!("wait for unit {unit} ({state})"),
        Action::Port { port, host, open } => format!("wait for port {port} of {host} ({})", if *open { "open" } else { "closed" }),
        Action::File { path, present, .. } => format!("wait for {path}{}", if *present { "" } else { " to go" }),
        Action::Socket { path } => format!("wait for socket {path}"),
        Action::Console { pattern } => format!("wait for `{pattern}` on the console"),
        Action::Get { url, .. } => format!("get {url}"),
        Action::Sleep { seconds } => format!("sleep {seconds} s"),
        Action::Start if step.on.is_empty() => "start all machines".to_owned(),
        Action::Start => "start".to_owned(),
        Action::Shutdown => "shut down".to_owned(),
        Action::WaitOff => "wait for power off".to_owned(),
        Action::Reboot => "reboot".to_owned(),
        Action::Crash => "crash".to_owned(),
        Action::Block => "block".to_owned(),
        Action::Unblock => "unblock".to_owned(),
        Action::Partition { groups } => {
            let groups: Vec<String> = groups.iter().map(|group| group.join(", ")).collect();
            format!("partition: {}", groups.join(" | "))
        }
        Action::Heal => "heal the partition".to_owned(),
        Action::CopyTo { source, target } => format!("copy {source} to {target}"),
        Action::CopyFrom { source, target } => format!("copy {source} from it{}", if target.is_empty() { String::new() } else { format!(" to {target}") }),
        Action::Screenshot { file } => format!("screenshot {file}"),
        Action::Log { text } => text.clone(),
        Action::Group { title, .. } => format!("group: {title}"),
        Action::Parallel { .. } => "at once".to_owned(),
        Action::Retry { .. } => "again until all succeed".to_owned(),
    };
    let mut text = String::new();
    if !step.on.is_empty() {
        let _ = write!(text, "{}: ", step.on.join(", "));
    }
    match &step.name {
        Some(name) => text + name,
        None => text + &what,
    }
}

fn first_line(command: &str) -> String {
    let mut lines = command.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first} ...") } else { first.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(json: &str) -> Step {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_only_the_driver_knows_is_checked_with_its_place() {
        let place = r#""place": { "file": "a.nix", "line": 12, "column": 5, "text": "    { console = \"(\"; }" }"#;
        let wrong = step(&format!(r#"{{ "on": ["a"], {place}, "does": {{ "verb": "console", "pattern": "(" }} }}"#));
        let group = step(r#"{ "does": { "verb": "group", "title": "g", "steps": [] } }"#);
        let within = Step { does: Action::Group { title: "g".into(), steps: vec![wrong] }, ..group };
        let error = check_steps(&[within], &["a".to_owned()]).unwrap_err();
        assert!(error.starts_with("a.nix:12:5\n   |\n12 |     { console") && error.contains("|     ^"), "{error}");
        let unknown = step(r#"{ "on": ["b"], "does": { "verb": "reboot" } }"#);
        assert!(check_steps(&[unknown], &["a".to_owned(), "c".to_owned()]).unwrap_err().contains("there are: a, c"));
    }

    #[test]
    fn expectations_are_held_against_what_came() {
        let output = CommandOutput { status: 3, stdout: b"one\ntwo\n".to_vec(), stderr: b"oops\n".to_vec() };
        let is_met = |expect: Expect| unmet(&expect, &output).unwrap().is_none();
        assert!(is_met(Expect { status: Some(3), equals: Some("one\ntwo".into()), stdout: Some("^two$".into()), stderr: Some("^oo".into()) }));
        assert!(!is_met(Expect { status: Some(0), ..Expect::default() }));
        assert!(!is_met(Expect { equals: Some("one".into()), ..Expect::default() }));
        assert!(!is_met(Expect { stdout: Some("three".into()), ..Expect::default() }));
        assert!(!is_met(Expect { stderr: Some("^two".into()), ..Expect::default() }));
    }
}
