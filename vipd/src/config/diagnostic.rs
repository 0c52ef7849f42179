//! What is said about a configuration file, and where it points.

use std::{error, fmt, io};

/// One finding with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub message: String,
    /// The line as it may be shown: passwords masked, control characters replaced. Empty: nothing to show.
    pub source: String,
    /// Column of the caret in `source`, from 1. It differs from `column` where a password was masked.
    pub caret: u32,
    /// Characters the caret underlines, at least 1.
    pub width: u32,
    /// What the line became, and how it came in.
    pub notes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be run.
    Error,
    /// The file runs, but probably not as its author thinks.
    Warning,
    /// Something has no meaning under vipd and can be removed.
    Notice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, column, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {severity}: {message}")?;
        if !self.source.is_empty() {
            let blank = " ".repeat(self.caret.saturating_sub(1) as usize);
            let carets = "^".repeat(self.width as usize);
            write!(f, "\n  | {}\n  | {blank}{carets}", self.source)?;
        }
        for note in &self.notes {
            write!(f, "\n  = note: {note}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  = help: {hint}")?;
        }
        Ok(())
    }
}

/// A file that cannot be run: its errors, and the warnings found on the way, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: format!("cannot read the file: {error}"),
            source: String::new(),
            caret: 1,
            width: 1,
            notes: Vec::new(),
            hint: None,
        };
        Self { diagnostics: vec![diagnostic] }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl error::Error for Failure {}
