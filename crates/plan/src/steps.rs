//! Steps of a test without a script: `steps` in `result/test.json`.
//!
//! The library's nixos/lib/testing/steps.nix writes them, checked; docs/test-steps.md says what each does. Times are in seconds.

use serde::{Deserialize, Serialize};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Where it stands in its file.
    #[serde(default)]
    pub place: Option<Place>,
    /// What its author calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// The machines on which it happens, one after the other.
    #[serde(default)]
    pub on: Vec<String>,
    /// The limit, seconds; none: the usual one.
    #[serde(default)]
    pub timeout: Option<f64>,
    /// What it does.
    pub does: Action,
}

/// A place in a file, with its line's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The line's text.
    #[serde(default)]
    pub text: String,
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// Text for the shell.
    pub command: String,
    /// Who runs it; none: root.
    #[serde(default)]
    pub user: Option<String>,
    /// Its standard input; none: empty.
    #[serde(default)]
    pub stdin: Option<String>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expect,
}

/// What must come of a command or a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// The exit status, or the answer's.
    #[serde(default)]
    pub status: Option<i32>,
    /// What standard output (or the body) is, less line ends at its end.
    #[serde(default)]
    pub equals: Option<String>,
    /// A regular expression that standard output (or the body) has somewhere.
    #[serde(default)]
    pub stdout: Option<String>,
    /// A regular expression that standard error has somewhere.
    #[serde(default)]
    pub stderr: Option<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "verb", deny_unknown_fields)]
pub enum Action {
    /// Runs a command, once.
    Run(Command),
    /// Runs a command that must fail.
    Fails(Command),
    /// Runs a command each second until it does what is expected.
    Until(Command),
    /// Waits for a unit's state.
    Unit {
        /// Its name.
        unit: String,
        /// Of this user's systemd; none: the machine's.
        #[serde(default)]
        user: Option<String>,
        /// The state: `active`, `inactive`, `failed`.
        state: String,
    },
    /// Waits until a TCP port can, or cannot, be reached from the machine.
    Port {
        /// The port.
        port: u16,
        /// The host that has it.
        host: String,
        /// Whether it must be open.
        open: bool,
    },
    /// Waits for a file, or until it is gone.
    File {
        /// Its path.
        path: String,
        /// Whether it must be there.
        present: bool,
        /// A regular expression that it has somewhere.
        #[serde(default)]
        content: Option<String>,
    },
    /// Waits until a Unix socket accepts.
    Socket {
        /// Its path.
        path: String,
    },
    /// Waits for text on the console.
    Console {
        /// A regular expression.
        pattern: String,
    },
    /// Fetches a page from the machine: plain HTTP.
    Get {
        /// `http://host[:port]/path`.
        url: String,
        /// What must come.
        expect: Expect,
    },
    /// Lets time pass.
    Sleep {
        /// So many seconds.
        seconds: f64,
    },
    /// Starts machines; none named: all.
    Start,
    /// Powers machines off, in order.
    Shutdown,
    /// Waits until machines are off.
    WaitOff,
    /// Restarts machines, in order.
    Reboot,
    /// Cuts machines' power.
    Crash,
    /// Pulls machines' cables.
    Block,
    /// Plugs them in again.
    Unblock,
    /// Parts groups of machines from each other.
    Partition {
        /// The groups.
        groups: Vec<Vec<String>>,
    },
    /// Ends a partition.
    Heal,
    /// Copies a file or folder of this host into the machine.
    CopyTo {
        /// The host's path.
        source: String,
        /// The machine's.
        target: String,
    },
    /// Copies a file or folder of the machine to the test's output.
    CopyFrom {
        /// The machine's path.
        source: String,
        /// A folder in the output's.
        target: String,
    },
    /// Takes a picture of the screen.
    Screenshot {
        /// The file's name, without `.png`.
        file: String,
    },
    /// Says something.
    Log {
        /// The text.
        text: String,
    },
    /// Steps under a name: a case of the report.
    Group {
        /// The name.
        title: String,
        /// The steps, one after the other.
        steps: Vec<Step>,
    },
    /// Steps at once.
    Parallel {
        /// The steps.
        steps: Vec<Step>,
    },
    /// Steps that are done again from the first until all succeed.
    Retry {
        /// The steps, one after the other.
        steps: Vec<Step>,
        /// Seconds between tries.
        interval: f64,
    },
}

impl Action {
    /// Steps within this one.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        match self {
            Self::Group { steps, .. } | Self::Parallel { steps } | Self::Retry { steps, .. } => steps,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_a_word_too_many_is_refused() {
        let text = r#"{ "on": ["a"], "timeout": 5, "does": { "verb": "run", "command": "true", "expect": { "status": 0 } } }"#;
        let step: Step = serde_json::from_str(text).unwrap();
        assert!(matches!(&step.does, Action::Run(command) if command.expect.status == Some(0)));
        assert_eq!(serde_json::from_str::<Step>(&serde_json::to_string(&step).unwrap()).unwrap(), step);
        let nested: Step = serde_json::from_str(r#"{ "does": { "verb": "copyTo", "source": "/a", "target": "/b" } }"#).unwrap();
        assert_eq!(nested.does, Action::CopyTo { source: "/a".into(), target: "/b".into() });
        assert!(serde_json::from_str::<Step>(r#"{ "does": { "verb": "run", "command": "true", "comand": 1 } }"#).is_err());
        assert!(serde_json::from_str::<Step>(r#"{ "does": { "verb": "heal" }, "onn": [] }"#).is_err());
    }
}
