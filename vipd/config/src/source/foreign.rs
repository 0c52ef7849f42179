//! What other programs should have replaced before the file came here: templates, words of a shell.

use super::{
    expander::{Expander, Origin},
    source_map::MappedLine,
};
use crate::syntax::{diagnostic::Code, report::fit};

/// What a line has of another language.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    /// `{{ X }}`, `{% X %}`, `<% X %>`, `%X%`: position and length in characters.
    Template { at: usize, len: usize, is_statement: bool },
    /// `${X:-Y}`.
    ShellDefault { at: usize, len: usize, name: String, value: String },
    /// `cat > FILE <<END`.
    HereDocument { at: usize },
}

impl Foreign {
    /// The first of a line that has no comment.
    pub fn find(text: &str) -> Option<Self> {
        let characters = |octets: usize| text[..octets].chars().count();
        let len = |from: usize, to: usize| text[from..to].chars().count();
        for (open, close, is_statement) in [("{{", "}}", false), ("{%", "%}", true), ("<%", "%>", true)] {
            if let Some(at) = text.find(open)
                && let Some(end) = text[at..].find(close).map(|end| at + end + close.len())
            {
                // `<%= X %>` is a value.
                let is_statement =
                    is_statement && text[..at].trim().is_empty() && text[end..].trim().is_empty();
                return Some(Self::Template { at: characters(at), len: len(at, end), is_statement });
            }
        }
        if let Some(at) = text.find("${")
            && let Some(end) = text[at..].find('}').map(|end| at + end)
            && let Some((name, value)) = text[at + 2..end].split_once(":-")
            && is_name(name)
        {
            let (name, value) = (name.to_owned(), value.to_owned());
            return Some(Self::ShellDefault { at: characters(at), len: len(at, end + 1), name, value });
        }
        let mut words = text.split_whitespace();
        if words.clone().next().is_some_and(|first| SHELL.contains(&first))
            && let Some(at) = text.find("<<").filter(|at| text[at + 2..].trim().len() > 1)
        {
            return Some(Self::HereDocument { at: characters(at) });
        }
        let word = words.find(|word| {
            word.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')).is_some_and(is_name)
        })?;
        let at = text.find(word)?;
        Some(Self::Template { at: characters(at), len: word.chars().count(), is_statement: false })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Expander<'_> {
    /// Says what a line has of another language, once for each language; `None`: the line is not to be read.
    pub(super) fn without_foreign(&mut self, mapped: MappedLine, line: u32) -> Option<MappedLine> {
        let text = mapped.text();
        let Some(foreign) = Foreign::find(&text) else { return Some(mapped) };
        let span = |at: usize, len: usize| {
            let (column, width) = mapped.columns(at, at + len);
            crate::syntax::span::Span { line, column, width }
        };
        let shown = |at: usize, len: usize| fit(&text.chars().skip(at).take(len).collect::<String>());
        let mut keep = true;
        match foreign {
            Foreign::Template { at, len, is_statement } => {
                keep = !is_statement;
                if !std::mem::replace(&mut self.told.template, true) {
                    let message = format!("`{}` is a template that nothing has filled in", shown(at, len));
                    let hint = "let the program that the template is for write the file (Ansible, Puppet, Helm, ...), and check what it has written";
                    self.report.error_hint(Code::Template, span(at, len), message, hint);
                }
            }
            Foreign::ShellDefault { at, len, name, value } => {
                let message = format!("`{}` is of a shell: definitions have no default", shown(at, len));
                let hint = format!(
                    "write `${}={}` on a line before it, and `${{{}}}` here",
                    fit(&name),
                    fit(&value),
                    fit(&name)
                );
                self.report.error_hint(Code::Definition, span(at, len), message, hint);
            }
            Foreign::HereDocument { at } => {
                keep = false;
                let hint = "run it, and check the file that it writes";
                let message = "this is a shell script that writes a configuration, not a configuration";
                self.report.error_hint(Code::Template, span(at, 2), message, hint);
                self.exhausted = true;
            }
        }
        self.report.silence(line);
        keep.then_some(mapped)
    }

    /// Cuts off what stands behind a comment sign that a definition has brought in, as keepalived does at the start of a word.
    pub(super) fn cut_comment(
        &mut self,
        mapped: &mut MappedLine,
        at: usize,
        end: usize,
        origin: &Origin,
    ) -> bool {
        let quotes = (0..at).filter(|at| mapped.char(*at) == Some('"')).count();
        let is_start = at == 0 || mapped.char(at - 1).is_some_and(char::is_whitespace);
        if quotes % 2 == 1 || (!is_start && self.told.sign) {
            return false;
        }
        if !std::mem::replace(if is_start { &mut self.told.comment } else { &mut self.told.sign }, true) {
            let span = self.span(mapped, at, end, origin);
            if is_start {
                let message =
                    "a comment starts here: the rest of this line, and of others like it, is not read";
                self.report.warning(
                    Code::Implied,
                    span,
                    message,
                    "as in keepalived; a comment of its own starts with `#`",
                );
            } else {
                let message = "within a word this is a character; keepalived 2.2 starts a comment here";
                self.report.warning(
                    Code::Definition,
                    span,
                    message,
                    "put the text in double quotes: then it is one for both",
                );
            }
        }
        if is_start {
            mapped.truncate(at);
        }
        is_start
    }
}

/// Commands that come before a here-document.
const SHELL: [&str; 6] = ["cat", "tee", "sudo", "echo", "printf", "bash"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_languages_are_known() {
        let template = |at, len, is_statement| Some(Foreign::Template { at, len, is_statement });
        for (text, expected) in [
            ("interface {{ iface }}", template(10, 11, false)),
            ("{% if x %}", template(0, 10, true)),
            ("priority <%= p %>", template(9, 8, false)),
            ("virtual_router_id %VRID%", template(18, 6, false)),
            ("cat > /etc/keepalived/keepalived.conf <<EOF", Some(Foreign::HereDocument { at: 38 })),
            ("interface ${IF}", None),
            ("script \"/bin/x %d\"", None),
            ("track_interface { eth0 }", None),
        ] {
            assert_eq!(Foreign::find(text), expected, "{text}");
        }
        let shell = Foreign::find("interface ${IF:-eth0}");
        let (name, value) = ("IF".to_owned(), "eth0".to_owned());
        assert_eq!(shell, Some(Foreign::ShellDefault { at: 10, len: 11, name, value }));
    }
}
