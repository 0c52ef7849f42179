//! Source text to logical lines: words, and the braces that split them.

use super::{
    diagnostic::Code,
    report::Report,
    span::{self, Columns, Item, Span, Word},
};
use crate::schema::{command, table};

pub fn lex(lines: Vec<span::Line>, report: &mut Report) -> Vec<Item> {
    let mut items = Vec::new();
    for span::Line { id, text, columns } in lines {
        LexedLine { id, columns, chars: text.chars().collect(), at: 0, words: Vec::new() }
            .lex(&mut items, report);
    }
    items
}

struct LexedLine {
    id: u32,
    columns: Columns,
    chars: Vec<char>,
    at: usize,
    /// Of the logical line being read.
    words: Vec<Word>,
}

impl LexedLine {
    fn lex(mut self, items: &mut Vec<Item>, report: &mut Report) {
        self.straighten_quotes(report);
        while let Some(c) = self.peek(0) {
            let start = self.at;
            match c {
                _ if self.after_command_keyword() && !matches!(c, '{' | '}') => self.shell_words(report),
                '{' if self.template_len() > 0 => {
                    self.at += self.template_len();
                    let text = self.chars[start..self.at].iter().collect();
                    self.push(text, start, report);
                }
                '{' | '}' => {
                    self.at += 1;
                    self.end_statement(items);
                    let span = self.span_from(start);
                    items.push(if c == '{' { Item::Open(span) } else { Item::Close(span) });
                }
                '"' => self.quoted(report),
                // A byte order mark is blank too: editors put it before the first word.
                c if c.is_whitespace() || c == '\u{feff}' => self.at += 1,
                _ => self.bare(report),
            }
        }
        self.end_statement(items);
    }

    /// Quotes as word processors and web pages make them, around a word: read as they were meant, and told of once.
    fn straighten_quotes(&mut self, report: &mut Report) {
        let is_quote = |c: &char| matches!(c, '“' | '”' | '„' | '«' | '»' | '‘' | '’' | '‚');
        let begins =
            |at: usize| at == 0 || self.chars.get(at - 1).is_some_and(|c| c.is_whitespace() || *c == '{');
        // A password may be of any characters.
        let keyword: String =
            self.chars.iter().skip_while(|c| c.is_whitespace()).take_while(|c| !c.is_whitespace()).collect();
        if keyword.starts_with("auth") || keyword.starts_with("cluster_report") || table::has_secret(&keyword)
        {
            return;
        }
        let mut straight = false;
        let first = (0..self.chars.len()).find(|at| {
            let c = self.chars[*at];
            straight ^= c == '"';
            !straight && is_quote(&c) && begins(*at)
        });
        let Some(first) = first else { return };
        let end = self.chars[first + 1..].iter().position(is_quote).map_or(first + 1, |len| first + len + 2);
        let span = self.span(first, end);
        report.error_hint(
            Code::UnexpectedWord,
            span,
            "typographic quotes",
            "write `\"` in the place of both: editors and web pages make them",
        );
        report.silence(span.line);
        for c in self.chars[first..].iter_mut().filter(|c| is_quote(c)) {
            *c = '"';
        }
    }

    fn after_command_keyword(&self) -> bool {
        matches!(&self.words[..], [keyword] if table::is_command(&keyword.text))
    }

    fn shell_words(&mut self, report: &mut Report) {
        let from = self.at;
        for command::CommandWord { text, start, end, unclosed } in command::words(&self.chars[from..]) {
            self.at = from + end;
            if let Some(quote) = unclosed {
                self.unclosed(from + quote, report);
            }
            self.push(text, from + start, report);
        }
        // Blanks behind the last.
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn quoted(&mut self, report: &mut Report) {
        let start = self.at;
        let rest = &self.chars[start + 1..];
        let closing = rest.iter().position(|c| *c == '"');
        let text: String = rest[..closing.unwrap_or(rest.len())].iter().collect();
        self.at = closing.map_or(self.chars.len(), |len| start + len + 2);
        if closing.is_none() {
            self.unclosed(start, report);
        }
        self.push(text, start, report);
    }

    fn unclosed(&self, quote: usize, report: &mut Report) {
        let sign = self.chars.get(quote).copied().unwrap_or('"');
        let message = format!("this `{sign}` is not closed on its line");
        let hint = format!("end the text with a second `{sign}`");
        report.error_hint(Code::UnclosedQuote, self.span(quote, quote + 1), message, hint);
    }

    fn bare(&mut self, report: &mut Report) {
        let start = self.at;
        let mut text = String::new();
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                // How a word holds a comment sign; comments themselves are gone.
                ('\\', Some(sign @ ('#' | '!'))) => {
                    text.push(sign);
                    self.at += 2;
                }
                // The braces of `${NAME}` are part of the word.
                ('$', Some('{')) if self.name_len() > 0 => {
                    let end = self.at + self.name_len() + 3;
                    text.extend(&self.chars[self.at..end]);
                    self.at = end;
                }
                ('{' | '}' | '"', _) => break,
                (c, _) if c.is_whitespace() => break,
                (c, _) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        self.push(text, start, report);
    }

    /// Length of a template `{{ X }}` that starts here, of which `source` has told; 0: there is none.
    fn template_len(&self) -> usize {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        if !rest.starts_with(&['{', '{']) {
            return 0;
        }
        let rest = &rest[..rest.len().min(TEMPLATE_LEN_MAX)];
        rest.windows(2).position(|pair| pair == ['}', '}']).map_or(0, |end| end + 2)
    }

    /// Length of the name in a `${NAME}` that starts here; 0: there is none.
    fn name_len(&self) -> usize {
        let name = self.chars.get(self.at + 2..).unwrap_or_default();
        let len = name.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        if name.get(len) == Some(&'}') { len } else { 0 }
    }

    fn push(&mut self, text: String, start: usize, report: &mut Report) {
        let span = self.span_from(start);
        if text.contains(char::REPLACEMENT_CHARACTER) {
            report.error_hint(Code::NotUtf8, span, "this word is not valid UTF-8", "save the file as UTF-8");
        }
        self.words.push(Word { text, span });
    }

    fn end_statement(&mut self, items: &mut Vec<Item>) {
        if !self.words.is_empty() {
            items.push(Item::Statement(std::mem::take(&mut self.words)));
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn span_from(&self, start: usize) -> Span {
        self.span(start, self.at)
    }

    fn span(&self, from: usize, to: usize) -> Span {
        let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (column, width) = self.columns.span(index(from), index(to));
        Span { line: self.id, column, width }
    }
}

/// Longer ones are read as braces.
const TEMPLATE_LEN_MAX: usize = 200;
