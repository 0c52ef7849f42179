//! Source text to logical lines: words, `{` and `}`, each with its place.
//!
//! `#` and `!` start a comment outside double quotes; `\#` and `\!` are the characters themselves. Braces outside
//! quotes end a logical line, a line break ends one too. No keyword is known here.

use super::diagnostic::{Sink, Span};

/// A word: bare, or what stood between double quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub span: Span,
}

/// A logical line. `Words` is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Words(Vec<Token>),
    Open(Span),
    Close(Span),
}

pub fn lex(text: &str, sink: &mut Sink<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, source) in (1u32..).zip(text.split('\n')) {
        let source = source.strip_suffix('\r').unwrap_or(source);
        let mut scanner = Scanner { line: number, chars: source.chars().collect(), at: 0, words: Vec::new() };
        // A byte order mark is no word.
        if number == 1 && scanner.chars.first() == Some(&'\u{feff}') {
            scanner.at = 1;
        }
        scanner.scan(&mut lines, sink);
    }
    lines
}

struct Scanner {
    line: u32,
    chars: Vec<char>,
    at: usize,
    words: Vec<Token>,
}

impl Scanner {
    fn scan(mut self, lines: &mut Vec<Line>, sink: &mut Sink<'_>) {
        while let Some(&c) = self.chars.get(self.at) {
            match c {
                '#' | '!' => break,
                '{' | '}' => {
                    self.end_line(lines);
                    let span = self.span(self.at, 1);
                    lines.push(if c == '{' { Line::Open(span) } else { Line::Close(span) });
                    self.at += 1;
                }
                '"' => self.quoted(sink),
                c if c.is_whitespace() => self.at += 1,
                _ => self.bare(sink),
            }
        }
        self.end_line(lines);
    }

    fn end_line(&mut self, lines: &mut Vec<Line>) {
        if !self.words.is_empty() {
            lines.push(Line::Words(std::mem::take(&mut self.words)));
        }
    }

    fn quoted(&mut self, sink: &mut Sink<'_>) {
        let start = self.at;
        let rest = self.chars.get(start + 1..).unwrap_or_default();
        let length = rest.iter().position(|&c| c == '"');
        let text: String = rest.iter().take(length.unwrap_or(rest.len())).collect();
        self.at = match length {
            Some(length) => start + length + 2,
            None => {
                sink.error(self.span(start, self.chars.len() - start), "this quoted string is never closed");
                self.chars.len()
            }
        };
        self.push(start, text, sink);
    }

    fn bare(&mut self, sink: &mut Sink<'_>) {
        let start = self.at;
        let mut text = String::new();
        while let Some(&c) = self.chars.get(self.at) {
            let next = self.chars.get(self.at + 1).copied();
            match (c, next) {
                ('\\', Some(literal @ ('#' | '!'))) => {
                    text.push(literal);
                    self.at += 2;
                    continue;
                }
                ('#' | '!' | '{' | '}' | '"', _) => break,
                (c, _) if c.is_whitespace() => break,
                (c, _) => text.push(c),
            }
            self.at += 1;
        }
        self.push(start, text, sink);
    }

    fn push(&mut self, start: usize, mut text: String, sink: &mut Sink<'_>) {
        let span = self.span(start, self.at - start);
        if text.contains(|c: char| c.is_control() && c != '\t') {
            sink.error(span, "a control character stands in this word");
            text = text.replace(char::is_control, "\u{fffd}");
        }
        self.words.push(Token { text, span });
    }

    fn span(&self, start: usize, width: usize) -> Span {
        Span { line: self.line, column: u32::try_from(start).unwrap_or(u32::MAX).saturating_add(1), width }
    }
}
