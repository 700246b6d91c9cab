//! The host's side of the control channel: programs in the guest, from any number of threads.
//!
//! One thread per connection reads frames and hands them to their channels; it never writes, so that it cannot be stopped by a
//! guest that waits for it. Writers share the stream under a lock. Data that nobody reads stops its own program only.

mod connection;
mod run;
mod session;

pub use connection::{Client, Notice, Options};
pub use run::{Output, RunOptions};
pub use session::{Session, Stdin, Stream};

use std::time::Duration;

/// What went wrong with a guest's programs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream to the guest failed.
    #[error("the control channel failed: {0}")]
    Io(#[from] std::io::Error),
    /// The stream to the guest ended (the machine is off, or its connection was replaced).
    #[error("the control channel is closed")]
    Disconnected,
    /// The guest did not greet.
    #[error("the guest's control program did not answer within {0:?}")]
    NoGreeting(Duration),
    /// The guest speaks another version.
    #[error("the guest's control program speaks version {0} of the protocol, this one version {VERSION}: build the machine again", VERSION = crate::protocol::VERSION)]
    Version(u32),
    /// A program could not be started.
    #[error("cannot run '{program}' in the guest: {text}")]
    Start {
        /// Its name as given.
        program: String,
        /// The guest's error number.
        errno: i32,
        /// What failed.
        text: String,
    },
    /// A program took too long; it and all that it had started were killed.
    #[error("'{program}' did not end within {limit:?} and was killed")]
    Timeout {
        /// Its name as given.
        program: String,
        /// The limit.
        limit: Duration,
        /// What it had written to standard output.
        stdout: Vec<u8>,
        /// What it had written to standard error.
        stderr: Vec<u8>,
    },
    /// The guest refused a request.
    #[error("the guest refused to {what}: error {errno}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The guest's error number.
        errno: i32,
    },
    /// A request did not get its answer in time.
    #[error("no answer from the guest within {0:?}")]
    NoAnswer(Duration),
    /// The request cannot be sent.
    #[error("cannot ask the guest: {0}")]
    Request(&'static str),
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It left with this status.
    Code(u8),
    /// It was ended by this signal.
    Signal(u8),
}

impl ExitStatus {
    /// Whether it left with status 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// As a shell has it in `$?`: the status, or 128 and the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => i32::from(code),
            ExitStatus::Signal(signal) => 128 + i32::from(signal),
        }
    }
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The program itself.
    Process = 0,
    /// Its process group.
    Group = 1,
    /// Everything that it started (its control group; before there are any, its session).
    All = 2,
}

/// A program to run. [`Spec::new`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Program (a path, or a name that is looked for along PATH) and arguments.
    pub argv: Vec<Vec<u8>>,
    /// Variables, beside PATH, HOME, USER, LOGNAME, SHELL (and TERM with a terminal), which they replace.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// No other variables than those.
    pub bare: bool,
    /// Working folder; none: the user's home.
    pub cwd: Option<Vec<u8>>,
    /// User by name or number; none: root.
    pub user: Option<String>,
    /// A terminal of its own, with rows and columns.
    pub pty: Option<(u16, u16)>,
    /// Standard error goes where standard output goes.
    pub merge_stderr: bool,
    /// Standard input is empty (`/dev/null`).
    pub stdin_null: bool,
    /// Outputs are thrown away (`/dev/null`).
    pub output_null: bool,
    /// The program is `bash`, and may be one that the guest loaded beforehand: the next ones like it then start much faster.
    pub may_wait: bool,
}

impl Spec {
    /// A program with its arguments, as root, in root's home, with standard input, output and error.
    pub fn new<A: AsRef<[u8]>>(argv: impl IntoIterator<Item = A>) -> Self {
        Spec {
            argv: argv.into_iter().map(|a| a.as_ref().to_vec()).collect(),
            env: Vec::new(),
            bare: false,
            cwd: None,
            user: None,
            pty: None,
            merge_stderr: false,
            stdin_null: false,
            output_null: false,
            may_wait: false,
        }
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn cwd(mut self, folder: &str) -> Self {
        self.cwd = Some(folder.into());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Asks for a terminal.
    #[must_use]
    pub fn pty(mut self, rows: u16, columns: u16) -> Self {
        self.pty = Some((rows, columns));
        self
    }

    /// Joins standard error to standard output.
    #[must_use]
    pub fn merge_stderr(mut self) -> Self {
        self.merge_stderr = true;
        self
    }

    pub(crate) fn program(&self) -> String {
        self.argv.first().map_or_else(String::new, |name| String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests;
