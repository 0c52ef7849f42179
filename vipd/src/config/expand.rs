//! What becomes of a file's text before it is read: `include`, `@id`, `$NAME=`, `~SEQ` and `~LST`.
//!
//! Gives logical lines, each with the place it comes from. A line that was changed on the way points at what was written, and
//! a diagnostic can show what that became.

mod cells;
mod generator;
mod include;
mod outside;

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
    diagnostic::Code,
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
        lines_spent: 0,
        characters_spent: 0,
    };
    expander.file(path, text, None);
    // What is wrong with a part of a file says nothing.
    let all = expander.lines_spent < LINES_MAX && expander.characters_spent < CHARACTERS_MAX;
    if all { expander.lines } else { Vec::new() }
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
    /// Lines, files and values of generators so far, and the characters of all lines.
    lines_spent: usize,
    characters_spent: usize,
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
        // What a file asks of its includes is its own affair.
        let checks = self.checks;
        let mut lines = (1..).zip(text.lines());
        while let Some((number, text)) = lines.next() {
            let origin = Origin { file, number, source: text.into(), via: via.clone() };
            if !self.is_readable(text, &origin) {
                continue;
            }
            let (ours, rest) = self.conditions(text);
            let Some((name, value)) = definition(rest).filter(|_| continues(text)) else {
                let text = self.without_comment(text, &origin);
                self.line(Cells::written(text), &origin);
                continue;
            };
            let mut body = Vec::new();
            let first = self.without_comment(without_backslash(value), &origin);
            if !first.trim().is_empty() {
                body.push(BodyLine { file, number, text: first.to_owned() });
            }
            for (number, text) in lines.by_ref() {
                let origin = Origin { file, number, source: text.into(), via: via.clone() };
                if self.is_readable(text, &origin) {
                    let text = self.without_comment(without_backslash(text), &origin).to_owned();
                    body.push(BodyLine { file, number, text });
                }
                if !continues(text) {
                    break;
                }
            }
            if ours {
                self.define(name, Definition::Body(body.into()), &origin);
            }
        }
        self.checks = checks;
        self.chain.pop();
    }

    fn is_readable(&mut self, text: &str, origin: &Origin) -> bool {
        let len = text.chars().count();
        let (code, message) = if len > LINE_LEN_MAX {
            (Code::LineTooLong, format!("line of {len} characters, at most {LINE_LEN_MAX} are allowed"))
        } else if text.contains('\0') {
            (Code::NulCharacter, "line with a NUL character".to_owned())
        } else {
            return true;
        };
        let span = self.whole(origin);
        self.report.hide(span.line, 1);
        self.report.error(code, span, message);
        false
    }

    /// Whether the conditions of a line hold, and what stands behind them.
    fn conditions<'t>(&self, text: &'t str) -> (bool, &'t str) {
        let (mut ours, mut text) = (true, text.trim_start());
        while let Some(condition) = text.strip_prefix('@') {
            let (id, rest) = condition.split_once(char::is_whitespace).unwrap_or((condition, ""));
            ours &= self.is_for_us(id);
            text = rest.trim_start();
        }
        (ours, text)
    }

    /// Whether lines with `@` and these characters are to be read.
    fn is_for_us(&self, id: &str) -> bool {
        match id.strip_prefix('^') {
            Some(id) => id != self.outside.config_id(),
            None => id == self.outside.config_id(),
        }
    }

    /// Cuts the comment off, which starts with a `#` or `!` outside quotes.
    fn without_comment<'t>(&mut self, text: &'t str, origin: &Origin) -> &'t str {
        let mut quoted = false;
        let mut escaped = false;
        let comment = text.char_indices().find(|(_, c)| {
            let starts = !quoted && !escaped && matches!(c, '#' | '!');
            quoted ^= *c == '"';
            escaped = !quoted && *c == '\\';
            starts
        });
        let Some((at, _)) = comment else { return text };
        let kept = &text[..at];
        let statement = kept.rsplit(['{', '}']).next().unwrap_or_default().trim_start();
        // A comment sign glued to a password is more likely part of it.
        if statement.starts_with("auth_pass") && !kept.ends_with(char::is_whitespace) {
            let skipped = origin.source.find(text).unwrap_or(0);
            let column = origin.source[..skipped + at].chars().count() as u32 + 1;
            let span = Span { line: self.place(origin, None), column, width: 1 };
            let hint = "put the password in double quotes, or put a blank before the comment";
            let message = "a comment starts here, the password ends before it";
            self.report.warning(Code::PasswordCut, span, message, hint);
        }
        kept
    }

    /// One line as it stands after the replacements so far.
    fn line(&mut self, mut cells: Cells, origin: &Origin) {
        // Each time something was replaced the line is looked at anew: the value may be a condition, or an `include`.
        for _ in 0..REPLACEMENTS_MAX {
            cells.trim_start();
            if cells.starts_with("@") {
                if !self.is_for_us(&cells.take_word()[1..]) {
                    return;
                }
                continue;
            }
            if cells.starts_with("~SEQ") || cells.starts_with("~LST") {
                return self.generator(cells, origin);
            }
            if cells.starts_with("$") {
                let text = cells.text();
                if let Some((name, value)) = definition(&text) {
                    return self.define(name, Definition::Text(value.trim().to_owned()), origin);
                }
                if let Some(at) = blank_before_equals(&text) {
                    let span = self.span(&cells, at, at + 1, origin);
                    self.hide_value(span, origin);
                    let message = "a blank before the `=` of a definition";
                    return self.report.error_hint(Code::Definition, span, message, "write `$NAME=VALUE`");
                }
                if let Some(body) = self.body_alone(&text) {
                    return self.body(&body, text.trim_end(), origin);
                }
            }
            if cells.starts_with("include")
                && let Some(form) = include::form(&cells.text())
            {
                return self.include(form, cells, origin);
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
        if !self.spend(cells.len(), origin) {
            return;
        }
        let undefined = self.undefined(&cells);
        let generator = generator::position(&cells).map(|at| cells.columns(at, at + 4));
        let (text, columns) = cells.into_line();
        let text = text.trim_end().to_owned();
        let becomes = (!columns.is_written()).then(|| text.clone());
        let line = self.place(origin, becomes);
        if let Some((column, width)) = generator {
            let span = Span { line, column, width };
            let message = "a generator in the middle of a line is none";
            self.report.warning(Code::Generator, span, message, "put it at the start");
        }
        for (name, (column, width)) in undefined {
            let span = Span { line, column, width };
            let message = format!("`${name}` is not defined, and stays as it is");
            let hint = format!("define it on an earlier line: `${name}=...`");
            self.report.warning(Code::UndefinedName, span, message, hint);
        }
        self.checks.note(&text);
        self.lines.push(Line { id: line, text, columns });
    }

    /// Names that nobody has defined, and the columns that they stand in.
    fn undefined(&self, cells: &Cells) -> Vec<(String, (u32, u32))> {
        // A password may hold a `$`.
        if cells.starts_with("auth") {
            return Vec::new();
        }
        let name = |at: usize| {
            let name = Name::read(cells, at).filter(|_| cells.char(at) == Some('$'))?;
            let parameter = name.text.starts_with(|c: char| c.is_ascii_digit());
            let known = OWN_NAMES.contains(&&*name.text) || self.definitions.contains_key(&name.text);
            (!parameter && !known).then(|| (name.text, cells.columns(at, name.end)))
        };
        (0..cells.len()).filter_map(name).collect()
    }

    /// Whether there is to be more, of that many characters; says so when there is not.
    fn spend(&mut self, characters: usize, origin: &Origin) -> bool {
        if self.lines_spent >= LINES_MAX || self.characters_spent >= CHARACTERS_MAX {
            return false;
        }
        self.lines_spent += 1;
        self.characters_spent += characters;
        if self.lines_spent < LINES_MAX && self.characters_spent < CHARACTERS_MAX {
            return true;
        }
        let span = self.whole(origin);
        let message = format!(
            "more than {LINES_MAX} lines or {CHARACTERS_MAX} characters after includes and generators"
        );
        self.report.error(Code::TooManyLines, span, message);
        false
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
    fn body_alone(&self, text: &str) -> Option<Rc<[BodyLine]>> {
        let name = text.trim_end().strip_prefix('$')?;
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        match self.definitions.get(name)? {
            Definition::Body(body) => Some(Rc::clone(body)),
            Definition::Text(_) => None,
        }
    }

    fn body(&mut self, body: &Rc<[BodyLine]>, name: &str, origin: &Origin) {
        let via = Rc::new(Via::Definition {
            name: name.to_owned(),
            file: origin.file,
            line: origin.number,
            outer: origin.via.clone(),
        });
        self.nest(origin, |expander| {
            for line in body.iter() {
                if !expander.spend(0, origin) {
                    break;
                }
                let source = line.text.as_str().into();
                let via = Some(Rc::clone(&via));
                let origin = Origin { file: line.file, number: line.number, source, via };
                expander.line(Cells::written(&line.text), &origin);
            }
        });
    }

    /// Lines within a line: not too deep.
    fn nest(&mut self, origin: &Origin, inside: impl FnOnce(&mut Self)) {
        if self.depth >= DEPTH_MAX {
            let span = self.whole(origin);
            let message = format!("definitions and generators are nested deeper than {DEPTH_MAX}");
            return self.report.error_hint(
                Code::Definition,
                span,
                message,
                "a definition must not contain itself",
            );
        }
        self.depth += 1;
        inside(self);
        self.depth -= 1;
    }

    /// Replaces the names that are defined; whether there were any.
    fn replace(&mut self, cells: &mut Cells, origin: &Origin) -> bool {
        let mut replaced = false;
        let mut at = 0;
        while let Some(c) = cells.char(at) {
            let name = if c == '$' { Name::read(cells, at) } else { None };
            let Some((end, value)) =
                name.and_then(|name| Some((name.end, self.value(&name, cells, at, origin)?)))
            else {
                at += 1;
                continue;
            };
            let len = value.chars().count();
            if cells.len() + len > EXPANDED_LEN_MAX {
                let span = self.whole(origin);
                let message = format!("this line becomes longer than {EXPANDED_LEN_MAX} characters");
                self.report.error(Code::LineTooLong, span, message);
                cells.truncate(at);
                return false;
            }
            cells.replace(at, end, &value);
            replaced = true;
            // What it brings in is looked at next time.
            at += len;
        }
        replaced
    }

    /// What stands for a name; `None`: it stays as it is.
    fn value(&mut self, name: &Name, cells: &Cells, at: usize, origin: &Origin) -> Option<String> {
        let own = OWN_NAMES.contains(&&*name.text);
        let definition = self.definitions.get(&name.text).cloned();
        if !name.delimited && (own || definition.is_some()) {
            let span = self.span(cells, at, name.end, origin);
            let message = format!("`${}` is not replaced here: no blank follows it", name.text);
            self.report.warning(Code::Definition, span, message, format!("write `${{{}}}`", name.text));
            return None;
        }
        match (name.text.as_str(), definition) {
            ("_PWD", _) => {
                let dir = self.chain.last().and_then(|path| path.parent()).unwrap_or(Path::new(""));
                let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
                Some(self.outside.absolute(dir).display().to_string())
            }
            ("_INSTANCE", _) => Some(self.outside.config_id().to_owned()),
            // Comments are gone: these are characters like any other.
            ("_HASH", _) => Some("#".to_owned()),
            ("_BANG", _) => Some("!".to_owned()),
            ("_RANDOM", _) => self.random(name, cells, at, origin),
            ("_ENV", _) => {
                let variable = name.arguments.first().map(String::as_str).unwrap_or_default();
                let value = self.outside.environment(variable);
                if value.is_none() {
                    let span = self.span(cells, at, name.end, origin);
                    let message = format!("no environment variable `{}`", fit(variable));
                    let hint = "as in `${_ENV HOME}`, set where vipd is started";
                    self.report.error_hint(Code::UndefinedName, span, message, hint);
                }
                Some(value.unwrap_or_default())
            }
            (_, None) => None,
            (_, Some(Definition::Text(value))) => Some(value),
            (text, Some(Definition::Body(_))) => {
                let span = self.span(cells, at, name.end, origin);
                let message = format!("`${text}` has several lines and is not alone on this one");
                self.report.error_hint(Code::Definition, span, message, "put it on a line of its own");
                Some(String::new())
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

/// Where the `=` of a `$NAME =` is.
fn blank_before_equals(text: &str) -> Option<usize> {
    let (name, _) = text.strip_prefix('$')?.split_once('=')?;
    let blanks = name.len() > name.trim_end().len();
    (blanks && is_name(name.trim_end())).then(|| name.chars().count() + 1)
}

fn continues(text: &str) -> bool {
    text.trim_end().ends_with('\\')
}

fn without_backslash(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix('\\').unwrap_or(text)
}

/// What keepalived defines itself.
const OWN_NAMES: [&str; 6] = ["_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG"];
/// Rounds of replacements on one line.
const REPLACEMENTS_MAX: usize = 32;
/// Definitions in definitions.
const DEPTH_MAX: usize = 64;
/// Keeps a definition that doubles itself from filling the memory.
const EXPANDED_LEN_MAX: usize = 8_192;
/// Likewise a generator: twice what 65,536 VIPs take.
const LINES_MAX: usize = 150_000;
/// The same in characters: ten times what 65,536 VIPs take.
const CHARACTERS_MAX: usize = 16 << 20;
/// Of `_RANDOM` unless given.
const RANDOM_MAX: u32 = 32_767;
