//! Exit codes: one enum, as docs/architecture.md and the manual page list them.

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The user's input or the evaluation is at fault.
    Input,
    /// Wrong usage.
    Usage,
    /// A build failed.
    Build,
    /// A machine or a test failed.
    Machine,
    /// Interrupted by Ctrl-C.
    Interrupted,
    /// The status of a command that was run for the user (`ssh`, `shell`, `--wait-ready`).
    Passed(u8),
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Input => 1,
            Self::Usage => 2,
            Self::Build => 3,
            Self::Machine => 4,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }
}
