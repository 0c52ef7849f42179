//! What is wrong with a configuration, where, and how to mend it.
//!
//! Owns positions, the sink every stage reports to, and the rendering. A password never leaves the sink: the rest of
//! a line after `auth_pass` (or something close to it) is masked in the shown source and in quoted words.

use std::fmt;

use super::{keywords::distance, lexer::Token};

/// How bad it is. Only an error keeps a configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One finding. Line and column count characters from 1; line 0 means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub source_line: String,
    /// How many characters the caret line underlines.
    pub width: usize,
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding about the file itself, such as one that cannot be read.
    pub fn about_file(file: &str, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            message,
            source_line: String::new(),
            width: 0,
            hint: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, column, message, .. } = self;
        if *line == 0 {
            write!(f, "{file}: {severity}: {message}")?;
        } else {
            // Tabs stay tabs, so that the carets stand under the word whatever the terminal makes of a tab.
            let before = self.source_line.chars().take(to_usize(*column).saturating_sub(1));
            let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(self.width.max(1));
            write!(f, "{file}:{line}:{column}: {severity}: {message}")?;
            write!(f, "\n  | {}\n  | {indent}{carets}", self.source_line)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  = help: {hint}"),
            None => Ok(()),
        }
    }
}

/// A configuration that cannot be used: everything found in it, in source order.
#[derive(Debug)]
pub struct Failure {
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostics.iter().try_for_each(|diagnostic| writeln!(f, "{diagnostic}"))
    }
}

impl std::error::Error for Failure {}

/// A stretch of one source line, in characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    pub width: usize,
}

/// Collects the findings of all stages over one source text.
pub struct Sink<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    found: Vec<Diagnostic>,
}

impl<'a> Sink<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, lines: text.split('\n').collect(), found: Vec::new() }
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), None);
    }

    pub fn error_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), Some(hint.into()));
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), None);
    }

    pub fn note(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Note, span, message.into(), None);
    }

    /// The word in backquotes, unless it may be a password.
    pub fn quote(&self, token: &Token) -> String {
        let secret = self.line(token.span.line).and_then(secret_from);
        match secret {
            Some(start) if to_usize(token.span.column) > start => "(hidden)".to_owned(),
            _ => format!("`{}`", token.text),
        }
    }

    /// Everything found, in source order.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.line, d.column, d.severity));
        self.found
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, hint: Option<String>) {
        let source_line = self.line(span.line).map(shown).unwrap_or_default();
        let Span { line, column, width } = span;
        let file = self.file.to_owned();
        self.found.push(Diagnostic { severity, file, line, column, message, source_line, width, hint });
    }

    fn line(&self, number: u32) -> Option<&'a str> {
        self.lines.get(to_usize(number).checked_sub(1)?).copied()
    }
}

/// The line as it may be printed: no control characters, no password.
fn shown(line: &str) -> String {
    let secret = secret_from(line).unwrap_or(usize::MAX);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let chars = line.chars().enumerate().map(|(index, c)| match c {
        '\t' => '\t',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c if index >= secret && !c.is_whitespace() && !matches!(c, '{' | '}' | '"') => '*',
        c => c,
    });
    chars.collect()
}

/// Where (in characters from 0) a line stops being fit for the log.
fn secret_from(line: &str) -> Option<usize> {
    let mut word = String::new();
    for (index, c) in line.chars().chain([' ']).enumerate() {
        if !(c.is_whitespace() || matches!(c, '{' | '}' | '"')) {
            word.push(c);
            continue;
        }
        let exact = matches!(word.as_str(), "auth_hmac" | "key" | "password");
        if exact || (word.len() <= 12 && distance(&word.to_lowercase(), "auth_pass") <= 2) {
            return Some(index);
        }
        word.clear();
    }
    None
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
