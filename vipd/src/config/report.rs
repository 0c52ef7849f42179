//! Collects findings while a file is read and turns them into diagnostics at the end.
//!
//! Passwords are masked here and nowhere else: text of the file enters a message only through [`Report::quote`], and
//! a shown line only through [`Report::finish`].

use std::collections::BTreeMap;

use super::{
    diagnostic::{Diagnostic, Severity},
    lexer::{Item, LINE_LEN_MAX, Span, Word},
};

pub struct Report<'t> {
    file: &'t str,
    lines: Vec<&'t str>,
    /// Line to the first column that must not be shown.
    hidden: BTreeMap<u32, u32>,
    findings: Vec<Finding>,
}

struct Finding {
    severity: Severity,
    span: Span,
    message: String,
    hint: Option<String>,
}

impl<'t> Report<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let mut report =
            Self { file, lines: text.lines().collect(), hidden: BTreeMap::new(), findings: Vec::new() };
        // By text, not by word: a password may stand in a comment or in a line that cannot be read.
        for (line, text) in (1..).zip(text.lines()) {
            if let Some(at) = text.find(PASSWORD_KEYWORD) {
                let end = at + PASSWORD_KEYWORD.len();
                report.hide(line, columns(&text[..end]) + 1);
            }
        }
        report
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), None);
    }

    pub fn error_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), Some(hint.into()));
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), Some(hint.into()));
    }

    pub fn notice(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Notice, span, message.into(), Some(hint.into()));
    }

    /// A word of the file in backticks, fit for a message.
    pub fn quote(&self, word: &Word) -> String {
        format!("`{}`", self.bare(word))
    }

    /// A keyword and its name, as in `` `vrrp_instance VI_1` ``.
    pub fn quote_pair(&self, keyword: &Word, name: &Word) -> String {
        format!("`{} {}`", self.bare(keyword), self.bare(name))
    }

    /// A word of the file fit for a message.
    pub fn bare(&self, word: &Word) -> String {
        let end = word.span.column + word.span.width;
        // Also a word that only ends there: a password may be glued to its keyword.
        if self.hidden.get(&word.span.line).is_some_and(|from| end > *from) {
            return MASK.to_owned();
        }
        let mut text = word.text.chars();
        let mut shown: String = text.by_ref().take(QUOTE_LEN_MAX).flat_map(char::escape_debug).collect();
        if text.next().is_some() {
            shown.push('…');
        }
        shown
    }

    /// The last line of a text that starts on `line` and goes on wherever a line ends with `\`.
    pub fn continued_until(&self, line: u32) -> u32 {
        let from = self.lines.iter().skip(line.saturating_sub(1) as usize);
        let continued = from.take_while(|text| text.trim_end().ends_with('\\')).count();
        line.saturating_add(u32::try_from(continued).unwrap_or(u32::MAX))
    }

    /// Marks what may be a password. Generous on purpose: a misspelt keyword must not print the secret after it.
    pub fn hide_secrets(&mut self, items: &[Item]) {
        let mut blocks: Vec<bool> = Vec::new();
        let mut header = false;
        for item in items {
            match item {
                Item::Open(_) => blocks.push(header),
                Item::Close(_) => {
                    blocks.pop();
                }
                Item::Statement(words) => {
                    let Some(first) = words.first() else { continue };
                    header = first.text.starts_with("auth");
                    if !blocks.last().copied().unwrap_or(false) {
                        continue;
                    }
                    // Shown: keywords, and the type; what follows the last of them may be the password.
                    let known = if first.text == "auth_type" { 2 } else { 0 };
                    let shown = |(i, word): &(usize, &Word)| *i < known || word.text.starts_with("auth");
                    let last = words.iter().enumerate().rfind(shown);
                    let from = last.map_or(first.span.column, |(_, word)| word.span.column + word.span.width);
                    self.hide(first.span.line, from);
                }
            }
        }
    }

    /// Keeps a line from `column` on out of every message.
    pub fn hide(&mut self, line: u32, column: u32) {
        let from = self.hidden.entry(line).or_insert(column);
        *from = column.min(*from);
    }

    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The diagnostics in the order of the file.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort_by_key(|finding| (finding.span.line, finding.span.column));
        findings.into_iter().map(|finding| self.diagnostic(finding)).collect()
    }

    fn add(&mut self, severity: Severity, span: Span, message: String, hint: Option<String>) {
        self.findings.push(Finding { severity, span, message, hint });
    }

    fn diagnostic(&self, finding: Finding) -> Diagnostic {
        let Finding { severity, span, message, hint } = finding;
        let Span { line, column, width } = span;
        let text = self.lines.get(line.saturating_sub(1) as usize).copied().unwrap_or_default();
        let (mut source, mut caret, mut width) = (showable(text), column, width.max(1));
        if let Some(from) = self.hidden.get(&line).copied() {
            let kept = from.saturating_sub(1) as usize;
            if source.chars().count() > kept {
                source = source.chars().take(kept).collect::<String>() + " " + MASK;
            }
            // What the caret meant may be hidden: the mask stands for all of it.
            if caret >= from {
                (caret, width) = (from + 1, columns(MASK));
            } else {
                width = width.min(from - caret);
            }
        }
        let file = self.file.to_owned();
        Diagnostic { severity, file, line, column, message, source, caret, width, hint }
    }
}

/// Replaces what would move the caret or speak to the terminal.
fn showable(text: &str) -> String {
    let clean = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().take(LINE_LEN_MAX).map(clean).collect()
}

fn columns(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

const PASSWORD_KEYWORD: &str = "auth_pass";
const MASK: &str = "****";
/// Longer words are cut in messages.
const QUOTE_LEN_MAX: usize = 60;
