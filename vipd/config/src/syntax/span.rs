//! Lines, words and the places they come from: what the layers above and below have in common.

/// A logical line: what is left when includes, definitions and generators are done.
#[derive(Debug)]
pub struct Line {
    /// What [`Span::line`] says of its words.
    pub id: u32,
    pub text: String,
    pub columns: Columns,
}

/// A logical line, or a brace outside quotes, which always stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// At least one word.
    Statement(Vec<Word>),
    Open(Span),
    Close(Span),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and escapes.
    pub text: String,
    pub span: Span,
}

/// A place in what was written; columns count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the logical line, which `report` knows the place of.
    pub line: u32,
    pub column: u32,
    pub width: u32,
}

/// keepalived drops longer lines, so no file that runs under it has one.
pub const LINE_LEN_MAX: usize = 1023;

/// Characters in a row that come from columns in a row, or all from the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub at: u32,
    pub column: u32,
    /// Of what was written for each of them; `None`: of a character each.
    pub width: Option<u32>,
}

/// Where the characters of a line come from.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<Run>);

impl Columns {
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
