//! `$NAME=VALUE`, what uses it, and the names that keepalived defines itself.

use std::{path::Path, rc::Rc};

use super::{
    expander::{BodyLine, Definition, Expander, Origin},
    source_map::MappedLine,
};
use crate::syntax::{
    diagnostic::Code,
    report::{Via, fit},
    span::Span,
};

impl Expander<'_> {
    pub(super) fn define(&mut self, name: &str, definition: Definition, origin: &Origin) {
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
            let span = self.whole(origin);
            self.hide_value(span, origin);
            let message = format!("`${name}` cannot be defined");
            let hint = "names start with a letter; those with `_` are keepalived's own";
            return self.report.error_hint(Code::Definition, span, message, hint);
        }
        if let Definition::Text(value) = &definition
            && uses(value, name)
        {
            let span = self.whole(origin);
            self.hide_value(span, origin);
            let message = format!("`${name}` is defined by itself");
            let hint = format!("write its value; of an environment variable it is `${{_ENV {name}}}`");
            self.report.error_hint(Code::Definition, span, message, hint);
            self.definitions.insert(name.to_owned(), Definition::Wrong);
            return;
        }
        self.definitions.insert(name.to_owned(), definition);
    }

    /// A value may be a password.
    pub(super) fn hide_value(&mut self, span: Span, origin: &Origin) {
        let name = origin.source.split('=').next().unwrap_or_default();
        self.report.hide(span.line, name.chars().count() as u32 + 2);
    }

    /// The lines of a definition, if the line is nothing but its name.
    pub(super) fn body_alone(&self, text: &str) -> Option<Rc<[BodyLine]>> {
        let name = text.trim_end().strip_prefix('$')?;
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        match self.definitions.get(name)? {
            Definition::Body(body) => Some(Rc::clone(body)),
            Definition::Text(_) | Definition::Wrong => None,
        }
    }

    pub(super) fn body(&mut self, body: &Rc<[BodyLine]>, name: &str, origin: &Origin) {
        let via = Rc::new(Via::Definition {
            name: name.to_owned(),
            file: origin.file,
            line: origin.number,
            outer: origin.via.clone(),
        });
        self.nest(origin, |expander| {
            for line in body.iter() {
                if !expander.has_room(origin) {
                    break;
                }
                let source = line.text.as_str().into();
                let via = Some(Rc::clone(&via));
                let origin = Origin { file: line.file, number: line.number, source, via };
                expander.line(MappedLine::written(&line.text), &origin);
            }
        });
    }

    /// Replaces the names that are defined; whether there were any.
    pub(super) fn replace(&mut self, mapped: &mut MappedLine, origin: &Origin) -> bool {
        let mut replaced = false;
        let mut at = 0;
        while at < mapped.len() {
            let name = Name::read(mapped, at);
            if let Some(name) =
                name.as_ref().filter(|name| name.delimited && matches!(&*name.text, "_HASH" | "_BANG"))
                && self.cut_comment(mapped, at, name.end, origin)
            {
                return true;
            }
            let Some((end, value)) =
                name.and_then(|name| Some((name.end, self.value(&name, mapped, at, origin)?)))
            else {
                at += 1;
                continue;
            };
            let len = value.chars().count();
            if mapped.len() + len > EXPANDED_LEN_MAX {
                let span = self.whole(origin);
                let message = format!("this line becomes longer than {EXPANDED_LEN_MAX} characters");
                self.report.error(Code::LineTooLong, span, message);
                mapped.truncate(at);
                return false;
            }
            mapped.replace(at, end, &value);
            replaced = true;
            // What it brings in is looked at next time.
            at += len;
        }
        replaced
    }

    /// What stands for a name; `None`: it stays as it is.
    fn value(&mut self, name: &Name, mapped: &MappedLine, at: usize, origin: &Origin) -> Option<String> {
        let own = OWN_NAMES.contains(&&*name.text);
        let definition = self.definitions.get(&name.text).cloned();
        if !name.delimited && (own || definition.is_some()) {
            let span = self.span(mapped, at, name.end, origin);
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
            ("_RANDOM", _) => self.random(name, mapped, at, origin),
            ("_ENV", _) => {
                let variable = name.arguments.first().map(String::as_str).unwrap_or_default();
                let value = self.outside.environment(variable);
                if value.is_none() {
                    let span = self.span(mapped, at, name.end, origin);
                    let message = format!("no environment variable `{}`", fit(variable));
                    let hint = "as in `${_ENV HOME}`, set where vipd is started";
                    self.report.error_hint(Code::UndefinedName, span, message, hint);
                }
                Some(value.unwrap_or_default())
            }
            // Of what is wrong with it something is said already.
            (_, None | Some(Definition::Wrong)) => None,
            (_, Some(Definition::Text(value))) => Some(value),
            (text, Some(Definition::Body(_))) => {
                let span = self.span(mapped, at, name.end, origin);
                let message = format!("`${text}` has several lines and is not alone on this one");
                self.report.error_hint(Code::Definition, span, message, "put it on a line of its own");
                Some(String::new())
            }
        }
    }

    fn random(&mut self, name: &Name, mapped: &MappedLine, at: usize, origin: &Origin) -> Option<String> {
        let bounds: Option<Vec<u32>> = name.arguments.iter().map(|word| word.parse().ok()).collect();
        let (min, max) = match bounds.as_deref() {
            Some([]) => (0, RANDOM_MAX),
            Some([min]) => (*min, RANDOM_MAX.max(*min)),
            Some([min, max]) if min <= max => (*min, *max),
            _ => {
                let span = self.span(mapped, at, name.end, origin);
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

    /// Whether a line has a name that is defined wrongly.
    pub(super) fn has_wrong(&self, mapped: &MappedLine) -> bool {
        let is_wrong = |name: &Name| matches!(self.definitions.get(&name.text), Some(Definition::Wrong));
        (0..mapped.len()).any(|at| Name::read(mapped, at).as_ref().is_some_and(is_wrong))
    }

    /// Names that nobody has defined, and the columns that they stand in.
    pub(super) fn undefined(&self, mapped: &MappedLine) -> Vec<(String, (u32, u32))> {
        // A password may hold a `$`.
        if mapped.starts_with("auth") {
            return Vec::new();
        }
        let name = |at: usize| {
            let name = Name::read(mapped, at)?;
            let parameter = name.text.starts_with(|c: char| c.is_ascii_digit());
            let known = OWN_NAMES.contains(&&*name.text) || self.definitions.contains_key(&name.text);
            (!parameter && !known).then(|| (name.text, mapped.columns(at, name.end)))
        };
        (0..mapped.len()).filter_map(name).collect()
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
    fn read(mapped: &MappedLine, at: usize) -> Option<Self> {
        if mapped.char(at) != Some('$') {
            return None;
        }
        let word = |from: usize| -> String {
            (from..)
                .map_while(|i| mapped.char(i))
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        };
        if mapped.char(at + 1) == Some('{') {
            // Nor another name: it would be read again for each of its own.
            let ends = |c: &char| matches!(c, '}' | '"' | '$' | '{');
            let inside: String = (at + 2..).map_while(|i| mapped.char(i)).take_while(|c| !ends(c)).collect();
            let end = at + 2 + inside.chars().count();
            if mapped.char(end) != Some('}') {
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
        let delimited = mapped.char(end).is_none_or(|c| c.is_whitespace() || c == ',');
        (!text.is_empty()).then_some(Self { text, arguments: Vec::new(), end, delimited })
    }
}

/// Whether a value has the name in it.
fn uses(value: &str, name: &str) -> bool {
    let value = MappedLine::written(value);
    (0..value.len()).any(|at| Name::read(&value, at).is_some_and(|read| read.delimited && read.text == name))
}

pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The name and the value of a `$NAME=VALUE`.
pub fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.trim_start().strip_prefix('$')?.split_once('=')?;
    is_name(name).then_some((name, value))
}

/// Where the `=` of a `$NAME =` is.
pub fn blank_before_equals(text: &str) -> Option<usize> {
    let (name, _) = text.strip_prefix('$')?.split_once('=')?;
    let blanks = name.len() > name.trim_end().len();
    (blanks && is_name(name.trim_end())).then(|| name.chars().count() + 1)
}

pub fn continues(text: &str) -> bool {
    text.trim_end().ends_with('\\')
}

pub fn without_backslash(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix('\\').unwrap_or(text)
}

/// What keepalived defines itself.
const OWN_NAMES: [&str; 6] = ["_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG"];
/// Keeps a definition that doubles itself from filling the memory.
const EXPANDED_LEN_MAX: usize = 8_192;
/// Of `_RANDOM` unless given.
const RANDOM_MAX: u32 = 32_767;
