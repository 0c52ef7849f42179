//! What the expansion of a file knows while it goes on.

use std::{collections::HashMap, path::PathBuf, rc::Rc};

use super::{checks::Checks, outside::Outside, source_map::MappedLine};
use crate::syntax::{
    diagnostic::Code,
    report::{Place, Report, Via},
    span::{Line, Span},
};

pub struct Expander<'e> {
    pub outside: &'e dyn Outside,
    pub report: &'e mut Report,
    pub lines: Vec<Line>,
    pub definitions: HashMap<String, Definition>,
    /// Files being read, the innermost last.
    pub chain: Vec<PathBuf>,
    /// What `include_check` asks of a plain `include`.
    pub checks: Checks,
    /// Replacements within replacements.
    pub depth: usize,
    /// Of all lines.
    pub characters: usize,
    /// Lines, files and values of generators, whether or not a line came of them.
    pub steps: usize,
    /// There was more than there may be, or what is no configuration at all.
    pub exhausted: bool,
    pub told: Told,
}

/// What is said once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub template: bool,
    pub comment: bool,
    pub sign: bool,
}

/// Where a line comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub file: u32,
    pub number: u32,
    /// As written.
    pub source: Rc<str>,
    pub via: Option<Rc<Via>>,
}

#[derive(Clone, Debug)]
pub enum Definition {
    Text(String),
    /// Lines to be read where the name stands alone.
    Body(Rc<[BodyLine]>),
    /// It cannot be replaced, and something is said of it already.
    Wrong,
}

#[derive(Debug)]
pub struct BodyLine {
    pub file: u32,
    /// Of the line in the file, from 1.
    pub number: u32,
    pub text: String,
}

impl Expander<'_> {
    /// Whether lines with `@` and these characters are to be read.
    pub fn is_for_us(&self, id: &str) -> bool {
        match id.strip_prefix('^') {
            Some(id) => id != self.outside.config_id(),
            None => id == self.outside.config_id(),
        }
    }

    /// Whether there may be more; says so, once, when there may not.
    pub fn has_room(&mut self, origin: &Origin) -> bool {
        self.steps += 1;
        let room = self.lines.len() < LINES_MAX && self.characters < CHARACTERS_MAX && self.steps < STEPS_MAX;
        if !room && !self.exhausted {
            self.exhausted = true;
            let span = self.whole(origin);
            let message = format!(
                "more than {LINES_MAX} lines, {CHARACTERS_MAX} characters or {STEPS_MAX} steps to make them"
            );
            self.report.error(Code::TooManyLines, span, message);
        }
        room
    }

    pub fn place(&mut self, origin: &Origin, becomes: Option<String>) -> u32 {
        let Origin { file, number, source, via } = origin.clone();
        self.report.add_place(Place { file, number, source, becomes, via })
    }

    /// All of a line, for what is wrong with it before it has words.
    pub fn whole(&mut self, origin: &Origin) -> Span {
        Span { line: self.place(origin, None), column: 1, width: 1 }
    }

    pub fn span(&mut self, mapped: &MappedLine, from: usize, to: usize, origin: &Origin) -> Span {
        let (column, width) = mapped.columns(from, to);
        Span { line: self.place(origin, None), column, width }
    }

    /// Lines within a line: not too deep.
    pub fn nest(&mut self, origin: &Origin, inside: impl FnOnce(&mut Self)) {
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
}

/// Rounds of replacements on one line.
pub const REPLACEMENTS_MAX: usize = 32;
/// Definitions in definitions.
const DEPTH_MAX: usize = 64;
/// Keeps a generator from filling the memory: twice what 65,536 VIPs take.
const LINES_MAX: usize = 150_000;
/// The same in characters: ten times what 65,536 VIPs take.
const CHARACTERS_MAX: usize = 16 << 20;
/// Keeps generators that generate nothing from taking for ever: four for each line, as nested ones take.
const STEPS_MAX: usize = 4 * LINES_MAX;
