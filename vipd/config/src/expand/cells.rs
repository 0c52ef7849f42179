//! A line while it is being rewritten: every character knows the columns that it comes from.

/// A character, and the columns that were written for it: one, or all of a name that it stands for.
#[derive(Clone, Copy, Debug)]
struct Cell {
    c: char,
    from: u32,
    /// Behind the last.
    to: u32,
}

#[derive(Clone, Debug)]
pub struct Cells(Vec<Cell>);

impl Cells {
    /// A line as somebody wrote it.
    pub fn written(text: &str) -> Self {
        Self((1..).zip(text.chars()).map(|(column, c)| Cell { c, from: column, to: column + 1 }).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn char(&self, at: usize) -> Option<char> {
        self.0.get(at).map(|cell| cell.c)
    }

    pub fn text(&self) -> String {
        self.0.iter().map(|cell| cell.c).collect()
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
        let blank = |cell: &&Cell| cell.c.is_whitespace() || cell.c == '\u{feff}';
        let blanks = self.0.iter().take_while(blank).count();
        self.0.drain(..blanks);
    }

    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Cuts the first word off.
    pub fn take_word(&mut self) -> String {
        let len = self.0.iter().take_while(|cell| !cell.c.is_whitespace()).count();
        self.0.drain(..len).map(|cell| cell.c).collect()
    }

    /// Cuts the first `len` characters off.
    pub fn skip(&mut self, len: usize) {
        self.0.drain(..len.min(self.0.len()));
    }

    /// Puts a value in the place of the characters from `from` up to `to`, which it comes from.
    pub fn replace(&mut self, from: usize, to: usize, value: &str) {
        let (column, width) = self.columns(from, to);
        let cells = value.chars().map(|c| Cell { c, from: column, to: column + width });
        self.0.splice(from..to, cells);
    }

    /// The column and the width of what was written for some of the characters.
    pub fn columns(&self, from: usize, to: usize) -> (u32, u32) {
        let cells = self.0.get(from..to.min(self.0.len())).unwrap_or_default();
        let first = cells.iter().map(|cell| cell.from).min().unwrap_or(1);
        let last = cells.iter().map(|cell| cell.to).max().unwrap_or(first + 1);
        (first, last - first)
    }

    /// The text, and what its columns are in the source.
    pub fn into_line(self) -> (String, Columns) {
        let mut runs: Vec<Run> = Vec::new();
        for (at, cell) in (0..).zip(&self.0) {
            let own = cell.to - cell.from == 1;
            let continues = runs.last().is_some_and(|run| match run.width {
                None => own && cell.from == run.column + (at - run.at),
                Some(width) => cell.from == run.column && cell.to - cell.from == width,
            });
            if !continues {
                runs.push(Run { at, column: cell.from, width: (!own).then_some(cell.to - cell.from) });
            }
        }
        (self.text(), Columns(runs))
    }
}

/// Characters in a row that come from columns in a row, or all from the same ones.
#[derive(Clone, Copy, Debug)]
struct Run {
    at: u32,
    column: u32,
    /// Of what was written for each of them; `None`: of a character each.
    width: Option<u32>,
}

/// Where the characters of a line come from.
#[derive(Clone, Debug)]
pub struct Columns(Vec<Run>);

impl Columns {
    /// Every character is where it was written, though some before it may be gone.
    pub fn is_written(&self) -> bool {
        self.0.len() <= 1 && self.0.iter().all(|run| run.width.is_none())
    }

    /// The column and the width of what was written for the characters from `from` up to `to`, counted from 0.
    pub fn span(&self, from: u32, to: u32) -> (u32, u32) {
        let (first, _) = self.of(from);
        let (_, last) = self.of(to.saturating_sub(1).max(from));
        (first, last.saturating_sub(first).max(1))
    }

    /// The first column of a character, and the one behind its last.
    fn of(&self, at: u32) -> (u32, u32) {
        let run = self.0.iter().rev().find(|run| run.at <= at);
        match run {
            Some(Run { column, width: Some(width), .. }) => (*column, column + width),
            Some(run) => (run.column + (at - run.at), run.column + (at - run.at) + 1),
            None => (at + 1, at + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_survive_replacements() {
        let mut cells = Cells::written("  priority ${P}0 x");
        cells.trim_start();
        cells.replace(9, 13, "10");
        let (text, columns) = cells.into_line();
        assert_eq!(text, "priority 100 x");
        assert!(!columns.is_written());
        assert_eq!(columns.span(0, 8), (3, 8), "priority");
        assert_eq!(columns.span(9, 12), (12, 5), "${{P}}0");
        assert_eq!(columns.span(13, 14), (18, 1), "x");
    }

    #[test]
    fn a_line_as_written_has_its_own_columns() {
        let mut cells = Cells::written("\tab c");
        cells.trim_start();
        let (text, columns) = cells.into_line();
        assert_eq!((text.as_str(), columns.is_written()), ("ab c", true));
        assert_eq!(columns.span(3, 4), (5, 1));
    }
}
