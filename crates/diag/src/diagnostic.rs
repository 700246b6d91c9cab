//! The data of a diagnostic.

use crate::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    Error,
}

impl Severity {
    /// The word that starts the rendered text.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A second place that explains the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One step of the chain of reasons, innermost first: "while evaluating …", with its place if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub span: Span,
    pub text: String,
    /// Frames that a person needs even when the trace is folded (`addErrorContext`).
    pub is_important: bool,
}

/// One thing that went wrong, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name, `area::kebab-name`.
    pub code: &'static str,
    pub severity: Severity,
    /// One line, present tense, names in backticks; may have more lines when a user's text does.
    pub message: String,
    /// The place; [`Span::NONE`] when there is none.
    pub primary: Span,
    /// A few words under the marked text; may be empty.
    pub primary_label: String,
    pub labels: Vec<Label>,
    pub trace: Vec<Frame>,
    pub hints: Vec<String>,
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// An error without any place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: Span::NONE,
            primary_label: String::new(),
            labels: Vec::new(),
            trace: Vec::new(),
            hints: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A warning without any place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.primary = span;
        self
    }

    #[must_use]
    pub fn labelled(mut self, text: impl Into<String>) -> Self {
        self.primary_label = text.into();
        self
    }

    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
}
