//! The source map of a line while it is being rewritten: every character knows the columns that it comes from.

use crate::syntax::span::{Columns, Run};

/// A character, and the columns that were written for it: one, or all of a name that it stands for.
#[derive(Clone, Copy, Debug)]
struct MappedChar {
    c: char,
    from: u32,
    /// Behind the last.
    to: u32,
}

#[derive(Clone, Debug)]
pub struct MappedLine(Vec<MappedChar>);

impl MappedLine {
    /// A line as somebody wrote it.
    pub fn written(text: &str) -> Self {
        Self(
            (1..)
                .zip(text.chars())
                .map(|(column, c)| MappedChar { c, from: column, to: column + 1 })
                .collect(),
        )
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn char(&self, at: usize) -> Option<char> {
        self.0.get(at).map(|mapped| mapped.c)
    }

    pub fn text(&self) -> String {
        self.0.iter().map(|mapped| mapped.c).collect()
    }

    pub fn starts_with(&self, text: &str) -> bool {
        self.has(0, text)
    }

    /// Whether the text stands at that position.
    pub fn has(&self, at: usize, text: &str) -> bool {
        text.chars().zip(at..).all(|(c, at)| self.char(at) == Some(c))
    }

    pub fn trim_start(&mut self) {
        // A byte order mark is blank too: editors put it before the first word.
        let blank = |mapped: &&MappedChar| mapped.c.is_whitespace() || mapped.c == '\u{feff}';
        let blanks = self.0.iter().take_while(blank).count();
        self.0.drain(..blanks);
    }

    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Cuts the first word off.
    pub fn take_word(&mut self) -> String {
        let len = self.0.iter().take_while(|mapped| !mapped.c.is_whitespace()).count();
        self.0.drain(..len).map(|mapped| mapped.c).collect()
    }

    /// Cuts the first `len` characters off.
    pub fn skip(&mut self, len: usize) {
        self.0.drain(..len.min(self.0.len()));
    }

    /// Puts a value in the place of the characters from `from` up to `to`, which it comes from.
    pub fn replace(&mut self, from: usize, to: usize, value: &str) {
        let (column, width) = self.columns(from, to);
        let mapped = value.chars().map(|c| MappedChar { c, from: column, to: column + width });
        self.0.splice(from..to, mapped);
    }

    /// The column and the width of what was written for some of the characters.
    pub fn columns(&self, from: usize, to: usize) -> (u32, u32) {
        let mapped = self.0.get(from..to.min(self.0.len())).unwrap_or_default();
        let first = mapped.iter().map(|mapped| mapped.from).min().unwrap_or(1);
        let last = mapped.iter().map(|mapped| mapped.to).max().unwrap_or(first + 1);
        (first, last - first)
    }

    /// Every character is where it was written, though some before it may be gone.
    pub fn is_written(&self) -> bool {
        self.0.iter().all(|mapped| mapped.to - mapped.from == 1)
            && self.0.windows(2).all(|pair| pair[1].from == pair[0].from + 1)
    }

    /// The text, and what its columns are in the source.
    pub fn into_line(self) -> (String, Columns) {
        let mut runs: Vec<Run> = Vec::new();
        for (at, mapped) in (0..).zip(&self.0) {
            let own = mapped.to - mapped.from == 1;
            let continues = runs.last().is_some_and(|run| match run.width {
                None => own && mapped.from == run.column + (at - run.at),
                Some(width) => mapped.from == run.column && mapped.to - mapped.from == width,
            });
            if !continues {
                runs.push(Run { at, column: mapped.from, width: (!own).then_some(mapped.to - mapped.from) });
            }
        }
        (self.text(), Columns(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_survive_replacements() {
        let mut mapped = MappedLine::written("  priority ${P}0 x");
        mapped.trim_start();
        mapped.replace(9, 13, "10");
        assert!(!mapped.is_written());
        let (text, columns) = mapped.into_line();
        assert_eq!(text, "priority 100 x");
        assert_eq!(columns.span(0, 8), (3, 8), "priority");
        assert_eq!(columns.span(9, 12), (12, 5), "${{P}}0");
        assert_eq!(columns.span(13, 14), (18, 1), "x");
    }

    #[test]
    fn a_line_as_written_has_its_own_columns() {
        let mut mapped = MappedLine::written("\tab c");
        mapped.trim_start();
        assert!(mapped.is_written());
        let (text, columns) = mapped.into_line();
        assert_eq!(text, "ab c");
        assert_eq!(columns.span(3, 4), (5, 1));
    }
}
