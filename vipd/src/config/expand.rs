//! What becomes of a file's text before it is read: `include`, `@id`, `$NAME=`, `~SEQ` and `~LST`.
//!
//! Gives logical lines, each with the place it comes from. A line that was changed on the way points at what was written, and
//! a diagnostic can show what that became.

mod cells;
mod generator;
mod include;
mod outside;

use crate::config::diagnostic::Code;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use cells::Cells;
pub use cells::Columns;
use include::Checks;
pub use include::is_check as is_include_check;
pub use outside::{Host, Nothing, Outside};

use super::{
    lexer::{LINE_LEN_MAX, Span},
    report::{Place, Report, Via, fit},
};

/// A logical line.
#[derive(Debug)]
pub struct Line {
    /// What [`Span::line`] says of its words.
    pub id: u32,
    pub text: String,
    pub columns: Columns,
}

/// All logical lines of the file at `path`, whose text is `text`, and of what it includes.
pub fn expand(path: &Path, text: &str, outside: &dyn Outside, report: &mut Report) -> Vec<Line> {
    let mut expander = Expander {
        outside,
        report,
        lines: Vec::new(),
        definitions: HashMap::new(),
        chain: Vec::new(),
        checks: Checks::default(),
        depth: 0,
        spent: 0,
    };
    expander.file(path, text, None);
    // What is wrong with a part of a file says nothing.
    if expander.spent < LINES_MAX { expander.lines } else { Vec::new() }
}

struct Expander<'e> {
    outside: &'e dyn Outside,
    report: &'e mut Report,
    lines: Vec<Line>,
    definitions: HashMap<String, Definition>,
    /// Files being read, the innermost last.
    chain: Vec<PathBuf>,
    /// What `include_check` asks of a plain `include`.
    checks: Checks,
    /// Replacements within replacements.
    depth: usize,
    /// Lines, files and values of generators so far.
    spent: usize,
}

#[derive(Clone, Debug)]
enum Definition {
    Text(String),
    /// Lines to be read where the name stands alone.
    Body(Rc<[BodyLine]>),
}

#[derive(Debug)]
struct BodyLine {
    file: u32,
    number: u32,
    text: String,
}

/// Where a line comes from.
#[derive(Clone, Debug)]
struct Origin {
    file: u32,
    number: u32,
    /// As written.
    source: Rc<str>,
    via: Option<Rc<Via>>,
}

impl Expander<'_> {
    fn file(&mut self, path: &Path, text: &str, via: Option<Rc<Via>>) {
        let file = self.report.add_file(&path.display().to_string());
        self.chain.push(path.to_owned());
        let mut lines = (1..).zip(text.lines());
        while let Some((number, text)) = lines.next() {
            let origin = Origin { file, number, source: text.into(), via: via.clone() };
            let len = text.chars().count();
            if len > LINE_LEN_MAX {
                let span = self.whole(&origin);
                self.report.hide(span.line, 1);
                let message = format!("line of {len} characters, at most {LINE_LEN_MAX} are allowed");
                self.report.error(Code::LineTooLong, span, message);
            } else if text.contains('\0') {
                let span = self.whole(&origin);
                self.report.hide(span.line, 1);
                self.report.error(Code::NulCharacter, span, "line with a NUL character");
            } else if let Some((name, first)) = definition(text).filter(|(_, value)| continues(value)) {
                let mut body = Vec::new();
                let first = without_backslash(first);
                if !first.trim().is_empty() {
                    body.push(BodyLine { file, number, text: first.to_owned() });
                }
                for (number, text) in lines.by_ref() {
                    let goes_on = continues(text);
                    body.push(BodyLine { file, number, text: without_backslash(text).to_owned() });
                    if !goes_on {
                        break;
                    }
                }
                self.define(name, Definition::Body(body.into()), &origin);
            } else {
                self.line(Cells::written(text), &origin);
            }
        }
        self.chain.pop();
    }

    /// One line as it stands after the replacements so far.
    fn line(&mut self, mut cells: Cells, origin: &Origin) {
        // Each time something was replaced the line is looked at anew: the value may be a condition, or an `include`.
        for _ in 0..REPLACEMENTS_MAX {
            cells.trim_start();
            if cells.starts_with("@") {
                let word = cells.take_word();
                let (negated, id) = match word[1..].strip_prefix('^') {
                    Some(id) => (true, id),
                    None => (false, &word[1..]),
                };
                if (id == self.outside.config_id()) == negated {
                    return;
                }
                continue;
            }
            if cells.starts_with("~SEQ") || cells.starts_with("~LST") {
                return self.generator(cells, origin);
            }
            if let Some((name, value)) = definition(&cells.text()) {
                return self.define(name, Definition::Text(value.trim().to_owned()), origin);
            }
            if let Some(form) = include::form(&cells) {
                return self.include(form, cells, origin);
            }
            if let Some(body) = self.body_alone(&cells) {
                return self.body(&body, &cells, origin);
            }
            if !self.replace(&mut cells, origin) {
                return self.push(cells, origin);
            }
        }
        let span = self.whole(origin);
        let hint = "a definition must not contain itself";
        self.report.error_hint(
            Code::Definition,
            span,
            "the definitions on this line do not come to an end",
            hint,
        );
    }

    fn push(&mut self, cells: Cells, origin: &Origin) {
        if !self.spend(origin) {
            return;
        }
        if let Some(at) = cells.text().find("~SEQ(").or_else(|| cells.text().find("~LST(")) {
            let at = cells.text()[..at].chars().count();
            let span = self.span(&cells, at, at + 4, origin);
            self.report.warning(
                Code::Generator,
                span,
                "a generator in the middle of a line is none",
                "put it at the start",
            );
        }
        let (text, columns) = cells.into_line();
        let text = text.trim_end().to_owned();
        let becomes = (!columns.is_written()).then(|| text.clone());
        let id = self.place(origin, becomes);
        self.checks.note(&text);
        self.lines.push(Line { id, text, columns });
    }

    /// Whether there is to be more; says so when there is not.
    fn spend(&mut self, origin: &Origin) -> bool {
        self.spent += 1;
        if self.spent == LINES_MAX {
            let span = self.whole(origin);
            self.report.error(
                Code::TooManyLines,
                span,
                format!("more than {LINES_MAX} lines after includes and generators"),
            );
        }
        self.spent < LINES_MAX
    }

    fn place(&mut self, origin: &Origin, becomes: Option<String>) -> u32 {
        let Origin { file, number, source, via } = origin.clone();
        self.report.add_place(Place { file, number, source, becomes, via })
    }

    /// All of a line, for what is wrong with it before it has words.
    fn whole(&mut self, origin: &Origin) -> Span {
        Span { line: self.place(origin, None), column: 1, width: 1 }
    }

    fn span(&mut self, cells: &Cells, from: usize, to: usize, origin: &Origin) -> Span {
        let (column, width) = cells.columns(from, to);
        Span { line: self.place(origin, None), column, width }
    }

    fn define(&mut self, name: &str, definition: Definition, origin: &Origin) {
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
            let span = self.whole(origin);
            self.hide_value(span, origin);
            let message = format!("`${name}` cannot be defined");
            let hint = "names start with a letter; those with `_` are keepalived's own";
            return self.report.error_hint(Code::Definition, span, message, hint);
        }
        self.definitions.insert(name.to_owned(), definition);
    }

    /// A value may be a password.
    fn hide_value(&mut self, span: Span, origin: &Origin) {
        let name = origin.source.split('=').next().unwrap_or_default();
        self.report.hide(span.line, name.chars().count() as u32 + 2);
    }

    /// The lines of a definition, if the line is nothing but its name.
    fn body_alone(&self, cells: &Cells) -> Option<Rc<[BodyLine]>> {
        let text = cells.text();
        let name = text.trim_end().strip_prefix('$')?;
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        match self.definitions.get(name)? {
            Definition::Body(body) => Some(Rc::clone(body)),
            Definition::Text(_) => None,
        }
    }

    fn body(&mut self, body: &Rc<[BodyLine]>, cells: &Cells, origin: &Origin) {
        if self.depth >= DEPTH_MAX {
            let span = self.whole(origin);
            let hint = "a definition must not contain itself";
            return self.report.error_hint(
                Code::Definition,
                span,
                format!("definitions are nested deeper than {DEPTH_MAX}"),
                hint,
            );
        }
        self.depth += 1;
        let via = Rc::new(Via::Definition {
            name: cells.text().trim_end().to_owned(),
            file: origin.file,
            line: origin.number,
            outer: origin.via.clone(),
        });
        for line in body.iter() {
            if !self.spend(origin) {
                break;
            }
            let source = line.text.as_str().into();
            let origin = Origin { file: line.file, number: line.number, source, via: Some(Rc::clone(&via)) };
            self.line(Cells::written(&line.text), &origin);
        }
        self.depth -= 1;
    }

    /// Replaces the names that are defined, outside comments; whether there were any.
    fn replace(&mut self, cells: &mut Cells, origin: &Origin) -> bool {
        let mut replaced = false;
        let mut undefined = Vec::new();
        let mut at = 0;
        let mut quoted = false;
        while let Some(c) = cells.char(at) {
            match c {
                '"' => quoted = !quoted,
                '\\' if !quoted && matches!(cells.char(at + 1), Some('#' | '!')) => at += 1,
                '#' | '!' if !quoted => break,
                '$' => {
                    if let Some(name) = Name::read(cells, at) {
                        if let Some(value) = self.value(&name, quoted, cells, at, origin) {
                            if cells.len() + value.len() > EXPANDED_LEN_MAX {
                                let span = self.whole(origin);
                                let message =
                                    format!("this line becomes longer than {EXPANDED_LEN_MAX} characters");
                                self.report.error(Code::LineTooLong, span, message);
                                cells.truncate(at);
                                return false;
                            }
                            cells.replace(at, name.end, &value);
                            replaced = true;
                            // What it brings in is looked at next time.
                            at += value.chars().count();
                            continue;
                        }
                        let parameter = name.text.starts_with(|c: char| c.is_ascii_digit());
                        if !parameter && !self.definitions.contains_key(&name.text) {
                            undefined.push((at, name));
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
        // A password may hold a `$`.
        let secret = cells.text().trim_start().starts_with("auth");
        for (at, name) in undefined.into_iter().filter(|_| !replaced && !secret) {
            let span = self.span(cells, at, name.end, origin);
            let message = format!("`${}` is not defined, and stays as it is", name.text);
            let hint = format!("define it on an earlier line: `${}=...`", name.text);
            self.report.warning(Code::UndefinedName, span, message, hint);
        }
        replaced
    }

    /// What stands for a name; `None`: it stays as it is.
    fn value(
        &mut self,
        name: &Name,
        quoted: bool,
        cells: &Cells,
        at: usize,
        origin: &Origin,
    ) -> Option<String> {
        let sign = |sign: char| if quoted { sign.to_string() } else { format!("\\{sign}") };
        match name.text.as_str() {
            "_PWD" => {
                let dir = self.chain.last().and_then(|path| path.parent()).unwrap_or(Path::new(""));
                let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
                return Some(self.outside.absolute(dir).display().to_string());
            }
            "_INSTANCE" => return Some(self.outside.config_id().to_owned()),
            "_HASH" => return Some(sign('#')),
            "_BANG" => return Some(sign('!')),
            "_RANDOM" => return self.random(name, cells, at, origin),
            "_ENV" => {
                let variable = name.arguments.first().map(String::as_str).unwrap_or_default();
                let value = self.outside.environment(variable);
                if value.is_none() {
                    let span = self.span(cells, at, name.end, origin);
                    let message = format!("no environment variable `{}`", fit(variable));
                    self.report.error_hint(
                        Code::UndefinedName,
                        span,
                        message,
                        "as in `${_ENV HOME}`, set where vipd is started",
                    );
                }
                return Some(value.unwrap_or_default());
            }
            _ => {}
        }
        match self.definitions.get(&name.text) {
            None => None,
            Some(Definition::Body(_)) => {
                let span = self.span(cells, at, name.end, origin);
                let message = format!("`${}` has several lines and is not alone on this one", name.text);
                self.report.error_hint(Code::Definition, span, message, "put it on a line of its own");
                Some(String::new())
            }
            Some(Definition::Text(value)) if name.delimited => Some(value.clone()),
            Some(Definition::Text(_)) => {
                let span = self.span(cells, at, name.end, origin);
                let message = format!("`${}` is not replaced here: no blank follows it", name.text);
                self.report.warning(Code::Definition, span, message, format!("write `${{{}}}`", name.text));
                None
            }
        }
    }

    fn random(&mut self, name: &Name, cells: &Cells, at: usize, origin: &Origin) -> Option<String> {
        let bounds: Option<Vec<u32>> = name.arguments.iter().map(|word| word.parse().ok()).collect();
        let (min, max) = match bounds.as_deref() {
            Some([]) => (0, RANDOM_MAX),
            Some([min]) => (*min, RANDOM_MAX.max(*min)),
            Some([min, max]) if min <= max => (*min, *max),
            _ => {
                let span = self.span(cells, at, name.end, origin);
                let hint = "as in `${_RANDOM 1 100}`";
                self.report.error_hint(
                    Code::BadValue,
                    span,
                    "`_RANDOM` takes a least and a greatest number",
                    hint,
                );
                return Some(String::new());
            }
        };
        Some(self.outside.random(min, max).to_string())
    }
}

/// `$NAME`, `${NAME}` or `${NAME ARGUMENT...}`.
struct Name {
    text: String,
    arguments: Vec<String>,
    /// Behind its last character.
    end: usize,
    /// In braces, or followed by a blank: keepalived replaces no other.
    delimited: bool,
}

impl Name {
    fn read(cells: &Cells, at: usize) -> Option<Self> {
        let word = |from: usize| -> String {
            (from..)
                .map_while(|i| cells.char(i))
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        };
        if cells.char(at + 1) == Some('{') {
            let inside: String =
                (at + 2..).map_while(|i| cells.char(i)).take_while(|c| *c != '}' && *c != '"').collect();
            let end = at + 2 + inside.chars().count();
            if cells.char(end) != Some('}') {
                return None;
            }
            let mut words = inside.split_whitespace().map(str::to_owned);
            let text = words.next().filter(|text| inside.starts_with(text.as_str()) && is_name(text))?;
            let arguments: Vec<String> = words.collect();
            let takes_arguments = matches!(text.as_str(), "_RANDOM" | "_ENV");
            let known = arguments.is_empty() || takes_arguments;
            return known.then_some(Self { text, arguments, end: end + 1, delimited: true });
        }
        let text = word(at + 1);
        let end = at + 1 + text.len();
        let delimited = cells.char(end).is_none_or(|c| c.is_whitespace() || c == ',');
        (!text.is_empty()).then_some(Self { text, arguments: Vec::new(), end, delimited })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The name and the value of a `$NAME=VALUE`.
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.trim_start().strip_prefix('$')?.split_once('=')?;
    is_name(name).then_some((name, value))
}

fn continues(text: &str) -> bool {
    text.trim_end().ends_with('\\')
}

fn without_backslash(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix('\\').unwrap_or(text)
}

/// Rounds of replacements on one line.
const REPLACEMENTS_MAX: usize = 32;
/// Definitions in definitions.
const DEPTH_MAX: usize = 64;
/// Keeps a definition that doubles itself from filling the memory.
const EXPANDED_LEN_MAX: usize = 8_192;
/// Likewise a generator: ten times what 65,536 VIPs take.
const LINES_MAX: usize = 1_000_000;
/// Of `_RANDOM` unless given.
const RANDOM_MAX: u32 = 32_767;
