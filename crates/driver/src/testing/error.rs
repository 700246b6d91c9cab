//! What a machine in a test's hands may fail with, and how that reads.

use std::path::PathBuf;
use std::time::Duration;

use crate::run::RunError;

/// Lines of a command's output in a report: the last ones.
const OUTPUT_LINES: usize = 40;

/// Why something asked of a network did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The network could not be made.
    #[error(transparent)]
    Prepare(#[from] RunError),
    /// No such machine.
    #[error("no machine `{name}` in this network; there are: {known}")]
    NoMachine {
        /// The name.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// It could not be started.
    #[error("machine {machine} could not be started: {reason}")]
    Start {
        /// The machine.
        machine: String,
        /// Why not.
        reason: String,
    },
    /// It failed, is off, or does not answer.
    #[error("{reason}")]
    Guest {
        /// The machine.
        machine: String,
        /// What is the matter, with the machine's name.
        reason: String,
    },
    /// A command did not do what it should.
    #[error("{}", .0.describe())]
    Command(Box<CommandFailure>),
    /// Something is not as it should be.
    #[error("{reason} on {machine}")]
    NotSo {
        /// The machine.
        machine: String,
        /// What is not so.
        reason: String,
    },
    /// It took too long.
    #[error("{what} on {machine} did not come within {} s{}", limit.as_secs_f64(), after(last))]
    TooLong {
        /// The machine.
        machine: String,
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// How it was at last; may be empty.
        last: String,
    },
    /// No regular expression.
    #[error("`{pattern}` is no regular expression: {reason}")]
    Pattern {
        /// The text.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A file of this host.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The test has ended meanwhile.
    #[error("the test has ended")]
    Ended,
}

fn after(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!(": {last}") }
}

/// A command that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFailure {
    /// The machine.
    pub machine: String,
    /// The command's text.
    pub command: String,
    /// Its exit status; 124 when it was ended for taking too long.
    pub status: i32,
    /// What was expected instead, if not status 0.
    pub expected: Option<String>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl CommandFailure {
    fn describe(&self) -> String {
        let Self { machine, command, status, .. } = self;
        let mut text = match &self.expected {
            None => format!("command `{command}` failed (exit code {status}) on {machine}"),
            Some(expected) => format!("command `{command}` on {machine} ended with exit code {status}, {expected}"),
        };
        if *status == super::machine::TIMED_OUT {
            text.push_str(" (124: it may have run out of time)");
        }
        text.push_str(&excerpt("output", &self.stdout));
        text.push_str(&excerpt("standard error", &self.stderr));
        text
    }
}

/// The end of an output under its name; nothing for an empty one.
pub(crate) fn excerpt(title: &str, output: &str) -> String {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let shown = &lines[lines.len().saturating_sub(OUTPUT_LINES)..];
    let left_out = lines.len() - shown.len();
    let head = if left_out == 0 { String::new() } else { format!(" (without its first {left_out} lines)") };
    shown.iter().fold(format!("\n  {title}{head}:"), |text, line| text + "\n    " + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_reads_with_its_outputs() {
        let mut failure = CommandFailure {
            machine: "web".into(),
            command: "exit 3".into(),
            status: 3,
            expected: None,
            stdout: "a\nb\n".into(),
            stderr: String::new(),
        };
        assert_eq!(failure.describe(), "command `exit 3` failed (exit code 3) on web\n  output:\n    a\n    b");
        failure.stdout = "x\n".repeat(50);
        failure.expected = Some("0 was expected".into());
        let text = failure.describe();
        assert!(text.contains("ended with exit code 3, 0 was expected") && text.contains("first 10 lines"), "{text}");
    }
}
