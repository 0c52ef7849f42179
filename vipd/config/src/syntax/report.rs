//! Collects findings while a file is read and turns them into diagnostics at the end.
//!
//! Passwords are masked here and nowhere else: words of the file enter a message through [`Report::quote`], and a shown line
//! through [`Report::finish`]. What is wrong before there are words (`expand`) enters by [`fit`]: names, paths and numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    diagnostic::{Code, Diagnostic, Severity},
    span::{Item, LINE_LEN_MAX, Span, Word},
};
use crate::schema::{keyword::Block, table};

#[derive(Default)]
pub struct Report {
    files: Vec<String>,
    /// Of logical lines, whose numbers count from 1.
    places: Vec<Place>,
    /// Logical line to the first column that must not be shown.
    hidden: BTreeMap<u32, u32>,
    findings: Vec<Reported>,
    /// By severity.
    found: [usize; 3],
    /// What is read is ignored: what is wrong with it is no error. How often it was said.
    ignored: usize,
    /// Logical lines of which all is said.
    silent: BTreeSet<u32>,
    /// Where the first is of those that are not kept, and how many they are.
    more: Option<(Span, usize)>,
}

/// Where a logical line comes from.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of [`Report::add_file`].
    pub file: u32,
    /// Of the line in the file, from 1.
    pub number: u32,
    /// As written.
    pub source: Rc<str>,
    /// What definitions and generators have made of it, if they have.
    pub becomes: Option<String>,
    pub via: Option<Rc<Via>>,
}

/// What brought a line in.
#[derive(Clone, Debug)]
pub enum Via {
    Include { file: u32, line: u32, outer: Option<Rc<Via>> },
    Definition { name: String, file: u32, line: u32, outer: Option<Rc<Via>> },
}

struct Reported {
    severity: Severity,
    code: Code,
    span: Span,
    message: String,
    hint: Option<String>,
}

impl Report {
    /// Takes note of a file, and gives its number; the first is the one that was asked for.
    pub fn add_file(&mut self, name: &str) -> u32 {
        self.files.push(name.to_owned());
        self.files.len() as u32 - 1
    }

    /// Takes note of a logical line, and gives its number.
    pub fn add_place(&mut self, place: Place) -> u32 {
        let line = self.places.len() as u32 + 1;
        // By text, not by word: a password may stand in a comment, in a line that cannot be read, or in a list.
        let is_made = place.becomes.as_ref().is_some_and(|becomes| becomes.contains(PASSWORD_KEYWORD));
        if let Some(at) = place.source.find(PASSWORD_KEYWORD) {
            let end = at + PASSWORD_KEYWORD.len();
            let list = place.source.find("~LST(").filter(|list| *list < at);
            self.hide(line, columns(&place.source[..list.unwrap_or(end)]) + 1);
        } else if is_made {
            self.hide(line, 1);
        }
        self.places.push(place);
        line
    }

    /// The line's number in its file.
    pub fn number(&self, span: Span) -> u32 {
        self.place(span.line).map_or(1, |place| place.number)
    }

    /// Where something is, seen from `from`: `line 7`, or `line 7 of other.conf`.
    pub fn line_of(&self, span: Span, from: Span) -> String {
        let file = |span: Span| self.place(span.line).map_or(0, |place| place.file);
        let number = self.number(span);
        if file(span) == file(from) {
            format!("line {number}")
        } else {
            format!("line {number} of {}", self.file(file(span)))
        }
    }

    /// `FILE:LINE`.
    pub fn describe(&self, span: Span) -> String {
        let file = self.place(span.line).map_or(0, |place| place.file);
        format!("{}:{}", self.file(file), self.number(span))
    }

    /// The file in which something stands.
    pub fn file_of(&self, span: Span) -> &str {
        self.file(self.place(span.line).map_or(0, |place| place.file))
    }

    /// Every file that was read, in the order of reading.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    fn place(&self, line: u32) -> Option<&Place> {
        self.places.get(line.checked_sub(1)? as usize)
    }

    fn file(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", String::as_str)
    }

    pub fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.add(Severity::Error, code, span, message.into(), None);
    }

    pub fn error_hint(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, code, span, message.into(), Some(hint.into()));
    }

    pub fn warning(&mut self, code: Code, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, code, span, message.into(), Some(hint.into()));
    }

    pub fn notice(&mut self, code: Code, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Notice, code, span, message.into(), Some(hint.into()));
    }

    /// A word of the file in backticks, fit for a message.
    pub fn quote(&self, word: &Word) -> String {
        format!("`{}`", self.bare(word))
    }

    /// A keyword and its name, as in `` `vrrp_instance VI_1` ``.
    pub fn quote_pair(&self, keyword: &Word, name: &Word) -> String {
        format!("`{} {}`", self.bare(keyword), self.bare(name))
    }

    /// A keyword that the file may not have, and a name that it has.
    pub fn quote_named(&self, keyword: &str, name: &Word) -> String {
        format!("`{keyword} {}`", self.bare(name))
    }

    /// Another text in the place of a word, fit for a message.
    pub fn bare_as(&self, word: &Word, text: &str) -> String {
        self.bare(&Word { text: text.to_owned(), span: word.span })
    }

    /// A word of the file fit for a message.
    pub fn bare(&self, word: &Word) -> String {
        let end = word.span.column + word.span.width;
        // Also a word that only ends there: a password may be glued to its keyword.
        if self.hidden.get(&word.span.line).is_some_and(|from| end > *from) {
            return MASK.to_owned();
        }
        fit(&word.text)
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
                    header = first.text.starts_with("auth") || first.text == "SSL";
                    if !blocks.last().copied().unwrap_or(false) {
                        let misspelt = first.text.starts_with(KEY_KEYWORD) && first.text != KEY_KEYWORD;
                        if table::has_secret(&first.text) || misspelt {
                            self.hide(first.span.line, first.span.column + first.span.width);
                        }
                        continue;
                    }
                    // Shown: keywords, and the type; what follows the last of them may be the password.
                    let known = match first.text.as_str() {
                        "auth_type" => 2,
                        first if table::find(Block::Ssl, first).is_some() => 1,
                        _ => 0,
                    };
                    let shown = |(i, word): &(usize, &Word)| *i < known || word.text.starts_with("auth");
                    let last = words.iter().enumerate().rfind(shown);
                    let from = last.map_or(first.span.column, |(_, word)| word.span.column + word.span.width);
                    // Words that one definition stands for are where its name is.
                    let behind = &words[last.map_or(0, |(i, _)| i + 1)..];
                    let apart = behind.iter().all(|word| word.span.column >= from);
                    self.hide(first.span.line, if apart { from } else { 1 });
                }
            }
        }
    }

    /// Keeps a line from `column` on out of every message.
    pub fn hide(&mut self, line: u32, column: u32) {
        let from = self.hidden.entry(line).or_insert(column);
        *from = column.min(*from);
    }

    /// From here on, or no longer: what is read is ignored, so that errors in it are warnings.
    pub fn ignored(&mut self, is_ignored: bool) {
        self.ignored = if is_ignored { self.ignored + 1 } else { self.ignored.saturating_sub(1) };
    }

    /// Whether what is read is ignored.
    pub fn is_ignored(&self) -> bool {
        self.ignored > 0
    }

    /// Nothing more is to be said of a logical line.
    pub fn silence(&mut self, line: u32) {
        self.silent.insert(line);
    }

    /// Whether nothing more is to be said of a logical line.
    pub fn is_silent(&self, line: u32) -> bool {
        self.silent.contains(&line)
    }

    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The diagnostics in the order of the file.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        if let Some((span, count)) = self.more {
            let message = format!("{count} more like these are not shown");
            let finding =
                Reported { severity: Severity::Notice, code: Code::More, span, message, hint: None };
            self.findings.push(finding);
        }
        let mut findings = std::mem::take(&mut self.findings);
        // A password may look like a name that is not defined.
        let hidden = |f: &Reported| self.hidden.get(&f.span.line).is_some_and(|from| f.span.column >= *from);
        findings.retain(|f| (f.severity, f.code) != (Severity::Warning, Code::UndefinedName) || !hidden(f));
        findings.sort_by_key(|finding| (finding.span.line, finding.span.column));
        undefined_once(&mut findings);
        findings.into_iter().map(|finding| self.diagnostic(finding)).collect()
    }

    fn add(&mut self, severity: Severity, code: Code, span: Span, message: String, hint: Option<String>) {
        if self.silent.contains(&span.line) {
            return;
        }
        let severity = if self.ignored > 0 { severity.max(Severity::Warning) } else { severity };
        // Each severity by itself: a thousand warnings must not hide an error.
        let found = &mut self.found[severity as usize];
        *found += 1;
        if *found > FINDINGS_MAX {
            match &mut self.more {
                Some((_, count)) => *count += 1,
                more => *more = Some((span, 1)),
            }
            return;
        }
        self.findings.push(Reported { severity, code, span, message, hint });
    }

    fn diagnostic(&self, finding: Reported) -> Diagnostic {
        let Reported { severity, code, span, message, hint } = finding;
        let Span { line, column, width } = span;
        let place = self.place(line);
        let text = place.map_or("", |place| &*place.source);
        let (mut source, mut caret, mut width) = (showable(text), column, width.max(1));
        let hidden = self.hidden.get(&line).copied();
        if let Some(from) = hidden {
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
        let file = self.file(place.map_or(0, |place| place.file)).to_owned();
        let becomes = place.and_then(|place| place.becomes.as_ref()).filter(|_| hidden.is_none());
        let becomes = becomes.map(|becomes| format!("it becomes `{}`", showable(becomes)));
        let notes = becomes.into_iter().chain(self.trail(place)).collect();
        let line = place.map_or(1, |place| place.number);
        Diagnostic { severity, code, file, line, column, message, source, caret, width, notes, hint }
    }

    /// How a line came in, the innermost first.
    fn trail(&self, place: Option<&Place>) -> Vec<String> {
        let mut trail = Vec::new();
        let mut via = place.and_then(|place| place.via.as_deref());
        while let Some(step) = via.filter(|_| trail.len() < TRAIL_MAX) {
            let (what, file, line, outer) = match step {
                Via::Include { file, line, outer } => ("included".to_owned(), file, line, outer),
                Via::Definition { name, file, line, outer } => {
                    (format!("in `{name}`, used"), file, line, outer)
                }
            };
            trail.push(format!("{what} at {}:{line}", self.file(*file)));
            via = outer.as_deref();
        }
        trail
    }
}

/// Leaves of each name that is not defined one finding: an error if a value is none because of it, and the errors about these values
/// go.
fn undefined_once(findings: &mut Vec<Reported>) {
    let is_undefined = |f: &Reported| (f.severity, f.code) == (Severity::Warning, Code::UndefinedName);
    let covers = |error: &Reported, name: &Reported| {
        let (a, b) = (error.span, name.span);
        a.line == b.line && a.column < b.column + b.width && b.column < a.column + a.width
    };
    let names: Vec<(String, Span)> =
        findings.iter().filter(|f| is_undefined(f)).map(|f| (f.message.clone(), f.span)).collect();
    let is_of_name = |f: &Reported| {
        f.severity == Severity::Error
            && f.code == Code::BadValue
            && findings.iter().any(|name| is_undefined(name) && covers(f, name))
    };
    let wrong: Vec<bool> = findings.iter().map(is_of_name).collect();
    let broken: BTreeSet<String> = findings
        .iter()
        .filter(|name| is_undefined(name))
        .filter(|name| findings.iter().zip(&wrong).any(|(f, wrong)| *wrong && covers(f, name)))
        .map(|name| name.message.clone())
        .collect();
    let mut wrong = wrong.into_iter();
    findings.retain(|_| !wrong.next().unwrap_or(false));
    let mut said = BTreeSet::new();
    findings.retain(|f| !is_undefined(f) || said.insert(f.message.clone()));
    for finding in findings.iter_mut().filter(|f| is_undefined(f)) {
        let more =
            names.iter().filter(|(name, span)| *name == finding.message && *span != finding.span).count();
        let more = match more {
            0 => String::new(),
            1 => ", here and at 1 more place".to_owned(),
            count => format!(", here and at {count} more places"),
        };
        let name = finding.message.split(" is not defined").next().unwrap_or_default().to_owned();
        if broken.contains(&finding.message) {
            (finding.severity, finding.message) = (Severity::Error, format!("{name} is not defined{more}"));
        } else {
            finding.message = format!("{name} is not defined, and stays as it is{more}");
        }
    }
}

/// A piece of the file, fit for a message.
pub fn fit(text: &str) -> String {
    let mut text = text.chars();
    let mut shown: String = text.by_ref().take(QUOTE_LEN_MAX).flat_map(char::escape_debug).collect();
    if text.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Replaces what would move the caret or speak to the terminal.
pub fn showable(text: &str) -> String {
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

/// Of one severity: nobody reads more.
const FINDINGS_MAX: usize = 1_000;
const PASSWORD_KEYWORD: &str = "auth_pass";
/// The keywords of a key that nodes share begin so.
const KEY_KEYWORD: &str = "cluster_report";
/// Steps of a trail that are shown.
const TRAIL_MAX: usize = 6;
const MASK: &str = "****";
/// Longer words are cut in messages.
const QUOTE_LEN_MAX: usize = 60;
