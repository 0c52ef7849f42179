//! What is to be known about a line that was read.

use std::fmt;

use crate::text::TextPlace;

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteSeverity {
    /// The line is written in another form, or needs none.
    Notice,
    /// The line has no equal and is left out, or means something else.
    Warning,
    /// The line cannot be understood, or must not be imported. No configuration is written.
    Error,
}

/// A remark about one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file as it was named.
    pub file: String,
    /// From 1; 0 for the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0 for the line as a whole.
    pub column: u32,
    /// How much it matters.
    pub severity: NoteSeverity,
    /// What is the matter.
    pub message: String,
    /// What to do, where something is to be done.
    pub help: Option<String>,
}

impl Note {
    pub(crate) fn new(severity: NoteSeverity, place: &TextPlace, message: impl Into<String>) -> Self {
        let TextPlace { file, line, column } = place.clone();
        Self { file, line, column, severity, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for NoteSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}: {}", self.severity, self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// NoteSink of one severity at one place; what most readers need.
pub(crate) trait NoteSink {
    fn error(&mut self, place: &TextPlace, message: impl Into<String>, help: impl Into<String>);
    fn warning(&mut self, place: &TextPlace, message: impl Into<String>, help: impl Into<String>);
    fn notice(&mut self, place: &TextPlace, message: impl Into<String>);
}

impl NoteSink for Vec<Note> {
    fn error(&mut self, place: &TextPlace, message: impl Into<String>, help: impl Into<String>) {
        self.push(Note::new(NoteSeverity::Error, place, message).help(help));
    }

    fn warning(&mut self, place: &TextPlace, message: impl Into<String>, help: impl Into<String>) {
        self.push(Note::new(NoteSeverity::Warning, place, message).help(help));
    }

    fn notice(&mut self, place: &TextPlace, message: impl Into<String>) {
        self.push(Note::new(NoteSeverity::Notice, place, message));
    }
}
