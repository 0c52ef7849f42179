//! What is said about a configuration file, and where it points.

use std::{error, fmt, io};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One finding with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
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

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What kind of thing is found; the name of each stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A `"` without its second.
    UnclosedQuote,
    /// A password of which not all is used.
    PasswordCut,
    /// A word that is no text.
    NotUtf8,
    /// A line of more characters than keepalived reads, or than a replacement may make.
    LineTooLong,
    /// A line with a NUL character.
    NulCharacter,
    /// A brace that belongs to nothing.
    StrayBrace,
    /// A block without its `{`.
    MissingBrace,
    /// A block without its `}`.
    UnclosedBlock,
    /// Braces after what takes none.
    TakesNoBlock,
    /// Blocks or includes too deep in one another.
    TooDeep,
    /// A second statement, or address, on a line.
    TwoStatements,
    /// A word after what is complete.
    UnexpectedWord,
    /// An include that finds nothing, or cannot be read.
    Include,
    /// A definition that cannot be made, or not be used like this.
    Definition,
    /// A `$NAME` that nobody has defined.
    UndefinedName,
    /// What another program should have replaced, or run.
    Template,
    /// A `~SEQ` or `~LST` that generates nothing.
    Generator,
    /// More lines than anybody could mean.
    TooManyLines,
    /// A keyword that is none, or not here.
    UnknownKeyword,
    /// A word that means nothing in its place.
    UnknownWord,
    /// A name that nothing bears.
    UnknownName,
    /// A block that needs a name.
    MissingName,
    /// A keyword without its value.
    MissingValue,
    /// A value of the wrong kind, or out of range.
    BadValue,
    /// What keepalived does and vipd does not do yet.
    NotSupportedYet,
    /// What keepalived does and vipd will not do.
    NotSupported,
    /// What has no meaning under vipd.
    NoEffect,
    /// A keyword given twice.
    Repeated,
    /// A file without vrrp_instance.
    NoInstance,
    /// A block without what it cannot do without.
    MissingKeyword,
    /// A block without lines.
    EmptyBlock,
    /// More addresses than an advert carries.
    TooMany,
    /// Statements that exclude each other.
    Conflict,
    /// A name, an id or an address that is taken.
    Duplicate,
    /// A statement that another makes meaningless.
    Ignored,
    /// A statement that means more than it says.
    Implied,
    /// What goes beyond the RFCs.
    Extension,
    /// What others may expect to be otherwise.
    Advice,
    /// IPv4 and IPv6 where there can be one.
    MixedFamilies,
    /// A prefix with bits beyond its length.
    HostBits,
    /// A route that cannot be.
    BadRoute,
    /// A rule that cannot be.
    BadRule,
    /// What other users of the machine may change or read, and should not.
    Insecure,
    /// Findings that are not shown.
    More,
    /// A file that cannot be read.
    Unreadable,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Self::UnclosedQuote => "unclosed-quote",
            Self::PasswordCut => "password-cut",
            Self::NotUtf8 => "not-utf8",
            Self::LineTooLong => "line-too-long",
            Self::NulCharacter => "nul-character",
            Self::StrayBrace => "stray-brace",
            Self::MissingBrace => "missing-brace",
            Self::UnclosedBlock => "unclosed-block",
            Self::TakesNoBlock => "takes-no-block",
            Self::TooDeep => "too-deep",
            Self::TwoStatements => "two-statements",
            Self::UnexpectedWord => "unexpected-word",
            Self::Include => "include",
            Self::Definition => "definition",
            Self::UndefinedName => "undefined-name",
            Self::Template => "template",
            Self::Generator => "generator",
            Self::TooManyLines => "too-many-lines",
            Self::UnknownKeyword => "unknown-keyword",
            Self::UnknownWord => "unknown-word",
            Self::UnknownName => "unknown-name",
            Self::MissingName => "missing-name",
            Self::MissingValue => "missing-value",
            Self::BadValue => "bad-value",
            Self::NotSupportedYet => "not-supported-yet",
            Self::NotSupported => "not-supported",
            Self::NoEffect => "no-effect",
            Self::Repeated => "repeated",
            Self::NoInstance => "no-instance",
            Self::MissingKeyword => "missing-keyword",
            Self::EmptyBlock => "empty-block",
            Self::TooMany => "too-many",
            Self::Conflict => "conflict",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Implied => "implied",
            Self::Extension => "extension",
            Self::Advice => "advice",
            Self::MixedFamilies => "mixed-families",
            Self::HostBits => "host-bits",
            Self::BadRoute => "bad-route",
            Self::BadRule => "bad-rule",
            Self::Insecure => "insecure",
            Self::More => "more",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Diagnostic {
    /// As it is shown to people, in colours or without, and without a line end.
    pub fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Notice => Level::INFO.with_name("notice"),
        };
        let mut group = Group::with_title(level.primary_title(&*self.message).id(self.code.name()));
        if self.source.is_empty() {
            group = group.element(Origin::path(&*self.file));
        } else {
            group = group.element(self.snippet());
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(&**note));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(&**hint));
        }
        renderer.render(&[group])
    }

    /// On one line: place, message and hint.
    pub fn summary(&self) -> String {
        let Self { file, line, column, message, hint, .. } = self;
        let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{file}:{line}:{column}: {message}{hint}")
    }

    fn snippet(&self) -> Snippet<'_, Annotation<'_>> {
        let from = octets(&self.source, self.caret.saturating_sub(1));
        let to = octets(&self.source, self.caret.saturating_sub(1).saturating_add(self.width)).max(from);
        Snippet::source(&*self.source)
            .line_start(self.line as usize)
            .path(&*self.file)
            .annotation(AnnotationKind::Primary.span(from..to))
    }
}

/// Octets of the first `chars` characters.
fn octets(text: &str, chars: u32) -> usize {
    text.char_indices().nth(chars as usize).map_or(text.len(), |(at, _)| at)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

/// A file that cannot be run: its errors, and the warnings found on the way, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub(crate) fn unreadable(file: &str, error: &io::Error) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code: Code::Unreadable,
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

    /// How many errors there are, in words: `2 errors`.
    pub fn count(&self) -> String {
        match self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        }
    }

    /// The first error on one line, and how many more there are.
    pub fn summary(&self) -> String {
        let mut errors = self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let Some(Diagnostic { file, line, column, message, .. }) = errors.next() else {
            return String::new();
        };
        let more = match errors.count() {
            0 => String::new(),
            1 => "; 1 more error".to_owned(),
            count => format!("; {count} more errors"),
        };
        format!("{file}:{line}:{column}: {message}{more}")
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
