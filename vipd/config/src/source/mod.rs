//! What becomes of a file's text before it is read: `include`, `@id`, `$NAME=`, `~SEQ` and `~LST`.
//!
//! Gives logical lines, each with the place it comes from. A line that was changed on the way points at what was written, and
//! a diagnostic can show what that became.

mod checks;
mod define;
mod expander;
mod foreign;
mod generate;
mod include;
mod outside;
mod source_map;

use std::{collections::HashMap, path::Path, rc::Rc};

use crate::syntax::{
    diagnostic::Code,
    report::{Report, Via},
    span::{LINE_LEN_MAX, Line, Span},
};
use checks::Checks;
pub use checks::is_check as is_include_check;
use define::{blank_before_equals, continues, definition, without_backslash};
use expander::{BodyLine, Definition, Expander, Origin, REPLACEMENTS_MAX, Told};
pub use outside::{HostInterface, Nothing, Outside};
use source_map::MappedLine;

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
        characters: 0,
        steps: 0,
        exhausted: false,
        told: Told::default(),
    };
    expander.file(path, text, None);
    // What is wrong with a part of a file says nothing.
    if expander.exhausted { Vec::new() } else { expander.lines }
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
                self.line(MappedLine::written(text), &origin);
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

    /// One line as it stands after the replacements so far.
    fn line(&mut self, mut mapped: MappedLine, origin: &Origin) {
        // Each time something was replaced the line is looked at anew: the value may be a condition, or an `include`.
        for _ in 0..REPLACEMENTS_MAX {
            mapped.trim_start();
            if mapped.starts_with("@") {
                if !self.is_for_us(&mapped.take_word()[1..]) {
                    return;
                }
                continue;
            }
            if mapped.starts_with("~SEQ") || mapped.starts_with("~LST") {
                return self.generator(mapped, origin);
            }
            if mapped.starts_with("$") {
                let text = mapped.text();
                if let Some((name, value)) = definition(&text) {
                    return self.define(name, Definition::Text(value.trim().to_owned()), origin);
                }
                if let Some(at) = blank_before_equals(&text) {
                    let span = self.span(&mapped, at, at + 1, origin);
                    self.hide_value(span, origin);
                    let message = "a blank before the `=` of a definition";
                    return self.report.error_hint(Code::Definition, span, message, "write `$NAME=VALUE`");
                }
                if let Some(body) = self.body_alone(&text) {
                    return self.body(&body, text.trim_end(), origin);
                }
            }
            if mapped.starts_with("include")
                && let Some(form) = include::form(&mapped.text())
            {
                return self.include(form, mapped, origin);
            }
            if !self.replace(&mut mapped, origin) {
                return self.push(mapped, origin);
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

    fn push(&mut self, mapped: MappedLine, origin: &Origin) {
        if !self.has_room(origin) || mapped.len() == 0 {
            return;
        }
        self.characters += mapped.len();
        let (becomes, is_written) = (mapped.text().trim_end().to_owned(), mapped.is_written());
        let line = self.place(origin, (!is_written).then_some(becomes));
        let Some(mapped) = self.without_foreign(mapped, line) else { return };
        if self.has_wrong(&mapped) {
            self.report.silence(line);
        }
        let undefined = self.undefined(&mapped);
        let generator = generate::position(&mapped).map(|at| mapped.columns(at, at + 4));
        let (text, columns) = mapped.into_line();
        let text = text.trim_end().to_owned();
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
}
