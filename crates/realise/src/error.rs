//! Why a network could not be built, as a user reads it.

use crate::world::chain;
use nbv_diag::{Diagnostic, SourceMap};
use nbv_store::{BuildError, StoreError};
use std::sync::Arc;

/// Whose fault it is; exit codes follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user's input, or the evaluation.
    Input,
    /// A build, a download, the disk.
    Build,
    /// The user stopped it.
    Interrupted,
    /// The file has several tests, and none was named: [`Error::tests`].
    SeveralTests,
}

/// A failure with its diagnostics and the sources that they point into.
#[derive(Debug)]
pub struct Error {
    /// Whose fault it is.
    pub kind: Kind,
    /// What to show, the most important first.
    pub diagnostics: Vec<Diagnostic>,
    /// Texts of the places.
    pub sources: Arc<SourceMap>,
    /// The names to choose from.
    pub tests: Vec<String>,
}

impl Error {
    pub(crate) fn new(kind: Kind, diagnostic: Diagnostic) -> Self {
        Self { kind, diagnostics: vec![diagnostic], sources: Arc::default(), tests: Vec::new() }
    }

    /// Settings that cannot be.
    #[must_use]
    pub fn settings(message: impl Into<String>) -> Self {
        Self::input("input::settings", message)
    }

    pub(crate) fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Input, Diagnostic::error(code, message))
    }

    pub(crate) fn build(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Build, Diagnostic::error(code, message))
    }

    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.diagnostics.first_mut() {
            first.hints.push(text.into());
        }
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.diagnostics.first().map_or("interrupted", |d| d.message.as_str()))
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            return Self::build("store::disk-full", error.to_string())
                .hint("make room there, or choose another place with --option store DIR; nothing half-made was kept");
        }
        Self::build("store::failed", chain(&error))
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Store(error) => error.into(),
            BuildError::Interrupted => Self { kind: Kind::Interrupted, diagnostics: Vec::new(), sources: Arc::default(), tests: Vec::new() },
            BuildError::Failed { name, drv, reason, log, kept, hint, needed_by } => {
                let mut diagnostic = Diagnostic::error("build::failed", format!("building `{name}` failed: {reason}"));
                if !log.is_empty() {
                    diagnostic = diagnostic.note(format!("the last lines of its output:\n{}", log.join("\n")));
                }
                diagnostic = diagnostic.note(format!("derivation: {drv}"));
                if !needed_by.is_empty() {
                    diagnostic = diagnostic.note(format!("needed by: {}", needed_by.join(", ")));
                }
                if let Some(kept) = kept {
                    diagnostic = diagnostic.note(format!("its folder is kept: {}", kept.display()));
                }
                if let Some(hint) = hint {
                    diagnostic = diagnostic.hint(hint);
                }
                Self::new(Kind::Build, diagnostic)
            }
            BuildError::NoInput { .. } => Self::build("build::no-input", error.to_string()),
            BuildError::Cycle(_) => Self::build("build::cycle", error.to_string()),
        }
    }
}
