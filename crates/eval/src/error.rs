//! Failures of evaluation.
//!
//! An [`EvalError`] is one word. It is built where the failure is understood, gets its place from the
//! innermost code that has one, and collects trace frames while it travels up.

use nbv_diag::{Diagnostic, Frame, Span};

/// What failed, where, and on the way to what.
pub struct EvalError(Box<Data>);

struct Data {
    diagnostic: Diagnostic,
    is_catchable: bool,
    /// The cell whose evaluation met itself; frames up to it are the cycle.
    cycle: usize,
}

impl EvalError {
    /// A failure with a stable code (`eval::kebab-name`) and a one-line message.
    #[cold]
    pub fn new(code: &'static str, message: impl Into<String>) -> EvalError {
        EvalError(Box::new(Data { diagnostic: Diagnostic::error(code, message), is_catchable: false, cycle: 0 }))
    }

    /// A value of the wrong type.
    #[cold]
    pub fn type_error(message: impl Into<String>) -> EvalError {
        EvalError::new("eval::type", message)
    }

    /// An argument that a builtin cannot use.
    #[cold]
    pub fn invalid(message: impl Into<String>) -> EvalError {
        EvalError::new("eval::invalid-argument", message)
    }

    /// Something that `tryEval` catches.
    #[must_use]
    pub fn catchable(mut self) -> EvalError {
        self.0.is_catchable = true;
        self
    }

    /// Whether `tryEval` catches this (`throw`, `assert`, a failed search).
    pub fn is_catchable(&self) -> bool {
        self.0.is_catchable
    }

    pub fn code(&self) -> &'static str {
        self.0.diagnostic.code
    }

    pub fn message(&self) -> &str {
        &self.0.diagnostic.message
    }

    /// Sets the place, unless a more exact one is known.
    #[must_use]
    #[cold]
    pub fn or_at(mut self, span: Span) -> EvalError {
        if self.0.diagnostic.primary.is_none() {
            self.0.diagnostic.primary = span;
        }
        self
    }

    /// Sets the place.
    #[must_use]
    #[cold]
    pub fn at(mut self, span: Span) -> EvalError {
        self.0.diagnostic.primary = span;
        self
    }

    #[must_use]
    #[cold]
    pub fn labelled(mut self, text: impl Into<String>) -> EvalError {
        self.0.diagnostic.primary_label = text.into();
        self
    }

    #[must_use]
    #[cold]
    pub fn hint(mut self, text: impl Into<String>) -> EvalError {
        self.0.diagnostic.hints.push(text.into());
        self
    }

    #[must_use]
    #[cold]
    pub fn note(mut self, text: impl Into<String>) -> EvalError {
        self.0.diagnostic.notes.push(text.into());
        self
    }

    /// Adds what the world said besides its message.
    pub(crate) fn told(self, by: crate::world::WorldError) -> EvalError {
        let noted = by.notes.into_iter().fold(self, EvalError::note);
        by.hints.into_iter().fold(noted, EvalError::hint)
    }

    /// Adds a step of the chain of reasons, seen from inside out.
    #[must_use]
    #[cold]
    pub fn frame(mut self, span: Span, text: impl Into<String>) -> EvalError {
        let frame = Frame { span, text: text.into(), is_important: false };
        let trace = &mut self.0.diagnostic.trace;
        // A deep recursion repeats one step; keep the ends.
        if trace.len() < MAX_FRAMES && trace.last() != Some(&frame) {
            trace.push(frame);
        }
        self
    }

    /// Adds a step in the user's own words (`addErrorContext`).
    #[must_use]
    #[cold]
    pub fn context(mut self, text: impl Into<String>) -> EvalError {
        self.0.diagnostic.trace.push(Frame { span: Span::NONE, text: text.into(), is_important: true });
        self
    }

    pub(crate) fn with_cycle(mut self, cell: usize) -> EvalError {
        self.0.cycle = cell;
        self
    }

    pub(crate) fn cycle(&self) -> usize {
        self.0.cycle
    }

    #[cold]
    pub(crate) fn close_cycle(mut self, span: Span) -> EvalError {
        self.0.cycle = 0;
        if !span.is_none() {
            self.0.diagnostic.labels.push(nbv_diag::Label { span, text: "the value that needs itself".into() });
        }
        self
    }

    /// What to show.
    pub fn diagnostic(&self) -> &Diagnostic {
        &self.0.diagnostic
    }

    pub fn into_diagnostic(self) -> Diagnostic {
        self.0.diagnostic
    }

    pub(crate) fn diagnostic_mut(&mut self) -> &mut Diagnostic {
        &mut self.0.diagnostic
    }
}

/// Frames kept at most.
const MAX_FRAMES: usize = 400;

impl From<Diagnostic> for EvalError {
    fn from(diagnostic: Diagnostic) -> EvalError {
        EvalError(Box::new(Data { diagnostic, is_catchable: false, cycle: 0 }))
    }
}

impl std::fmt::Debug for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EvalError({}: {})", self.code(), self.message())
    }
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for EvalError {}

/// Adds places and reasons to a result; the closures run only on failure.
pub trait ResultExt {
    /// Sets the place, unless a more exact one is known.
    #[must_use]
    fn or_at(self, span: Span) -> Self;
    /// Adds a trace frame.
    #[must_use]
    fn frame(self, span: Span, text: impl FnOnce() -> String) -> Self;
}

impl<T> ResultExt for Result<T, EvalError> {
    #[inline(always)]
    fn or_at(self, span: Span) -> Self {
        match self {
            Ok(v) => Ok(v),
            Err(e) => Err(e.or_at(span)),
        }
    }

    #[inline(always)]
    fn frame(self, span: Span, text: impl FnOnce() -> String) -> Self {
        match self {
            Ok(v) => Ok(v),
            Err(e) => Err(e.frame(span, text())),
        }
    }
}
